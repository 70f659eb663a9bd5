#include <gtest/gtest.h>

#include "rt/models_test.hpp"
#include "zsync/priority.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;
using testing::explore;
using testing::SimOptions;
using testing::SimRuntime;

class DeadlineOnOneWorker : public EveryModel {};
ZS_FOR_ONE_WORKER_MODELS(DeadlineOnOneWorker);
class DeadlineOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(DeadlineOnEveryModel);

rt::TimePoint in(rt::Duration delay) { return rt::current_context()->scheduler->now() + delay; }

SpawnOptions due(rt::Duration delay) { return {.deadline = in(delay)}; }

Task<void> append(std::string& log, char letter, int times = 1) {
  for (int i = 0; i < times; ++i) {
    log += letter;
    co_await yield_now();
  }
}

Task<std::string> several_deadlines() {
  std::string log;
  std::vector<TaskHandle<void>> handles;
  handles.push_back(spawn({.priority = Priority::critical}, append(log, 'c', 2)));
  handles.push_back(spawn(due(3h), append(log, '3', 2)));
  handles.push_back(spawn(due(1h), append(log, '1', 2)));
  handles.push_back(spawn(append(log, 'n', 2)));
  handles.push_back(spawn(due(2h), append(log, '2', 2)));
  for (auto& handle : handles) co_await handle;
  co_return log;
}

TEST_P(DeadlineOnOneWorker, TheEarliestDeadlineRunsFirstAndBeforeEveryPriority) {
  EXPECT_EQ(run_here(several_deadlines()), "112233ccnn");
}

TEST(Deadline, TheSimulatorRunsTheEarliestDeadlineFirstInEverySchedule) {
  explore(200, [](SimRuntime& sim) { EXPECT_EQ(sim.run(several_deadlines()), "112233ccnn"); });
}

TEST(Deadline, SlackIsTheTimeThatIsLeftAndBranchesHaveIt) {
  EXPECT_EQ(slack(), std::nullopt);
  EXPECT_EQ(deadline(), std::nullopt);
  SimRuntime sim(1);
  sim.run([]() -> Task<void> {
    EXPECT_EQ(slack(), std::nullopt);
    co_await spawn(due(10s), [](rt::TimePoint when) -> Task<void> {
      EXPECT_EQ(deadline(), when);
      EXPECT_EQ(slack(), 10s);
      co_await sleep(4s);
      EXPECT_EQ(slack(), 6s);
      co_await all([](rt::TimePoint end) -> Task<void> {
        EXPECT_EQ(deadline(), end);
        co_await sleep(7s);
        EXPECT_EQ(slack(), -1s);
      }(when));
      co_await spawn([]() -> Task<void> {
        EXPECT_EQ(slack(), std::nullopt);
        co_return;
      }());
    }(in(10s)));
  }());
}

TEST_P(DeadlineOnEveryModel, ADeadlineInThePastIsToldAndTheBodyDoesNotRun) {
  std::atomic<int> alive{0};
  bool ran = false;
  const auto body = [](Counted, bool& flag) -> Task<absl::Status> {
    flag = true;
    co_return absl::OkStatus();
  };
  run_here([](std::atomic<int>& count, bool& flag, auto start) -> Task<void> {
    SpawnOptions late{.name = "report", .deadline = in(-3ms)};
    TaskHandle<absl::Status> refused = spawn(late, start(Counted(count), flag));
    EXPECT_TRUE(refused.done());
    EXPECT_EQ(count, 0);
    const absl::Status status = co_await refused;
    EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
    EXPECT_NE(status.message().find("spawn(): the deadline of task \"report\" passed"),
              std::string::npos)
        << status;
    EXPECT_NE(status.message().find("give SpawnOptions::deadline a time ahead"), std::string::npos)
        << status;
    const auto seven = [] { return 7; };
    EXPECT_EQ(spawn(late, seven).outcome().status().code(), absl::StatusCode::kDeadlineExceeded);
    TaskHandle<int> value = spawn(late, seven);
    bool thrown = false;
    try {
      (void)co_await value;
    } catch (const Cancelled&) {
      thrown = true;
    }
    EXPECT_TRUE(thrown);
    spawn(late, seven).detach();
  }(alive, ran, body));
  EXPECT_FALSE(ran);
  EXPECT_EQ(alive, 0);
}

struct Misses {
  std::vector<DeadlineMiss> list;
  SimOptions options() {
    SimOptions sim;
    sim.on_deadline_miss = [this](const DeadlineMiss& miss) { list.push_back(miss); };
    return sim;
  }
};

