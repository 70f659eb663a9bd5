// TaskQueue against plain lists that are searched, and against every permutation.
#include <gtest/gtest.h>
#include <time.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "absl/strings/str_cat.h"
#include "daemon/tasks/task_queue.hpp"

namespace zsync::daemon {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr uint32_t kParallel = 2;
constexpr uint32_t kGpus = 3;
constexpr uint32_t kMemoryMib = 6;  // of a group, or less for a while

// What the queue is told, kept in plain containers.
struct Model {
  std::map<uint64_t, QueuedTask> waiting;
  std::map<uint64_t, QueuedTask> running;
  std::map<uint64_t, bool> ended;  // ok
  std::set<std::string> paused;
  std::map<std::string, uint32_t> budgets;  // MiB, of the groups that have less

  size_t running_in(const std::string& group) const {
    return static_cast<size_t>(std::count_if(running.begin(), running.end(), [&](const auto& task) {
      return task.second.group == group;
    }));
  }
  bool lock_free(const std::string& name) const {
    return std::none_of(running.begin(), running.end(), [&](const auto& task) {
      const auto& locks = task.second.locks;
      return std::find(locks.begin(), locks.end(), name) != locks.end();
    });
  }
  uint32_t gpus() const {
    uint32_t used = 0;
    for (const auto& [order, task] : running) {
      for (const auto& [name, amount] : task.resources) used += amount;
    }
    return used;
  }
  bool fits_budget(const QueuedTask& task) const {
    uint32_t needed = task.memory_mib;
    for (const auto& [order, other] : running) {
      if (other.group == task.group) needed += other.memory_mib;
    }
    auto smaller = budgets.find(task.group);
    return task.memory_mib == 0 ||
           needed <= (smaller == budgets.end() ? kMemoryMib : smaller->second);
  }
  bool may_start(const QueuedTask& task, int64_t now) const {
    uint32_t needed = gpus();
    for (const auto& [name, amount] : task.resources) needed += amount;
    return task.not_before_unix_nano <= now && running_in(task.group) < kParallel &&
           !paused.contains(task.group) && needed <= kGpus && fits_budget(task) &&
           std::all_of(
               task.after.begin(), task.after.end(),
               [&](const auto& dependency) { return ended.contains(dependency.order); }) &&
           std::all_of(
               task.locks.begin(), task.locks.end(),
               [&](const std::string& name) { return lock_free(name); });
  }
};

QueuedTask random_task(std::mt19937_64& random, uint64_t order, int64_t now, const Model& model) {
  QueuedTask task;
  task.order = order;
  task.group = std::string(1, static_cast<char>('a' + random() % 3));
  task.priority = static_cast<int32_t>(random() % 4);
  if (random() % 4 == 0) task.not_before_unix_nano = now + static_cast<int64_t>(random() % 50);
  if (random() % 5 == 0) task.deadline_unix_nano = 1'000'000 + static_cast<int64_t>(random() % 50);
  for (const char* name : {"x", "y", "z"}) {
    if (random() % 4 == 0) task.locks.push_back(name);
  }
  if (random() % 4 == 0) task.resources = {{"gpu", 1 + static_cast<uint32_t>(random() % kGpus)}};
  if (random() % 2 == 0) task.memory_mib = static_cast<uint32_t>(random() % (kMemoryMib + 1));
  for (int tries = 0; tries < 2; ++tries) {
    const uint64_t other = 1 + random() % order;
    const bool known = model.waiting.contains(other) || model.running.contains(other);
    const bool twice = !task.after.empty() && task.after[0].order == other;
    if (random() % 4 != 0 || !known || twice) continue;
    task.after.push_back({other, static_cast<DependencyCondition>(1 + random() % 3)});
  }
  return task;
}

class Oracle {
 public:
  explicit Oracle(uint64_t seed) : random_(seed), queue_(kParallel) {
    queue_.set_capacity("gpu", kGpus, 0);
    for (const char* group : {"a", "b", "c"}) queue_.set_group(group, settings_of(group), 0);
  }

