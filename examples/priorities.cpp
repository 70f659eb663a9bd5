// Priorities and deadlines: what runs first when several tasks are ready.
//
// One thread runs everything here, so the order is always the same. Nothing is preempted: a class
// is looked at when the running task waits, yields or ends.
//
// Prints:
//   frame 1, frame 2, watchdog, request, work, clean-up
//   late: report
//   the request waited for the clean-up's mutex while the flood ran 0 times
//   refused: spawn(): task "too much" with a cost of 600ms was not started
//   control and display fit, 3 tasks of a quarter each do too: 1 1 1
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "zsync/zsync.hpp"

using namespace std::chrono_literals;
using zsync::Priority;

zsync::Task<void> say(std::string& line, std::string word) {
  line += (line.empty() ? "" : ", ") + word;
  co_return;
}

zsync::Task<void> in_order() {
  const auto now = std::chrono::steady_clock::now();
  std::string line;
  std::vector<zsync::TaskHandle<void>> handles;
  handles.push_back(zsync::spawn({.priority = Priority::low}, say(line, "clean-up")));
  handles.push_back(zsync::spawn(say(line, "work")));
  handles.push_back(zsync::spawn({.priority = Priority::high}, say(line, "request")));
  handles.push_back(zsync::spawn({.priority = Priority::critical}, say(line, "watchdog")));
  handles.push_back(zsync::spawn({.deadline = now + 2h}, say(line, "frame 2")));
  handles.push_back(zsync::spawn({.deadline = now + 1h}, say(line, "frame 1")));
  for (auto& handle : handles) co_await handle;
  std::printf("%s\n", line.c_str());
}

// Waits until Config::on_deadline_miss has told of it.
zsync::Task<void> too_slow(zsync::Notify& told) {
  co_await zsync::spawn(
      {.name = "report", .deadline = std::chrono::steady_clock::now() + 1ms},
      [](zsync::Notify& miss) -> zsync::Task<void> { co_await miss.notified(); }, std::ref(told));
}

zsync::Task<void> clean_up(zsync::Mutex& mutex, zsync::Notify& locked) {
  zsync::Permit guard = co_await mutex.lock();
  locked.notify_one();
  for (int i = 0; i < 10; ++i) co_await zsync::yield_now();
}

zsync::Task<void> request(zsync::Mutex& mutex, bool& answered) {
  zsync::Permit guard = co_await mutex.lock();
  answered = true;
}

// While a high task waits for the mutex, the low one that holds it runs as high: the normal task in
// between, which never stops, does not hold it up.
zsync::Task<void> inheritance() {
  zsync::Mutex mutex;
  zsync::Notify locked;
  bool answered = false;
  zsync::TaskHandle<void> low = zsync::spawn({.priority = Priority::low}, clean_up(mutex, locked));
  co_await locked.notified();
  zsync::TaskHandle<void> high =
      zsync::spawn({.priority = Priority::high}, request(mutex, answered));
  zsync::TaskHandle<int> flood = zsync::spawn([](const bool& stop) -> zsync::Task<int> {
    int rounds = 0;
    for (; !stop && rounds < 1000; ++rounds) co_await zsync::yield_now();
    co_return rounds;
  }(answered));
  const int rounds = co_await flood;
  std::printf("the request waited for the clean-up's mutex while the flood ran %d times\n", rounds);
  co_await high;
  co_await low;
}

zsync::Task<void> overload() {
  const auto second = std::chrono::steady_clock::now() + 1s;
  const auto work = []() -> zsync::Task<void> { co_await zsync::yield_now(); };
  zsync::TaskHandle<void> first = zsync::spawn({.deadline = second, .cost = 700ms}, work());
  zsync::TaskHandle<void> second_one =
      zsync::spawn({.name = "too much", .deadline = second, .cost = 600ms}, work());
  const std::string reason(second_one.outcome().message());
  std::printf("refused: %s\n", reason.substr(0, reason.find(':', 8)).c_str());
  co_await first;
}

zsync::Task<void> periodic() {
  zsync::PeriodicSet set;
  const bool control = set.admit({.name = "control", .period = 4ms, .cost = 1ms}).admitted;
  const bool display = set.admit({.name = "display", .period = 8ms, .cost = 2ms}).admitted;
  const zsync::PeriodicOptions audio{.name = "audio", .period = 12ms, .cost = 3ms};
  std::printf("control and display fit, 3 tasks of a quarter each do too: %d %d %d\n", control,
              display, set.admit(audio).admitted);
  zsync::Notify third;
  const auto job = [&third](const zsync::Release& release) -> zsync::Task<void> {
    return [](zsync::Notify& notify, uint64_t number) -> zsync::Task<void> {
      if (number >= 2) notify.notify_one();
      co_return;
    }(third, release.number);
  };
  zsync::PeriodicHandle running = zsync::spawn_periodic(job, audio);
  co_await third.notified();
}

zsync::Task<void> main_task(zsync::Notify& told) {
  co_await in_order();
  co_await too_slow(told);
  co_await inheritance();
  co_await overload();
  co_await periodic();
}

int main() {
  zsync::Notify told;
  zsync::Config config = zsync::Config::for_cli();
  config.on_deadline_miss = [&told](const zsync::DeadlineMiss& miss) {
    std::printf("late: %s\n", miss.name.c_str());
    told.notify_one();
  };
  zsync::run(main_task(told), config);
}
