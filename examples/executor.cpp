// Executor: a group of tasks that are waited for and cancelled together.
//
// Executor::scope joins on every exit path, so its children may refer to the parent's locals. The
// first exception cancels the others and surfaces at the scope.
//
// Prints:
//   6 words, the longest has 9 letters
//   the scope threw: disk is on fire; tasks left: 0
#include <atomic>
#include <chrono>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

#include "zsync/zsync.hpp"

using namespace std::chrono_literals;

zsync::Task<void> measure(const std::string& word, std::atomic<size_t>& longest) {
  co_await zsync::yield_now();
  size_t seen = longest;
  while (word.size() > seen && !longest.compare_exchange_weak(seen, word.size())) {
  }
}

zsync::Task<void> main_task() {
  const std::vector<std::string> words{"one", "daemon", "runs", "and", "watches", "sometimes"};
  std::atomic<size_t> longest{0};
  co_await zsync::Executor::scope([&](zsync::Executor& group) -> zsync::Task<void> {
    for (const std::string& word : words) group.spawn(measure, std::cref(word), std::ref(longest));
    co_return;
  });
  std::printf("%zu words, the longest has %zu letters\n", words.size(), longest.load());

  std::atomic<int> left{0};
  try {
    co_await zsync::Executor::scope([&](zsync::Executor& group) -> zsync::Task<void> {
      for (int i = 0; i < 3; ++i) {
        group.spawn(
            [](std::atomic<int>& counter) -> zsync::Task<void> {
              struct Inside {
                std::atomic<int>& count;
                explicit Inside(std::atomic<int>& tasks) : count(tasks) { ++count; }
                ~Inside() { --count; }
              } inside(counter);
              co_await zsync::sleep(24h);
            },
            std::ref(left));
      }
      co_await zsync::yield_now();
      throw std::runtime_error("disk is on fire");
    });
  } catch (const std::runtime_error& error) {
    std::printf("the scope threw: %s; tasks left: %d\n", error.what(), left.load());
  }
}

int main() { zsync::run(main_task()); }