  void run() {
    for (order_ = 1; order_ < 400; ++order_) {
      now_ += static_cast<int64_t>(random_() % 10);
      step();
      decide();
      expect_nobody_sleeps_beside_what_is_free();
    }
    finish_all();
  }

 private:
  GroupSettings settings_of(const std::string& group) const {
    GroupSettings settings;
    settings.parallel = kParallel;
    if (model_.paused.contains(group)) settings.paused = {1, 0, 0};
    auto smaller = model_.budgets.find(group);
    settings.memory_bytes_max =
        uint64_t{smaller == model_.budgets.end() ? kMemoryMib : smaller->second} << 20;
    return settings;
  }
  void step() {
    const uint64_t choice = random_() % 10;
    if (choice < 6) {
      QueuedTask task = random_task(random_, order_, now_, model_);
      model_.waiting[order_] = task;
      queue_.add(task, now_);
    } else if (choice < 8 && !model_.running.empty()) {
      end(std::next(model_.running.begin(), static_cast<long>(random_() % model_.running.size()))
              ->first,
          random_() % 2);
    } else if (choice == 8 && !model_.waiting.empty()) {
      const uint64_t order =
          std::next(model_.waiting.begin(), static_cast<long>(random_() % model_.waiting.size()))
              ->first;
      EXPECT_TRUE(queue_.remove(order, now_));
      model_.waiting.erase(order);
      model_.ended[order] = false;
      queue_.ended(order, false, now_);
    } else {
      const std::string group(1, static_cast<char>('a' + random_() % 3));
      if (random_() % 2 == 0) {
        model_.budgets[group] = 1 + static_cast<uint32_t>(random_() % kMemoryMib);
      } else if (model_.paused.erase(group) == 0) {
        model_.paused.insert(group);
      }
      queue_.set_group(group, settings_of(group), now_);
    }
  }
  void end(uint64_t order, bool ok) {
    model_.running.erase(order);
    model_.ended[order] = ok;
    queue_.finished(order, now_);
    queue_.ended(order, ok, now_);
  }
  void decide() {
    while (const std::optional<Decision> decision = queue_.next(now_)) {
      auto found = model_.waiting.find(decision->order);
      ASSERT_NE(found, model_.waiting.end()) << decision->order << " was decided twice";
      const QueuedTask task = found->second;
      model_.waiting.erase(found);
      if (decision->kind == Decision::Kind::kStart) {
        expect_the_best(task);
        model_.running[task.order] = task;
      } else {
        expect_unmet(task, decision->because);
        model_.ended[task.order] = false;
        queue_.ended(task.order, false, now_);
      }
    }
  }
  int32_t urgency(const QueuedTask& task) const {
    int32_t most = task.priority;
    for (const auto& [order, other] : model_.waiting) {
      for (const auto& dependency : other.after) {
        if (dependency.order == task.order) most = std::max(most, urgency(other));
      }
    }
    return most;
  }
  auto rank(const QueuedTask& task) const {
    return std::tuple(-urgency(task), task.deadline_unix_nano ? task.deadline_unix_nano : INT64_MAX,
                      task.order);
  }
  void expect_the_best(const QueuedTask& task) {
    ASSERT_TRUE(model_.may_start(task, now_)) << task.order;
    for (const auto& dependency : task.after) expect_met(dependency);
    for (const auto& [order, other] : model_.waiting) {
      if (other.group != task.group || !model_.may_start(other, now_)) continue;
      bool met = true;
      for (const auto& dependency : other.after) met = met && meets(dependency);
      if (met) EXPECT_LT(rank(task), rank(other)) << task.order << " before " << order;
    }
  }
  bool meets(const QueuedTask::Dependency& dependency) const {
    const bool ok = model_.ended.at(dependency.order);
    return dependency.condition == DependencyCondition::kAny ||
           ok == (dependency.condition == DependencyCondition::kOk);
  }
  void expect_met(const QueuedTask::Dependency& dependency) { EXPECT_TRUE(meets(dependency)); }
  void expect_unmet(const QueuedTask& task, uint64_t because) {
    const auto found = std::find_if(task.after.begin(), task.after.end(),
                                    [&](const auto& each) { return each.order == because; });
    ASSERT_NE(found, task.after.end());
    EXPECT_FALSE(meets(*found));
  }
  void expect_nobody_sleeps_beside_what_is_free() {
    EXPECT_EQ(queue_.queued(), model_.waiting.size());
    EXPECT_EQ(queue_.running(), model_.running.size());
    for (const auto& [order, task] : model_.waiting) {
      EXPECT_FALSE(model_.may_start(task, now_)) << order << " sleeps";
    }
  }
  void finish_all() {
    model_.paused.clear();
    model_.budgets.clear();
    for (const char* group : {"a", "b", "c"}) queue_.set_group(group, settings_of(group), now_);
    now_ += 1000;
    decide();
    while (!model_.running.empty()) {
      end(model_.running.begin()->first, true);
      decide();
    }
    EXPECT_TRUE(model_.waiting.empty()) << "starved: " << model_.waiting.begin()->first;
    EXPECT_TRUE(queue_.resources().size() <= 1) << "locks that nobody has to do with";
  }

