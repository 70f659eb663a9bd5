// Timers: sleep(), and timeout() around anything that waits.
//
// A timer is never early. timeout() cancels what it limits and completes after that has unwound.
//
// Prints:
//   slept at least 10 ms: true
//   in time: 42
//   too late: DEADLINE_EXCEEDED, and the task has ended
//   nothing came: DEADLINE_EXCEEDED
//   first of two: 1
#include <chrono>
#include <cstdio>

#include "zsync/zsync.hpp"

using namespace std::chrono_literals;

zsync::Task<int> answer_after(std::chrono::milliseconds delay, int value) {
  co_await zsync::sleep(delay);
  co_return value;
}

zsync::Task<int> slow(bool& ended) {
  struct Guard {
    bool& flag;
    ~Guard() { flag = true; }
  } guard{ended};
  co_return co_await answer_after(24h, 0);
}

const char* name_of(const absl::Status& status) {
  static std::string name;
  return (name = absl::StatusCodeToString(status.code())).c_str();
}

zsync::Task<void> main_task() {
  const auto begin = std::chrono::steady_clock::now();
  co_await zsync::sleep(10ms);
  const bool enough = std::chrono::steady_clock::now() - begin >= 10ms;
  std::printf("slept at least 10 ms: %s\n", enough ? "true" : "false");

  std::printf("in time: %d\n", *co_await zsync::timeout(answer_after(1ms, 42), 10s));
  bool ended = false;
  const absl::StatusOr<int> late = co_await zsync::timeout(slow(ended), 5ms);
  std::printf("too late: %s, and the task has %s\n", name_of(late.status()),
              ended ? "ended" : "not ended");

  zsync::Channel<int> silent = zsync::bounded<int>(1);
  const auto nothing = co_await zsync::timeout(silent.recv(), 5ms);
  std::printf("nothing came: %s\n", name_of(nothing.status()));

  const auto first = co_await zsync::race(answer_after(24h, 0), answer_after(1ms, 1));
  std::printf("first of two: %d\n", first.value);
}

int main() { zsync::run(main_task()); }
