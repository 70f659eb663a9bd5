#include "daemon/tasks/schedules.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "daemon/store/commit.hpp"
#include "daemon/tasks/schedule_store.hpp"
#include "zsync/flow.hpp"
#include "zsync/runtime.hpp"

namespace zsync::daemon {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kMinute = 60 * kSecond;
constexpr int64_t kBegin = 1'767'225'600 * kSecond;

// Daemons come and go over one store, at times of the test's choice. Nothing starts: its group is
// paused.
class SchedulesTest : public ::testing::Test {
 protected:
  SchedulesTest() {
    char name[] = "/tmp/zsync-schedules-XXXXXX";
    directory_ = mkdtemp(name);
    StoreOptions options;
    options.path = directory_ + "/store.db";
    options.migrations = {{1, kTaskSchemaV1}, {2, "SELECT 1"},        {3, "SELECT 1"},
                          {4, kTaskSchemaV4}, {5, kTaskSchemaV5},     {6, kTaskSchemaV6},
                          {7, "SELECT 1"},    {8, kScheduleSchemaV8}, {9, kTaskSchemaV9},
                          {10, "SELECT 1"},   {11, kTaskSchemaV11}};
    store_ = *Store::open(std::move(options));
    events_ = *EventLog::open(directory_ + "/events", 1 << 20, [] { return int64_t{1}; });
    runtime_ = *Runtime::builder().workers(2).build();
  }
  ~SchedulesTest() override {
    store_->close();
    std::filesystem::remove_all(directory_);
  }

  struct Daemon {
    explicit Daemon(SchedulesTest& test)
        : tasks(test.options(), *test.store_, *test.events_, test.ids_, test.cgroups_,
                test.clock()),
          schedules(*test.store_, *test.events_, test.ids_, tasks, test.clock()) {}
    Task<void> start() {
      EXPECT_TRUE((co_await tasks.start()).ok());
      EXPECT_TRUE((co_await schedules.start()).ok());
    }
    Task<void> stop() {
      co_await schedules.stop();
      co_await tasks.stop();
    }
    TasksEngine tasks;
    Schedules schedules;
  };

  // One daemon's life, at the time `now_`.
  template <typename Body>
  void live(Body body) {
    auto program = [](SchedulesTest* test, Body body) -> Task<void> {
      Daemon daemon(*test);
      co_await daemon.start();
      co_await body(daemon);
      co_await daemon.stop();
    };
    runtime_->block_on(program(this, std::move(body)));
  }

  // Returns once the schedule has decided about all times up to now.
  static Task<ScheduleView> settled(Daemon& daemon, int64_t now) {
    while (true) {
      absl::StatusOr<ScheduleView> view = daemon.schedules.get("s");
      EXPECT_TRUE(view.ok()) << view.status();
      if (!view->next_unix_nano || *view->next_unix_nano > now) co_return *view;
      co_await yield_now();
    }
  }

  void make(ScheduleSpec spec) {
    live([spec](Daemon& daemon) -> Task<void> {
      GroupChange paused;
      paused.paused = true;
      EXPECT_TRUE((co_await daemon.tasks.set_group("default", paused, {})).ok());
      const auto made = co_await daemon.schedules.create(spec, false, {1000, 42});
      EXPECT_TRUE(made.ok()) << made.status();
    });
  }

  ScheduleSpec every_minute(MissedRuns missed, OverlapPolicy overlap = OverlapPolicy::kQueue) {
    ScheduleSpec spec;
    spec.name = "s";
    spec.every_ms = 60'000;
    spec.missed = missed;
    spec.overlap = overlap;
    auto task = std::make_shared<TaskSpec>();
    task->argv = {"true"};
    spec.task = task;
    return spec;
  }

  // A daemon that lives at `now` until it has decided -> the schedule, and all of its tasks.
  ScheduleView at(int64_t now) {
    now_ = now;
    ScheduleView view;
    live([this, &view](Daemon& daemon) -> Task<void> {
      view = co_await settled(daemon, now_);
      tasks_seen_ = daemon.tasks.list({}).size();
    });
    return view;
  }

  void run_sql(const std::string& sql) {
    auto program = [](Store& store, std::string script) -> Task<absl::Status> {
      co_return co_await commit(store,
                                [script](Database& db) { return db.execute_script(script); });
    };
    const absl::Status done = runtime_->block_on(program(*store_, sql));
    EXPECT_TRUE(done.ok()) << done;
  }

  TasksOptions options() {
    TasksOptions options;
    options.tasks_dir = directory_ + "/tasks";
    options.shim_program = "/nonexistent";
    options.boot_id = "boot";
    return options;
  }
  std::function<int64_t()> clock() {
    return [this] { return now_.load(); };
  }

