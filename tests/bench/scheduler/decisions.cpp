// How long the daemon's scheduler takes for a decision while 100,000 tasks wait: TaskQueue itself,
// no disk and no processes. A decision: a running task has ended, and the queue says what starts
// next; what starts is replaced by a new task, so that the queue stays as long as it is.
//
//   bench-scheduler TASKS DECISIONS  ->  one line of JSON
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "daemon/tasks/task_queue.hpp"

namespace zsync::daemon {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kSlots = 8;  // running at a time
constexpr int64_t kNow = 1'700'000'000'000'000'000;

struct Mix {
  const char* name;
  GroupSettings settings;
  std::function<void(QueuedTask&, std::mt19937_64&)> shape;
};

struct Times {
  double mean_us = 0;
  double p99_us = 0;
};

Times measure(const Mix& mix, uint64_t tasks, uint64_t decisions) {
  std::mt19937_64 random(7);
  TaskQueue queue(kSlots, 60'000'000'000);
  queue.set_group("bench", mix.settings, kNow);
  queue.set_capacity("gpu", 4, kNow);
  uint64_t order = 0;
  auto add = [&](int64_t now) {
    QueuedTask task;
    task.order = ++order;
    task.group = "bench";
    mix.shape(task, random);
    queue.add(task, now);
  };
  while (order < tasks) add(kNow);
  std::vector<uint64_t> running;
  std::vector<double> spent;
  int64_t now = kNow;
  while (spent.size() < decisions) {
    now += 1'000'000;
    const auto begun = Clock::now();
    if (!running.empty()) {
      const size_t at = random() % running.size();
      queue.finished(running[at], now);
      queue.ended(running[at], true, now);
      running[at] = running.back();
      running.pop_back();
    }
    uint64_t decided = 0;
    while (const std::optional<Decision> decision = queue.next(now)) {
      if (decision->kind == Decision::Kind::kStart) running.push_back(decision->order);
      ++decided;
    }
    const double us = std::chrono::duration<double, std::micro>(Clock::now() - begun).count();
    for (uint64_t i = 0; i < decided; ++i) spent.push_back(us / static_cast<double>(decided));
    if (decided == 0 && running.empty()) std::abort();  // nothing can start any more
    for (uint64_t i = 0; i < decided; ++i) add(now);
  }
  Times times;
  for (double us : spent) times.mean_us += us / static_cast<double>(spent.size());
  std::nth_element(spent.begin(),
                   spent.begin() + static_cast<std::ptrdiff_t>(spent.size() * 99 / 100),
                   spent.end());
  times.p99_us = spent[spent.size() * 99 / 100];
  return times;
}

std::vector<Mix> mixes() {
  GroupSettings plain;
  plain.parallel = kSlots;
  GroupSettings by_deadline = plain;
  by_deadline.order = StartOrder::kDeadline;
  return {
      {"priorities", plain,
       [](QueuedTask& task, std::mt19937_64& random) {
         task.priority = static_cast<int32_t>(random() % 100);
       }},
      {"deadlines", by_deadline,
       [](QueuedTask& task, std::mt19937_64& random) {
         task.deadline_unix_nano =
             kNow + 3'600'000'000'000 + static_cast<int64_t>(random() % 1'000'000'000'000);
       }},
      {"contended", plain,
       [](QueuedTask& task, std::mt19937_64& random) {
         task.priority = static_cast<int32_t>(random() % 10);
         const uint64_t kind = random() % 4;
         if (kind == 0) task.locks.push_back("lock-" + std::to_string(random() % 100));
         if (kind == 1) task.resources.emplace_back("gpu", 1 + static_cast<uint32_t>(random() % 2));
         if (kind == 2 && task.order > 1) {
           task.after.push_back({task.order - 1, DependencyCondition::kAny});
         }
       }},
  };
}

int run(uint64_t tasks, uint64_t decisions) {
  const char* separator = "{";
  for (const Mix& mix : mixes()) {
    const Times times = measure(mix, tasks, decisions);
    std::printf("%s\"%s_us\": %.3f, \"%s_p99_us\": %.3f", separator, mix.name, times.mean_us,
                mix.name, times.p99_us);
    separator = ", ";
  }
  std::puts("}");
  return 0;
}

}  // namespace
}  // namespace zsync::daemon

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fputs("bench-scheduler TASKS DECISIONS\n", stderr);
    return 2;
  }
  return zsync::daemon::run(std::strtoull(argv[1], nullptr, 10),
                            std::strtoull(argv[2], nullptr, 10));
}