TEST(Deadline, ATaskThatIsAliveAtItsDeadlineIsToldOnceAtThatTime) {
  Misses misses;
  SimRuntime sim(1, misses.options());
  sim.run([](std::vector<DeadlineMiss>& seen) -> Task<void> {
    SpawnOptions options = due(10s);
    options.name = "slow";
    const rt::TimePoint when = *options.deadline;
    TaskHandle<void> slow = spawn(options, []() -> Task<void> { co_await sleep(30s); }());
    const uint64_t id = slow.id();
    co_await sleep_until(when);
    EXPECT_TRUE(seen.empty());
    co_await sleep(1s);
    EXPECT_EQ(seen.size(), 1u);
    EXPECT_EQ(seen[0].id, id);
    EXPECT_EQ(seen[0].name, "slow");
    EXPECT_EQ(seen[0].deadline, when);
    EXPECT_EQ(seen[0].lateness, 1ns);
    EXPECT_FALSE(seen[0].ended);
    co_await slow;
  }(misses.list));
  EXPECT_EQ(misses.list.size(), 1u);
}

TEST(Deadline, WhoEndsInTimeOrAtTheDeadlineIsNotTold) {
  Misses misses;
  SimRuntime sim(1, misses.options());
  sim.run([]() -> Task<void> {
    TaskHandle<void> early = spawn(due(10s), []() -> Task<void> { co_await sleep(1s); }());
    TaskHandle<void> just = spawn(due(10s), []() -> Task<void> { co_await sleep(10s); }());
    co_await early;
    co_await just;
    co_await sleep(1h);
  }());
  EXPECT_TRUE(misses.list.empty());
}

TEST_P(DeadlineOnEveryModel, ATaskThatWaitsIsToldAlthoughEveryWorkerSleeps) {
  Gate late;
  Config config = config_of(GetParam());
  std::vector<DeadlineMiss> seen;
  config.on_deadline_miss = [&](const DeadlineMiss& miss) {
    seen.push_back(miss);
    late.open();
  };
  run(
      [](Gate& gate) -> Task<void> {
        co_await spawn(due(1ms),
                       [](Gate& opened) -> Task<void> { co_await opened.opened(); }(gate));
      }(late),
      config);
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_GT(seen[0].lateness, 0ns);
  EXPECT_FALSE(seen[0].ended);
}

TEST_P(DeadlineOnEveryModel, ATaskThatComputesPastItsDeadlineIsToldWhenItEnds) {
  Config config = config_of(GetParam());
  std::mutex mutex;
  std::vector<DeadlineMiss> seen;
  config.on_deadline_miss = [&](const DeadlineMiss& miss) {
    std::lock_guard<std::mutex> guard(mutex);
    seen.push_back(miss);
  };
  run(
      []() -> Task<void> {
        co_await spawn(due(1ms), []() -> Task<void> {
          while (*slack() >= 0ns) {
          }
          co_return;
        }());
      }(),
      config);
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_GT(seen[0].lateness, 0ns);
}

TEST(Deadline, WhoIsLateGoesOnWithItsPriorityAndHoldsUpNobodyThatCanBeInTime) {
  Misses misses;
  SimRuntime sim(1, misses.options());
  const std::string log = sim.run([]() -> Task<std::string> {
    std::string out;
    const auto twice = [](std::string& to, char letter) -> Task<void> {
      co_await append(to, letter);
      co_await sleep(2s);
      co_await append(to, letter, 3);
    };
    SpawnOptions low = due(1s);
    low.priority = Priority::low;
    TaskHandle<void> late = spawn(low, twice(out, 'L'));
    TaskHandle<void> punctual = spawn(due(1h), twice(out, 'p'));
    TaskHandle<void> normal = spawn(twice(out, 'n'));
    co_await late;
    co_await punctual;
    co_await normal;
    co_return out;
  }());
  EXPECT_EQ(log, "LpnpppnnnLLL");
  EXPECT_EQ(misses.list.size(), 1u);
}

Task<int> value_after(rt::Duration delay, int value) {
  co_await sleep(delay);
  co_return value;
}

SpawnOptions with_cost(std::string name, rt::Duration delay, rt::Duration cost) {
  return {.name = std::move(name), .deadline = in(delay), .cost = cost};
}

TEST(Overload, WithoutDeclaredCostsNothingIsRefused) {
  SimRuntime sim(1);
  sim.run([]() -> Task<void> {
    std::vector<TaskHandle<int>> handles;
    for (int i = 0; i < 100; ++i) handles.push_back(spawn(due(1s), value_after(1s, i)));
    for (int i = 0; i < 100; ++i) EXPECT_EQ(co_await handles[i], i);
  }());
}

