#include "zsync/periodic.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <list>
#include <map>
#include <numeric>
#include <random>

#include "rt/models_test.hpp"
#include "rt/ready_classes.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;
using testing::explore;
using ::testing::HasSubstr;
using testing::SimRuntime;

class PeriodicOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(PeriodicOnEveryModel);

TEST(PeriodicSet, AFewTasksAreAdmittedByLiuAndLaylandsBound) {
  PeriodicSet set;
  EXPECT_TRUE(set.admit({.name = "a", .period = 100ms, .cost = 20ms}).admitted);
  EXPECT_TRUE(set.admit({.name = "b", .period = 150ms, .cost = 30ms}).admitted);
  const Admission answer = set.admit({.name = "c", .period = 350ms, .cost = 80ms});
  EXPECT_TRUE(answer.admitted);
  EXPECT_EQ(answer.by, Admission::Test::liu_layland);
  EXPECT_NEAR(answer.utilization, 0.2 + 0.2 + 80.0 / 350, 1e-9);
  EXPECT_NEAR(answer.bound, 0.7798, 1e-4);  // 3 (2^(1/3) - 1)
}

// The example of Joseph and Pandya's analysis in the books: above the bound, and yet in time.
TEST(PeriodicSet, AboveTheBoundTheExactResponseTimesDecide) {
  PeriodicSet set;
  (void)set.admit({.name = "low", .period = 20s, .cost = 5s});
  (void)set.admit({.name = "high", .period = 7s, .cost = 3s});
  const Admission answer = set.admit({.name = "middle", .period = 12s, .cost = 3s});
  EXPECT_TRUE(answer.admitted);
  EXPECT_EQ(answer.by, Admission::Test::response_time);
  EXPECT_GT(answer.utilization, answer.bound);
  ASSERT_EQ(answer.response_times.size(), 3u);
  EXPECT_EQ(answer.response_times[0].name, "high");
  EXPECT_EQ(answer.response_times[0].response, 3s);
  EXPECT_EQ(answer.response_times[1].name, "middle");
  EXPECT_EQ(answer.response_times[1].response, 6s);
  EXPECT_EQ(answer.response_times[2].name, "low");
  EXPECT_EQ(answer.response_times[2].response, 20s);
}

TEST(PeriodicSet, WhatDoesNotFitIsNotAddedAndTheReasonNamesTheTaskAndTheCure) {
  PeriodicSet set;
  EXPECT_TRUE(set.admit({.name = "a", .period = 10ms, .cost = 6ms}).admitted);
  const Admission answer = set.admit({.name = "b", .period = 15ms, .cost = 6ms});
  EXPECT_FALSE(answer.admitted);
  EXPECT_EQ(answer.by, Admission::Test::none);
  EXPECT_EQ(answer.reason,
            "periodic task \"b\" would end 18ms after its release or later, its deadline is after "
            "15ms; lower the cost or lengthen the period of it or of a task with a shorter "
            "deadline");
  EXPECT_EQ(set.size(), 1u);
  EXPECT_TRUE(set.remove("a"));
  EXPECT_FALSE(set.remove("a"));
  EXPECT_TRUE(set.admit({.name = "b", .period = 15ms, .cost = 6ms}).admitted);
}

TEST(PeriodicSet, WhatNobodyCanPreemptIsAddedToEveryResponseTime) {
  PeriodicSet set(2ms);
  const Admission first = set.admit({.name = "a", .period = 10ms, .cost = 3ms});
  EXPECT_EQ(first.response_times[0].response, 5ms);
  EXPECT_EQ(first.by, Admission::Test::response_time);
  EXPECT_FALSE(set.admit({.name = "b", .period = 4ms, .cost = 3ms}).admitted);
  EXPECT_TRUE(set.analyse().admitted);
}

TEST(PeriodicSet, BadValuesAreToldWithTheirCure) {
  PeriodicSet set;
  const auto reason = [&set](PeriodicOptions task) { return set.admit(task).reason; };
  EXPECT_THAT(reason({.name = "x", .cost = 1ms}), HasSubstr("a period of 0; it has to be above"));
  EXPECT_THAT(reason({.name = "x", .period = 5ms}), HasSubstr("a cost of 0; say what one job"));
  EXPECT_THAT(reason({.name = "x", .period = 5ms, .cost = 1ms, .deadline = 6ms}),
              HasSubstr("a deadline of 6ms; it has to be at most the period of 5ms"));
  EXPECT_TRUE(set.admit({.name = "x", .period = 5ms, .cost = 1ms}).admitted);
  EXPECT_THAT(reason({.name = "x", .period = 5ms, .cost = 1ms}), HasSubstr("remove() it first"));
  EXPECT_THAT(reason({.name = "y", .period = rt::Duration::max(), .cost = rt::Duration::max()}),
              HasSubstr("; it has to be at most 8760h"));
  EXPECT_THAT(reason({.name = "y", .period = 5ms, .cost = 6ms}), HasSubstr("within the period"));
  EXPECT_FALSE(
      set.admit({.name = "y", .period = PeriodicSet::kPeriodMax, .cost = PeriodicSet::kPeriodMax})
          .admitted);
}

