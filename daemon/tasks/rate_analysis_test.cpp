#include "daemon/tasks/rate_analysis.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "daemon/tasks/task_queue.hpp"

namespace zsync::daemon {
namespace {

using ::testing::ElementsAre;
using ::testing::Eq;
using ::testing::Optional;

TEST(RateAnalysis, OneTaskWaitsAtMostForTheRunBeforeOfItself) {
  EXPECT_THAT(worst_responses({{1000, 300}}, 1), ElementsAre(Optional(600)));
  EXPECT_THAT(worst_responses({{1000, 501}}, 1), ElementsAre(Eq(std::nullopt)));
}

// The messages of the paper's table 1, whose unguarded analysis said that all are in time.
TEST(RateAnalysis, TheExampleThatRefutedTheFirstAnalysisIsRefused) {
  const auto responses = worst_responses({{250, 100}, {350, 100}, {350, 100}}, 1);
  EXPECT_THAT(responses[0], Optional(200));
  EXPECT_THAT(responses[2], Eq(std::nullopt));
}

TEST(RateAnalysis, ALongRunOfALongPeriodDelaysAShortOne) {
  EXPECT_THAT(worst_responses({{100, 10}, {10'000, 80}}, 1),
              ElementsAre(Optional(90), Optional(170)));
  EXPECT_THAT(worst_responses({{100, 10}, {10'000, 91}}, 1)[0], Eq(std::nullopt));
}

// Its wait grows by a thousandth of a second a step, over a year.
TEST(RateAnalysis, WhatWouldTakeForEverToAnalyseCountsAsLate) {
  const int64_t year = int64_t{366} * 24 * 3600 * 1000;
  std::vector<PeriodicTask> tasks(100, {year, 1});
  tasks[0] = {1000, 1000};
  const auto responses = worst_responses(tasks, 1);
  EXPECT_THAT(responses[0], Eq(std::nullopt));
  EXPECT_THAT(responses[99], Eq(std::nullopt));
}

TEST(RateAnalysis, MorePlacesCarryMore) {
  const std::vector<PeriodicTask> tasks = {{100, 40}, {100, 40}, {400, 40}};
  EXPECT_THAT(worst_responses(tasks, 1)[1], Eq(std::nullopt));
  EXPECT_TRUE(worst_responses(tasks, 4)[1]);
  EXPECT_DOUBLE_EQ(utilization(tasks), 0.9);
}

// The queue itself runs random sets that were admitted: whatever the phases, no run is late.
class Played {
 public:
  Played(std::vector<PeriodicTask> tasks, uint32_t places, uint64_t seed)
      : tasks_(std::move(tasks)), queue_(places), random_(seed) {
    GroupSettings settings;
    settings.parallel = places;
    settings.order = StartOrder::kRate;
    queue_.set_group("g", settings, 0);
    for (const PeriodicTask& task : tasks_) {
      next_.push_back(static_cast<int64_t>(random_() % static_cast<uint64_t>(task.period_ms)));
    }
    worst_.resize(tasks_.size());
  }
  std::vector<int64_t> worst(int64_t until) {
    for (int64_t now = 0; now < until; ++now) {
      while (!ends_.empty() && ends_.begin()->first == now) {
        const uint64_t order = ends_.begin()->second;
        ends_.erase(ends_.begin());
        queue_.finished(order, now);
        const auto& [index, came] = runs_[order];
        worst_[index] = std::max(worst_[index], now - came);
      }
      come(now);
      while (const std::optional<Decision> decision = queue_.next(now)) {
        ends_.emplace(now + tasks_[runs_[decision->order].first].cost_ms, decision->order);
      }
    }
    return worst_;
  }

 private:
  void come(int64_t now) {
    for (size_t i = 0; i < tasks_.size(); ++i) {
      if (next_[i] != now) continue;
      QueuedTask task;
      task.order = ++orders_;
      task.group = "g";
      task.period_ns = tasks_[i].period_ms;
      runs_[task.order] = {i, now};
      queue_.add(task, now);
      next_[i] += tasks_[i].period_ms;
    }
  }

  std::vector<PeriodicTask> tasks_;
  TaskQueue queue_;
  std::mt19937_64 random_;
  std::vector<int64_t> next_;
  std::vector<int64_t> worst_;
  std::map<uint64_t, std::pair<size_t, int64_t>> runs_;
  std::multimap<int64_t, uint64_t> ends_;
  uint64_t orders_ = 0;
};

TEST(RateAnalysis, WhatItAdmitsIsNeverLaterThanItSaysInTheQueue) {
  std::mt19937_64 random(1);
  int admitted = 0;
  for (uint64_t seed = 0; seed < 400; ++seed) {
    const auto places = static_cast<uint32_t>(1 + random() % 3);
    std::vector<PeriodicTask> tasks;
    for (uint64_t i = 0; i < 2 + random() % 5; ++i) {
      const auto period = static_cast<int64_t>(20 + random() % 200);
      tasks.push_back({period, 1 + static_cast<int64_t>(random() % 25)});
    }
    const std::vector<std::optional<int64_t>> most = worst_responses(tasks, places);
    if (!std::all_of(most.begin(), most.end(), [](const auto& one) { return one.has_value(); })) {
      continue;
    }
    ++admitted;
    const std::vector<int64_t> seen = Played(tasks, places, seed).worst(4000);
    for (size_t i = 0; i < tasks.size(); ++i) EXPECT_LE(seen[i], *most[i]) << seed << " " << i;
  }
  EXPECT_GT(admitted, 50);
}

}  // namespace
}  // namespace zsync::daemon