  std::mt19937_64 random_;
  TaskQueue queue_;
  Model model_;
  uint64_t order_ = 0;
  int64_t now_ = 1;
};

TEST(QueueOracle, RandomUseStartsWhatAPlainSearchWouldStart) {
  for (uint64_t seed = 1; seed <= 300 && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    Oracle(seed).run();
  }
}

TEST(QueueOracle, ByDeadlineEverySetThatFitsOneSlotIsDoneInTime) {
  std::mt19937_64 random(5);
  int feasible = 0;
  for (int round = 0; round < 500; ++round) {
    struct Job {
      uint64_t order;
      int64_t takes, due;
    };
    std::vector<Job> jobs;
    for (uint64_t order = 1; order <= 6; ++order) {
      jobs.push_back(
          {order, 1 + static_cast<int64_t>(random() % 9), 5 + static_cast<int64_t>(random() % 35)});
    }
    bool fits = false;
    std::vector<Job> tried = jobs;
    auto by_order = [](const Job& a, const Job& b) { return a.order < b.order; };
    do {
      int64_t time = 0;
      fits = std::all_of(tried.begin(), tried.end(),
                         [&](const Job& job) { return (time += job.takes) <= job.due; });
    } while (!fits && std::next_permutation(tried.begin(), tried.end(), by_order));
    if (!fits) continue;
    ++feasible;
    TaskQueue queue(1);
    GroupSettings settings;
    settings.order = StartOrder::kDeadline;
    queue.set_group("g", settings, 0);
    for (const Job& job : jobs) {
      QueuedTask task;
      task.order = job.order;
      task.group = "g";
      task.priority = static_cast<int32_t>(random() % 9);
      task.deadline_unix_nano = job.due;
      queue.add(task, 0);
    }
    int64_t time = 0;
    for (size_t i = 0; i < jobs.size(); ++i) {
      const std::optional<Decision> decision = queue.next(time);
      ASSERT_TRUE(decision);
      ASSERT_EQ(decision->kind, Decision::Kind::kStart) << "round " << round;
      const Job& job = jobs[decision->order - 1];
      time += job.takes;
      EXPECT_LE(time, job.due) << "round " << round;
      queue.finished(job.order, time);
    }
  }
  EXPECT_GT(feasible, 100);
}

// One slot, and a stream of urgent tasks that never ends.
TEST(QueueOracle, WithAgingTheLeastUrgentTaskStartsInABoundedTime) {
  TaskQueue queue(1, kSecond);
  QueuedTask patient;
  patient.order = 1;
  patient.group = "g";
  patient.priority = -20;
  queue.add(patient, 1);
  uint64_t order = 2;
  for (int64_t now = kSecond; now < 200 * kSecond; now += kSecond / 2) {
    for (int i = 0; i < 2; ++i) {
      QueuedTask urgent;
      urgent.order = order++;
      urgent.group = "g";
      urgent.priority = 20;
      queue.add(urgent, now);
    }
    const std::optional<Decision> decision = queue.next(now);
    ASSERT_TRUE(decision);
    if (decision->order == 1) {
      EXPECT_GE(now, 40 * kSecond) << "40 points are 40 intervals";
      return;
    }
    queue.finished(decision->order, now);
  }
  FAIL() << "it starved";
}

// Tasks that need one lock each take turns so that the two are never free together.
TEST(QueueOracle, ATaskThatNeedsTwoLocksIsNotStarvedByThoseThatNeedOne) {
  TaskQueue queue(8);
  uint64_t order = 1;
  auto add = [&](std::vector<std::string> locks, int64_t now) {
    QueuedTask task;
    task.order = order++;
    task.group = locks.size() > 1 ? "both" : "one";
    task.locks = std::move(locks);
    queue.add(task, now);
    return task.order;
  };
  const uint64_t both = add({"a", "b"}, 1);
  uint64_t held[2] = {add({"a"}, 1), add({"b"}, 1)};
  queue.remove(both, 1);
  while (queue.next(1)) {
  }
  QueuedTask again;
  again.order = both;
  again.group = "both";
  again.locks = {"a", "b"};
  queue.add(again, 1);
  for (int64_t now = kSecond; now < 1000 * kSecond; now += kSecond) {
    const size_t side = static_cast<size_t>(now / kSecond % 2);
    add({side == 0 ? "a" : "b"}, now);
    queue.finished(held[side], now);
    held[side] = 0;
    while (const std::optional<Decision> decision = queue.next(now)) {
      if (decision->order == both) {
        EXPECT_GE(now, kReserveAfterNs);
        return;
      }
      if (decision->kind == Decision::Kind::kStart) held[side] = decision->order;
    }
  }
  FAIL() << "it starved";
}

double cpu_ns() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

// CPU time of this thread, so that a loaded machine does not count; the bound leaves room for
// sanitizers. What one decision costs in an optimised build is printed.
TEST(QueueOracle, ADecisionCostsTheSameHoweverManyTasksAreQueued) {
  constexpr uint64_t kQueued = 100'000;
  constexpr int kDecisions = 5000;
  TaskQueue queue(4, 60 * kSecond);
  std::mt19937_64 random(3);
  for (uint64_t order = 1; order <= kQueued; ++order) {
    QueuedTask task;
    task.order = order;
    task.group = std::string(1, static_cast<char>('a' + order % 10));
    task.priority = static_cast<int32_t>(random() % 2001) - 1000;
    if (order % 7 == 0) task.locks = {absl::StrCat("lock-", order % 97)};
    if (order % 11 == 0) task.deadline_unix_nano = 3600 * kSecond + static_cast<int64_t>(order);
    if (order % 13 == 0) task.after = {{order - 1, DependencyCondition::kAny}};
    queue.add(task, static_cast<int64_t>(order));
  }
  std::vector<uint64_t> running;
  while (const std::optional<Decision> decision = queue.next(kSecond)) {
    running.push_back(decision->order);
  }
  const double before = cpu_ns();
  for (int i = 0; i < kDecisions; ++i) {
    const uint64_t ended = running[static_cast<size_t>(i)];
    queue.finished(ended, kSecond + i);
    queue.ended(ended, true, kSecond + i);
    while (const std::optional<Decision> decision = queue.next(kSecond + i)) {
      running.push_back(decision->order);
    }
  }
  const double each = (cpu_ns() - before) / kDecisions;
  RecordProperty("ns_per_decision", static_cast<int>(each));
  std::printf("%.0f ns of CPU time for an end and the decisions after it, %llu queued\n", each,
              static_cast<unsigned long long>(kQueued));
  EXPECT_LT(each, 200'000);
}

}  // namespace
}  // namespace zsync::daemon