// What a preemptive processor does with a set whose tasks are released together, in slots of time.
struct Simulated {
  bool in_time = true;
  std::vector<int> response;  // the longest of each task
};

struct SlotTask {
  int period;
  int deadline;
  int cost;
};

Simulated simulate(const std::vector<SlotTask>& tasks) {
  struct Job {
    size_t task;
    int released;
    int left;
  };
  int hyperperiod = 1;
  for (const SlotTask& task : tasks) hyperperiod = std::lcm(hyperperiod, task.period);
  rt::ReadyClasses<Job> ready(1);
  std::list<Job> jobs;
  Simulated result;
  result.response.resize(tasks.size());
  const auto push = [&](Job& job) {
    const auto order = rt::TimePoint(1s * tasks[job.task].deadline);
    ready.push(&job, {.rank = rt::Rank::kPeriodic, .deadline = order}, -1);
  };
  for (int now = 0; now < hyperperiod; ++now) {
    for (size_t i = 0; i < tasks.size(); ++i) {
      if (now % tasks[i].period == 0) push(jobs.emplace_back(Job{i, now, tasks[i].cost}));
    }
    Job* const job = ready.pop(0, rt::Rank::kLow);
    if (!job) continue;
    if (--job->left > 0) {
      push(*job);
      continue;
    }
    int& longest = result.response[job->task];
    longest = std::max(longest, now + 1 - job->released);
    if (now + 1 - job->released > tasks[job->task].deadline) result.in_time = false;
  }
  if (std::any_of(jobs.begin(), jobs.end(), [](const Job& job) { return job.left > 0; })) {
    result.in_time = false;
  }
  return result;
}

TEST(PeriodicSet, TheAnalysisIsWhatASimulationOfTheWholeHyperperiodShows) {
  std::mt19937 random(5);
  const int periods[] = {4, 5, 6, 8, 10, 12, 15, 20, 24, 30, 40};
  int by_bound = 0, by_response = 0, refused = 0;
  for (int run = 0; run < 3000; ++run) {
    std::vector<SlotTask> tasks;
    PeriodicSet set;
    for (size_t i = 0, count = 1 + random() % 5; i < count; ++i) {
      SlotTask task{periods[random() % std::size(periods)], 0, 1 + static_cast<int>(random() % 4)};
      const bool shorter = random() % 3 == 0;
      task.deadline = shorter
                          ? task.cost + static_cast<int>(random() % (task.period - task.cost + 1))
                          : task.period;
      tasks.push_back(task);
      const Admission answer = set.admit({.name = std::to_string(tasks.size() - 1),
                                          .period = 1s * task.period,
                                          .cost = 1s * task.cost,
                                          .deadline = 1s * task.deadline});
      const Simulated seen = simulate(tasks);
      ASSERT_EQ(answer.admitted, seen.in_time) << "run " << run << ": " << answer.reason;
      if (!answer.admitted) {
        ++refused;
        tasks.pop_back();
        continue;
      }
      (answer.by == Admission::Test::liu_layland ? by_bound : by_response)++;
      std::map<rt::Duration, rt::Duration> longest;  // of those with the same deadline
      for (const ResponseTime& time : answer.response_times) {
        const rt::Duration shown = 1s * seen.response[std::stoul(time.name)];
        ASSERT_GE(time.response, shown) << "run " << run;
        longest[time.deadline] = std::max(longest[time.deadline], shown);
      }
      for (const ResponseTime& time : answer.response_times) {
        ASSERT_EQ(time.response, longest[time.deadline]) << "run " << run;
      }
    }
  }
  EXPECT_GT(by_bound, 500);
  EXPECT_GT(by_response, 500);
  EXPECT_GT(refused, 500);
}

Task<void> note_release(std::vector<Release>& seen, Release release, rt::Duration work) {
  seen.push_back(release);
  co_await sleep(work);
}

