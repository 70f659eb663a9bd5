// Tasks: lazy coroutines that run when they are awaited or spawned.
//
// spawn() starts a task now, on any worker, and gives a handle. The handle is awaited for the
// result, cancelled, or detached; dropped, it cancels its task.
//
// Prints:
//   25 and 36
//   the task said: no such square
//   cancelled: true
#include <chrono>
#include <cstdio>
#include <stdexcept>

#include "zsync/zsync.hpp"

using namespace std::chrono_literals;

zsync::Task<int> square(int x) {
  co_await zsync::yield_now();
  if (x < 0) throw std::domain_error("no such square");
  co_return x* x;
}

zsync::Task<int> sleep_for_ever() {
  co_await zsync::sleep(24h);
  co_return 0;
}

zsync::Task<void> main_task() {
  // Both run at the same time, here and there.
  zsync::TaskHandle<int> five = zsync::spawn(square, 5);
  zsync::TaskHandle<int> six = zsync::spawn(square, 6);
  std::printf("%d and %d\n", co_await five, co_await six);

  // What a task throws surfaces where its handle is awaited.
  zsync::TaskHandle<int> broken = zsync::spawn(square, -1);
  try {
    co_await broken;
  } catch (const std::domain_error& error) {
    std::printf("the task said: %s\n", error.what());
  }

  // A cancel withdraws the pending sleep; the await then throws zsync::Cancelled.
  zsync::TaskHandle<int> sleeper = zsync::spawn(sleep_for_ever);
  sleeper.cancel();
  bool cancelled = false;
  try {
    co_await sleeper;
  } catch (const zsync::Cancelled&) {
    cancelled = true;
  }
  std::printf("cancelled: %s\n", cancelled ? "true" : "false");
}

int main() { zsync::run(main_task()); }