TEST(Overload, WhatCannotBeKeptIsRejectedWithWhatIsMissing) {
  SimRuntime sim(1);
  sim.run([]() -> Task<void> {
    TaskHandle<int> first = spawn(with_cost("first", 10s, 6s), value_after(1s, 1));
    TaskHandle<int> second = spawn(with_cost("second", 10s, 5s), value_after(1s, 2));
    TaskHandle<int> third = spawn(with_cost("third", 10s, 4s), value_after(1s, 3));
    const absl::Status refused = second.outcome().status();
    EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
    EXPECT_EQ(refused.message(),
              "spawn(): task \"second\" with a cost of 5s was not started: up to its deadline or "
              "a later one 1s of run time is missing; give it a later deadline, or set "
              "Config::overload_policy");
    EXPECT_EQ(co_await first, 1);
    // What has ended reserves nothing.
    TaskHandle<int> fourth = spawn(with_cost("fourth", 9s, 5s), value_after(1s, 4));
    EXPECT_EQ(co_await third, 3);
    EXPECT_EQ(co_await fourth, 4);
  }());
}

TEST(Overload, WhatCannotBeKeptIsDemotedAndItsDeadlineStillWatched) {
  Misses misses;
  SimOptions options = misses.options();
  options.overload_policy = OverloadPolicy::demote;
  SimRuntime sim(1, options);
  const std::string log = sim.run([]() -> Task<std::string> {
    std::string out;
    TaskHandle<void> first = spawn(with_cost("first", 10s, 6s), append(out, '1', 2));
    SpawnOptions too_much = with_cost("second", 5s, 5s);
    too_much.priority = Priority::low;
    TaskHandle<void> second = spawn(too_much, [](std::string& to) -> Task<void> {
      EXPECT_EQ(slack(), 5s);
      co_await append(to, '2', 2);
      co_await sleep(6s);
    }(out));
    TaskHandle<void> normal = spawn(append(out, 'n', 2));
    co_await first;
    co_await second;
    co_await normal;
    co_return out;
  }());
  EXPECT_EQ(log, "11nn22");
  ASSERT_EQ(misses.list.size(), 1u);
  EXPECT_EQ(misses.list[0].name, "second");
}

TEST(Overload, TheAdmittedTaskWithTheLatestDeadlineIsShed) {
  SimOptions options;
  options.overload_policy = OverloadPolicy::shed_latest;
  SimRuntime sim(1, options);
  sim.run([]() -> Task<void> {
    TaskHandle<int> soon = spawn(with_cost("soon", 10s, 5s), value_after(1s, 1));
    TaskHandle<int> later = spawn(with_cost("later", 20s, 5s), value_after(1s, 2));
    TaskHandle<int> last = spawn(with_cost("last", 30s, 20s), value_after(1s, 3));
    TaskHandle<int> urgent = spawn(with_cost("urgent", 6s, 5s), value_after(1s, 4));
    EXPECT_EQ(co_await soon, 1);
    EXPECT_EQ(co_await later, 2);
    EXPECT_EQ(co_await urgent, 4);
    bool cancelled = false;
    try {
      (void)co_await last;
    } catch (const Cancelled&) {
      cancelled = true;
    }
    EXPECT_TRUE(cancelled);
    // Where the new one has the latest deadline there is nobody to be shed for it.
    TaskHandle<int> tight = spawn(with_cost("tight", 10s, 9s), value_after(1s, 5));
    const absl::Status refused =
        spawn(with_cost("idle", 11s, 5s), value_after(1s, 6)).outcome().status();
    EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
    EXPECT_EQ(co_await tight, 5);
  }());
}

TEST_P(DeadlineOnEveryModel, RefusedAndShedTasksOfARealRuntimeEnd) {
  Config config = config_of(GetParam());
  config.overload_policy = OverloadPolicy::shed_latest;
  run(
      []() -> Task<void> {
        std::vector<TaskHandle<int>> handles;
        for (int i = 100; i > 0; --i) {
          handles.push_back(
              spawn(with_cost("", 1h + 1min * i, 30min), value_after(1h * (i > 3), i)));
        }
        int ended = 0, stopped = 0;
        for (auto& handle : handles) {
          handle.cancel();
          try {
            (void)co_await handle;
            ++ended;
          } catch (const Cancelled&) {
            ++stopped;
          }
        }
        EXPECT_EQ(ended + stopped, 100);
        EXPECT_GE(stopped, 97);
      }(),
      config);
}

}  // namespace
}  // namespace zsync