TEST(Periodic, ReleasesDoNotDriftHoweverLongAJobTakes) {
  SimRuntime sim(1);
  sim.run([]() -> Task<void> {
    std::vector<Release> seen;
    const auto job = [&seen](const Release& release) {
      return note_release(seen, release, 1ms * (1 + release.number % 9));
    };
    const rt::TimePoint begin = rt::current_context()->scheduler->now();
    PeriodicHandle task = spawn_periodic(job, {.name = "tick", .period = 10ms});
    co_await sleep(95ms);
    task.cancel();
    EXPECT_EQ(seen.size(), 10u);
    for (size_t i = 0; i < seen.size(); ++i) {
      EXPECT_EQ(seen[i].number, i);
      EXPECT_EQ(seen[i].time, begin + 10ms * i);
      EXPECT_EQ(seen[i].missed, 0u);
    }
    EXPECT_EQ(task.stats().overruns, 0u);
    EXPECT_EQ(task.stats().jobs, 10u);
    bool cancelled = false;
    try {
      co_await task;
    } catch (const Cancelled&) {
      cancelled = true;
    }
    EXPECT_TRUE(cancelled);
  }());
}

TEST(Periodic, ReleasesThatPassWhileAJobRunsAreMissedAndTold) {
  SimRuntime sim(1);
  sim.run([]() -> Task<void> {
    std::vector<Release> seen;
    const auto job = [&seen](const Release& release) {
      const rt::Duration work[] = {25ms, 30ms, 10ms, 1ms};
      return note_release(seen, release, work[std::min<size_t>(seen.size(), 3)]);
    };
    const rt::TimePoint begin = rt::current_context()->scheduler->now();
    PeriodicHandle task = spawn_periodic(job, {.period = 10ms, .deadline = 8ms});
    co_await sleep(75ms);
    EXPECT_EQ(seen.size(), 4u);
    const uint64_t numbers[] = {0, 3, 6, 7}, missed[] = {0, 2, 2, 0};
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(seen[i].number, numbers[i]);
      EXPECT_EQ(seen[i].time, begin + 10ms * numbers[i]);
      EXPECT_EQ(seen[i].missed, missed[i]);
    }
    EXPECT_EQ(task.stats().missed, 4u);
    EXPECT_EQ(task.stats().overruns, 3u);
  }());
}

TEST(Periodic, AJobThatThrowsEndsTheTask) {
  SimRuntime sim(1);
  sim.run([]() -> Task<void> {
    const auto job = []() -> Task<void> {
      co_await yield_now();
      throw std::runtime_error("sensor gone");
    };
    PeriodicHandle task = spawn_periodic(job, {.period = 1s});
    std::string what;
    try {
      co_await task;
    } catch (const std::runtime_error& error) {
      what = error.what();
    }
    EXPECT_EQ(what, "sensor gone");
    EXPECT_TRUE(task.stats().jobs == 0);
  }());
}

TEST(Periodic, TheShorterPeriodRunsFirstAndBeforeEveryPriority) {
  explore(100, [](SimRuntime& sim) {
    const std::string log = sim.run([]() -> Task<std::string> {
      std::string out;
      const auto letters = [](std::string& to, char letter) {
        return [&to, letter] {
          return [](std::string& text, char c) -> Task<void> {
            text += c;
            co_await yield_now();
            text += c;
          }(to, letter);
        };
      };
      const auto critical = [](std::string& to) -> Task<void> {
        co_await sleep(1h);
        to += 'c';
      };
      TaskHandle<void> other = spawn({.priority = Priority::critical}, critical(out));
      co_await sleep(0s);
      std::vector<PeriodicHandle> tasks;
      tasks.push_back(spawn_periodic(letters(out, '3'), {.period = 3h}));
      tasks.push_back(spawn_periodic(letters(out, '1'), {.period = 1h}));
      tasks.push_back(spawn_periodic(letters(out, '2'), {.period = 2h}));
      co_await other;
      for (auto& task : tasks) task.cancel();
      co_return out;
    }());
    EXPECT_EQ(log.substr(0, 6), "112233");
  });
}

TEST_P(PeriodicOnEveryModel, RunsOnARealRuntimeUntilItIsCancelled) {
  run_here([]() -> Task<void> {
    std::atomic<int> jobs{0};
    const auto job = [](std::atomic<int>& count, Notify& tenth) {
      return [&count, &tenth]() -> Task<void> {
        if (++count == 10) tenth.notify_one();
        co_return;
      };
    };
    Notify tenth;
    PeriodicHandle task = spawn_periodic(job(jobs, tenth), {.period = 100us});
    co_await tenth.notified();
    task.cancel();
    try {
      co_await task;
    } catch (const Cancelled&) {
    }
    EXPECT_GE(jobs, 10);
    EXPECT_GE(task.stats().jobs, 9u);
  }());
}

TEST(PeriodicDeathTest, APeriodOfZeroDies) {
  const auto job = []() -> Task<void> { co_return; };
  EXPECT_DEATH((void)spawn_periodic(job, {}), "set PeriodicOptions::period");
}

}  // namespace
}  // namespace zsync