  std::string directory_;
  std::atomic<int64_t> now_{kBegin};
  uint64_t milliseconds_ = 0;
  UlidGenerator ids_{[this] { return ++milliseconds_; }, [] { return uint64_t{7}; }};
  TaskCgroups cgroups_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<EventLog> events_;
  std::unique_ptr<Runtime> runtime_;
  size_t tasks_seen_ = 0;
};

TEST_F(SchedulesTest, EachTimeSubmitsItsTaskOnceOverAnyNumberOfRestarts) {
  make(every_minute(MissedRuns::kSkip));
  EXPECT_EQ(at(kBegin + kMinute - 1).record.runs, 0u);
  for (int restart = 0; restart < 3; ++restart) {
    const ScheduleView view = at(kBegin + kMinute + restart);
    EXPECT_EQ(view.record.runs, 1u);
    EXPECT_EQ(view.record.last_unix_nano, kBegin + kMinute);
    EXPECT_EQ(view.next_unix_nano, kBegin + 2 * kMinute);
    EXPECT_EQ(tasks_seen_, 1u);
  }
  EXPECT_EQ(at(kBegin + 2 * kMinute).record.runs, 2u);
  EXPECT_EQ(tasks_seen_, 2u);
}

// The task is on disk, and the daemon is killed before the schedule is. A key counts for a day
// only, and the next daemon comes later than that.
TEST_F(SchedulesTest, AKillBetweenTaskAndScheduleDoublesNothingNotEvenADayLater) {
  constexpr int64_t kHour = 60 * kMinute;
  ScheduleSpec spec = every_minute(MissedRuns::kAll);
  spec.every_ms = 25 * 3600 * 1000;
  make(spec);
  run_sql(
      "CREATE TRIGGER refuse BEFORE INSERT ON schedule BEGIN SELECT RAISE(ABORT,'killed'); END");
  now_ = kBegin + 25 * kHour;
  live([](Daemon& daemon) -> Task<void> {
    while (daemon.tasks.list({}).empty()) co_await yield_now();
  });
  run_sql("DROP TRIGGER refuse");
  const ScheduleView view = at(kBegin + 49 * kHour + kMinute);
  EXPECT_EQ(tasks_seen_, 1u);
  EXPECT_EQ(view.record.runs, 1u);
  EXPECT_EQ(view.record.last_unix_nano, kBegin + 25 * kHour);
  EXPECT_EQ(at(kBegin + 50 * kHour).record.runs, 2u);
  EXPECT_EQ(tasks_seen_, 2u);
}

TEST_F(SchedulesTest, WhatWasMissedWhileNoDaemonRanIsDecidedByThePolicy) {
  make(every_minute(MissedRuns::kOnce));
  const ScheduleView view = at(kBegin + 10 * kMinute + kFreshNs + 1);
  EXPECT_EQ(view.record.runs, 1u);
  EXPECT_EQ(view.record.last_unix_nano, kBegin + 10 * kMinute);
  EXPECT_EQ(view.record.missed, 9u);
  EXPECT_EQ(tasks_seen_, 1u);
}

TEST_F(SchedulesTest, ARunThatGoesOnKeepsTheNextOneOutUnlessItQueues) {
  make(every_minute(MissedRuns::kSkip, OverlapPolicy::kSkip));
  EXPECT_EQ(at(kBegin + kMinute).record.runs, 1u);
  const ScheduleView view = at(kBegin + 2 * kMinute);
  EXPECT_EQ(view.record.runs, 1u);
  EXPECT_EQ(view.record.overlapped, 1u);
  EXPECT_EQ(tasks_seen_, 1u);
}

TEST_F(SchedulesTest, ARunThatIsNotAcceptedIsCountedWithItsReason) {
  make(every_minute(MissedRuns::kSkip));
  live([](Daemon& daemon) -> Task<void> {
    GroupChange drained;
    drained.drained = true;
    EXPECT_TRUE((co_await daemon.tasks.set_group("default", drained, {})).ok());
  });
  const ScheduleView view = at(kBegin + kMinute);
  EXPECT_EQ(view.record.runs, 0u);
  EXPECT_EQ(view.record.refused, 1u);
  EXPECT_THAT(view.record.last_refusal, HasSubstr("drained by"));
}

TEST_F(SchedulesTest, WhileItIsPausedNothingIsMissed) {
  make(every_minute(MissedRuns::kAll));
  auto pause = [this](bool paused) {
    live([paused](Daemon& daemon) -> Task<void> {
      const auto view = co_await daemon.schedules.set_paused("s", paused, {1000, 42});
      EXPECT_TRUE(view.ok());
      EXPECT_EQ(daemon.schedules.active(), paused ? 0u : 1u);
    });
  };
  pause(true);
  EXPECT_FALSE(at(kBegin + 5 * kMinute).next_unix_nano);
  pause(false);
  const ScheduleView view = at(kBegin + 6 * kMinute);
  EXPECT_EQ(view.record.runs, 1u);
  EXPECT_EQ(view.record.missed, 0u);
}

TEST_F(SchedulesTest, ANameIsGivenOnceReplacedAndRemoved) {
  make(every_minute(MissedRuns::kSkip));
  live([this](Daemon& daemon) -> Task<void> {
    const ScheduleSpec spec = every_minute(MissedRuns::kOnce);
    EXPECT_EQ((co_await daemon.schedules.create(spec, false, {})).status().code(),
              absl::StatusCode::kAlreadyExists);
    EXPECT_TRUE((co_await daemon.schedules.create(spec, true, {})).ok());
    EXPECT_EQ(daemon.schedules.list().size(), 1u);
    const auto times = daemon.schedules.upcoming("s", 3);
    EXPECT_TRUE(times.ok());
    EXPECT_EQ(times->size(), 3u);
    EXPECT_THAT(std::string(daemon.schedules.get("r").status().message()),
                HasSubstr("no schedule \"r\""));
    EXPECT_TRUE((co_await daemon.schedules.remove("s")).ok());
    EXPECT_EQ((co_await daemon.schedules.remove("s")).code(), absl::StatusCode::kNotFound);
  });
  live([](Daemon& daemon) -> Task<void> {
    EXPECT_TRUE(daemon.schedules.list().empty());
    co_return;
  });
}

}  // namespace
}  // namespace zsync::daemon
