#include "daemon/triggers/engine.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "daemon/fault/fault.hpp"
#include "daemon/store/commit.hpp"
#include "daemon/triggers/trigger_store.hpp"
#include "watch/scratch_dir_test.hpp"
#include "zsync/flow.hpp"
#include "zsync/runtime.hpp"
#include "zsync/timeout.hpp"

namespace zsync::daemon {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Daemons come and go over one store and one state directory. Nothing starts: its group is paused,
// so a run lasts until its task is cancelled.
class TriggersTest : public ::testing::Test {
 protected:
  TriggersTest() {
    fs::create_directories(root());
    StoreOptions options;
    options.path = dir_ / "store.db";
    options.migrations = {{1, kTaskSchemaV1}, {2, "SELECT 1"},      {3, "SELECT 1"},
                          {4, kTaskSchemaV4}, {5, kTaskSchemaV5},   {6, kTaskSchemaV6},
                          {7, "SELECT 1"},    {8, "SELECT 1"},      {9, kTaskSchemaV9},
                          {10, "SELECT 1"},   {11, kTaskSchemaV11}, {12, kTriggerSchemaV12}};
    store_ = *Store::open(std::move(options));
    events_ = *EventLog::open(dir_ / "events", 1 << 20, [] { return int64_t{1}; });
    runtime_ = *Runtime::builder().workers(2).build();
  }
  ~TriggersTest() override { store_->close(); }

  struct Daemon {
    explicit Daemon(TriggersTest& test)
        : tasks(test.options(), *test.store_, *test.events_, test.ids_, test.cgroups_, now),
          watch({.state_dir = test.dir_ / "watch"}, test.ids_),
          triggers(*test.store_, *test.events_, test.ids_, tasks, watch, now) {}
    static int64_t now() { return 1'767'225'600'000'000'000; }
    Task<void> start() {
      EXPECT_TRUE((co_await tasks.start()).ok());
      GroupChange paused;
      paused.paused = true;
      EXPECT_TRUE((co_await tasks.set_group("default", paused, {})).ok());
      EXPECT_TRUE((co_await triggers.start()).ok());
    }
    Task<void> stop() {
      co_await triggers.stop();
      co_await watch.stop();
      co_await tasks.stop();
    }
    TasksEngine tasks;
    WatchEngine watch;
    TriggersEngine triggers;
  };

  // One daemon's life.
  template <typename Body>
  void live(Body body) {
    auto program = [](TriggersTest* test, Body body) -> Task<void> {
      Daemon daemon(*test);
      co_await daemon.start();
      co_await body(daemon);
      co_await daemon.stop();
    };
    runtime_->block_on(program(this, std::move(body)));
  }

  // Completes once the trigger is as it has to be.
  static Task<TriggerView> until(Daemon& daemon, std::function<bool(const TriggerView&)> right) {
    TriggerView view;
    for (int i = 0; i < 4'000; ++i) {
      absl::StatusOr<TriggerView> now = daemon.triggers.get("t");
      EXPECT_TRUE(now.ok()) << now.status();
      if (!now.ok()) co_return view;
      view = *std::move(now);
      if (right(view)) co_return view;
      co_await sleep(5ms);
    }
    ADD_FAILURE() << "state " << static_cast<int>(view.state) << ", runs "
                  << view.record.last.number << ", " << view.reason;
    co_return view;
  }
  // A task of the run is there, and it has not ended.
  static Task<TriggerView> until_run(Daemon& daemon, uint64_t number) {
    co_return co_await until(daemon, [number](const TriggerView& view) {
      return view.record.last.number == number && !view.record.last.task.empty();
    });
  }
  static Task<TriggerView> until_state(Daemon& daemon, TriggerState state) {
    co_return co_await until(daemon,
                             [state](const TriggerView& view) { return view.state == state; });
  }
  static Task<void> end_task(Daemon& daemon, std::string task) {
    EXPECT_TRUE((co_await daemon.tasks.cancel(std::move(task), true, std::nullopt)).ok());
  }
  static Task<TriggerView> until_pending(Daemon& daemon) {
    co_return co_await until(daemon, [](const TriggerView& view) { return view.pending > 0; });
  }

  TriggerSpec spec(std::vector<std::string> writes = {}) {
    TriggerSpec spec;
    spec.name = "t";
    spec.watch.path = root();
    spec.watch.settle = 1ms;
    spec.writes = std::move(writes);
    auto task = std::make_shared<TaskSpec>();
    task->argv = {"true"};
    spec.task = task;
    return spec;
  }
  void make(std::vector<std::string> writes = {}) {
    live([made = spec(std::move(writes))](Daemon& daemon) -> Task<void> {
      const auto created = co_await daemon.triggers.create(made, false, {1000, 42});
      EXPECT_TRUE(created.ok()) << created.status();
      EXPECT_FALSE(created.ok() && created->record.clock.empty());
    });
  }
  // What a daemon leaves that dies in the middle of it.
  void leave(std::function<void(TriggerRecord&)> change) {
    auto program = [](Store& store, std::function<void(TriggerRecord&)> change) -> Task<void> {
      std::vector<TriggerRecord> records;
      EXPECT_TRUE(store
                      .read([&](Database& db) {
                        return load_triggers(db, [&](TriggerRecord record) {
                          records.push_back(std::move(record));
                          return absl::OkStatus();
                        });
                      })
                      .ok());
      change(records.at(0));
      EXPECT_TRUE((co_await commit(store, [&](Database& db) {
                    return put_trigger(db, records.at(0));
                  })).ok());
    };
    runtime_->block_on(program(*store_, std::move(change)));
  }

  std::string root() { return dir_ / "tree"; }
  void write(const std::string& name, const std::string& text) {
    std::ofstream(root() + "/" + name) << text;
  }
  TasksOptions options() {
    TasksOptions options;
    options.tasks_dir = dir_ / "tasks";
    options.shim_program = "/nonexistent";
    options.boot_id = "boot";
    return options;
  }

  watching::ScratchDir dir_;
  std::atomic<uint64_t> milliseconds_{0};
  std::atomic<uint64_t> bits_{0};
  UlidGenerator ids_{[this] { return ++milliseconds_; }, [this] { return ++bits_; }};
  TaskCgroups cgroups_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<EventLog> events_;
  std::unique_ptr<Runtime> runtime_;
};

TEST_F(TriggersTest, AChangeSubmitsOneTaskThatKnowsItsPaths) {
  make();
  live([this](Daemon& daemon) -> Task<void> {
    co_await until_state(daemon, TriggerState::kIdle);
    write("a.c", "1");
    const TriggerView fired = co_await until_run(daemon, 1);
    EXPECT_EQ(fired.state, TriggerState::kRunning);
    EXPECT_THAT(fired.record.last.changed, ElementsAre("a.c"));
    const absl::StatusOr<TaskRecord> task = daemon.tasks.get(fired.record.last.task);
    EXPECT_TRUE(task.ok()) << task.status();
    EXPECT_EQ(task->spec->labels->at("trigger"), "t");
    co_await end_task(daemon, fired.record.last.task);
    const TriggerView ended = co_await until_state(daemon, TriggerState::kIdle);
    EXPECT_EQ(ended.record.last.state, TaskState::kCanceled);
    EXPECT_EQ(ended.record.last.number, 1u);
  });
}

TEST_F(TriggersTest, ChangesDuringARunMakeOneFollowingRun) {
  make({"*.o"});
  live([this](Daemon& daemon) -> Task<void> {
    co_await until_state(daemon, TriggerState::kIdle);
    write("a.c", "1");
    const TriggerView first = co_await until_run(daemon, 1);
    write("a.o", "1");
    write("b.c", "1");
    co_await until_pending(daemon);
    write("c.c", "1");
    co_await until(daemon, [](const TriggerView& view) { return view.pending == 2; });
    co_await end_task(daemon, first.record.last.task);
    const TriggerView second = co_await until_run(daemon, 2);
    EXPECT_THAT(second.record.last.changed, ElementsAre("b.c", "c.c"));
    co_await end_task(daemon, second.record.last.task);
    co_await until_state(daemon, TriggerState::kIdle);
    EXPECT_EQ(daemon.tasks.list({}).size(), 2u);
  });
}

TEST_F(TriggersTest, ChangesWhileNoDaemonRunsFireOnce) {
  make();
  std::string clock;
  live([&clock](Daemon& daemon) -> Task<void> {
    clock = (co_await until_state(daemon, TriggerState::kIdle)).record.clock;
  });
  write("a.c", "1");
  write("b.c", "1");
  live([&clock](Daemon& daemon) -> Task<void> {
    const TriggerView fired = co_await until_run(daemon, 1);
    EXPECT_NE(fired.record.clock, clock) << "it is decided up to here";
    EXPECT_THAT(fired.record.last.changed, ElementsAre("a.c", "b.c"));
  });
  live([](Daemon& daemon) -> Task<void> {  // the run counts as under way until its task ends
    const TriggerView running = co_await until_run(daemon, 1);
    EXPECT_EQ(running.state, TriggerState::kRunning);
    co_await end_task(daemon, running.record.last.task);
    co_await until_state(daemon, TriggerState::kIdle);
  });
  live([](Daemon& daemon) -> Task<void> {
    co_await until_state(daemon, TriggerState::kIdle);
    EXPECT_EQ(daemon.tasks.list({}).size(), 1u) << "what was decided is not decided again";
  });
}

// What has changed before a feed begins is told at once, though it may still be written to.
TEST_F(TriggersTest, WhatChangedBeforeItWatchesIsQuietBeforeItRuns) {
  TriggerSpec slow = spec();
  slow.watch.settle = 1s;
  live([slow](Daemon& daemon) -> Task<void> {
    EXPECT_TRUE((co_await daemon.triggers.create(slow, false, {1000, 42})).ok());
  });
  write("a.c", "1");
  live([this](Daemon& daemon) -> Task<void> {
    const TriggerView waits = co_await until_pending(daemon);
    EXPECT_EQ(waits.state, TriggerState::kSettling);
    EXPECT_EQ(waits.record.last.number, 0u);
    write("b.c", "1");
    EXPECT_THAT((co_await until_run(daemon, 1)).record.last.changed, ElementsAre("a.c", "b.c"));
  });
}

TEST_F(TriggersTest, WhatChangedDuringARunIsKnownToTheNextDaemon) {
  make();
  live([this](Daemon& daemon) -> Task<void> {
    co_await until_state(daemon, TriggerState::kIdle);
    write("a.c", "1");
    co_await until_run(daemon, 1);
    write("b.c", "1");
    co_await until_pending(daemon);
  });
  live([](Daemon& daemon) -> Task<void> {
    const TriggerView running = co_await until_pending(daemon);
    EXPECT_EQ(running.record.last.number, 1u);
    co_await end_task(daemon, running.record.last.task);
    EXPECT_THAT((co_await until_run(daemon, 2)).record.last.changed, ElementsAre("b.c"));
  });
}

TEST_F(TriggersTest, ARunThatWasOnlyWrittenDownIsSubmittedOnce) {
  make();
  leave([](TriggerRecord& record) {
    record.last.number = 1;
    record.last.fired_unix_nano = 1;
    record.last.changed = {"a.c"};
  });
  std::string task;
  live([&task](Daemon& daemon) -> Task<void> {
    task = (co_await until_run(daemon, 1)).record.last.task;
    EXPECT_EQ(daemon.tasks.list({}).size(), 1u);
  });
  // Killed after the task was accepted, and before that was written down.
  leave([](TriggerRecord& record) { record.last.task.clear(); });
  live([&task](Daemon& daemon) -> Task<void> {
    EXPECT_EQ((co_await until_run(daemon, 1)).record.last.task, task);
    EXPECT_EQ(daemon.tasks.list({}).size(), 1u);
  });
}

TEST_F(TriggersTest, ARunWhoseTaskIsGoneHasEnded) {
  make();
  leave([](TriggerRecord& record) {
    record.last.number = 1;
    record.last.fired_unix_nano = 1;
    record.last.task = "task_01jd0000000000000000000000";
  });
  live([](Daemon& daemon) -> Task<void> {
    const TriggerView ended = co_await until_state(daemon, TriggerState::kIdle);
    EXPECT_EQ(ended.record.last.reason, "its task is gone");
  });
}

TEST_F(TriggersTest, ThreeFollowingRunsOverTheSamePathsStopIt) {
  make();
  live([this](Daemon& daemon) -> Task<void> {
    co_await until_state(daemon, TriggerState::kIdle);
    write("out", "0");
    for (uint64_t run = 1; run <= 4; ++run) {
      const TriggerView running = co_await until_run(daemon, run);
      write("out", std::to_string(run) + " again");
      co_await until_pending(daemon);
      co_await end_task(daemon, running.record.last.task);
    }
    const TriggerView stopped = co_await until_state(daemon, TriggerState::kStopped);
    EXPECT_THAT(stopped.record.loop, ElementsAre("out"));
    EXPECT_THAT(stopped.cure, HasSubstr("--writes out"));
  });
  live([this](Daemon& daemon) -> Task<void> {
    EXPECT_EQ((co_await daemon.triggers.set_paused("t", false, {}))->record.loop.size(), 0u);
    const TriggerView idle = co_await until_state(daemon, TriggerState::kIdle);
    EXPECT_EQ(idle.record.last.number, 4u) << "what stopped it is known";
    write("out", "an edit");
    co_await until_run(daemon, 5);
  });
}

TEST_F(TriggersTest, ALoopGoesOnBeingCountedAfterARestart) {
  make();
  for (uint64_t run = 1; run <= 4; ++run) {
    if (run == 1) write("out", "0");
    live([this, run](Daemon& daemon) -> Task<void> {
      const TriggerView running = co_await until_run(daemon, run);
      write("out", std::to_string(run) + " again");
      co_await until_pending(daemon);
      co_await end_task(daemon, running.record.last.task);
      if (run < 4) co_await until_run(daemon, run + 1);
      if (run == 4) co_await until_state(daemon, TriggerState::kStopped);
    });
  }
}

TEST_F(TriggersTest, WhatChangesDuringAPauseFiresOnceAfterIt) {
  make();
  live([this](Daemon& daemon) -> Task<void> {
    co_await until_state(daemon, TriggerState::kIdle);
    EXPECT_EQ((co_await daemon.triggers.set_paused("t", true, {1000, 42}))->state,
              TriggerState::kPaused);
    EXPECT_EQ(daemon.triggers.active(), 0u);
    write("a.c", "1");
  });
  live([](Daemon& daemon) -> Task<void> {
    EXPECT_EQ(daemon.triggers.get("t")->state, TriggerState::kPaused);
    EXPECT_EQ(daemon.tasks.list({}).size(), 0u);
    EXPECT_TRUE((co_await daemon.triggers.set_paused("t", false, {})).ok());
    EXPECT_THAT((co_await until_run(daemon, 1)).record.last.changed, ElementsAre("a.c"));
  });
}

TEST_F(TriggersTest, ARunByHandRunsWhateverHasChanged) {
  make();
  live([](Daemon& daemon) -> Task<void> {
    EXPECT_TRUE((co_await daemon.triggers.set_paused("t", true, {})).ok());
    EXPECT_TRUE((co_await daemon.triggers.run("t")).ok());
    const TriggerView running = co_await until_run(daemon, 1);
    EXPECT_TRUE(running.record.last.by_hand);
    EXPECT_TRUE(running.record.paused.on());
    const absl::StatusOr<TriggerView> asked = co_await daemon.triggers.run("t");
    EXPECT_TRUE(asked->record.run_follows);
    EXPECT_THAT(asked->next, HasSubstr("asked for"));
    co_await end_task(daemon, running.record.last.task);
    const TriggerView second = co_await until_run(daemon, 2);
    co_await end_task(daemon, second.record.last.task);
    co_await until_state(daemon, TriggerState::kPaused);
    EXPECT_EQ(daemon.tasks.list({}).size(), 2u);
  });
}

TEST_F(TriggersTest, ADirectoryThatComesBackIsTakenUpAgain) {
  make();
  write("a.c", "1");
  live([this](Daemon& daemon) -> Task<void> {
    const TriggerView first = co_await until_run(daemon, 1);
    co_await end_task(daemon, first.record.last.task);
    co_await until_state(daemon, TriggerState::kIdle);
    fs::remove_all(root());
    EXPECT_THAT((co_await until_state(daemon, TriggerState::kRootGone)).reason, HasSubstr("gone"));
    fs::create_directories(root());
    write("b.c", "1");
    const TriggerView second = co_await until_run(daemon, 2);
    EXPECT_THAT(second.record.last.changed, ::testing::Contains("b.c"));
    co_await end_task(daemon, second.record.last.task);
    fs::remove_all(root());
    co_await until_state(daemon, TriggerState::kRootGone);
  });
  live([this](Daemon& daemon) -> Task<void> {
    co_await until_state(daemon, TriggerState::kRootGone);
    fs::create_directories(root());
    write("c.c", "1");
    EXPECT_THAT((co_await until_run(daemon, 3)).record.last.changed, ::testing::Contains("c.c"));
  });
}

TEST_F(TriggersTest, OneThatTakesAnothersPlaceKeepsItsRun) {
  make();
  live([this](Daemon& daemon) -> Task<void> {
    co_await until_state(daemon, TriggerState::kIdle);
    write("a.c", "1");
    const TriggerView first = co_await until_run(daemon, 1);
    EXPECT_TRUE(absl::IsAlreadyExists(
        (co_await daemon.triggers.create(spec(), false, {1000, 42})).status()));
    const auto replaced = co_await daemon.triggers.create(spec({"*.log"}), true, {1000, 42});
    EXPECT_TRUE(replaced.ok()) << replaced.status();
    EXPECT_EQ(replaced->record.id, first.record.id);
    EXPECT_EQ(replaced->state, TriggerState::kRunning);
    write("x.log", "1");
    write("b.c", "1");
    co_await until_pending(daemon);
    co_await end_task(daemon, first.record.last.task);
    EXPECT_THAT((co_await until_run(daemon, 2)).record.last.changed, ElementsAre("b.c"));
  });
}

TEST_F(TriggersTest, ATaskThatIsNotAcceptedIsToldOf) {
  make();
  live([this](Daemon& daemon) -> Task<void> {
    co_await until_state(daemon, TriggerState::kIdle);
    GroupChange drained;
    drained.drained = true;
    EXPECT_TRUE((co_await daemon.tasks.set_group("default", drained, {})).ok());
    write("a.c", "1");
    const TriggerView refused =
        co_await until(daemon, [](const TriggerView& view) { return view.record.refused == 1; });
    EXPECT_THAT(refused.record.last.reason, HasSubstr("not accepted"));
    EXPECT_EQ(refused.state, TriggerState::kIdle);
    drained.drained = false;
    EXPECT_TRUE((co_await daemon.tasks.set_group("default", drained, {})).ok());
    write("a.c", "2");
    co_await until_run(daemon, 2);
  });
}

TEST_F(TriggersTest, ARemovedOneStaysRemovedAndItsTasksStay) {
  make();
  live([this](Daemon& daemon) -> Task<void> {
    co_await until_state(daemon, TriggerState::kIdle);
    write("a.c", "1");
    const TriggerView running = co_await until_run(daemon, 1);
    EXPECT_TRUE((co_await daemon.triggers.remove("t")).ok());
    co_await end_task(daemon, running.record.last.task);
    EXPECT_TRUE(absl::IsNotFound(daemon.triggers.get("t").status()));
  });
  live([](Daemon& daemon) -> Task<void> {
    EXPECT_TRUE(daemon.triggers.list().empty());
    EXPECT_EQ(daemon.tasks.list({}).size(), 1u);
    co_return;
  });
}

TEST_F(TriggersTest, WhatIsWrongIsToldWithTheField) {
  make();
  live([this](Daemon& daemon) -> Task<void> {
    TriggerSpec other = spec();
    other.name = "other";
    other.watch.path = "/nonexistent";
    const absl::Status gone = (co_await daemon.triggers.create(other, false, {})).status();
    EXPECT_TRUE(absl::IsNotFound(gone)) << gone;
    EXPECT_EQ(fault_detail(gone)->field, "spec.path");
    other.watch.path = root();
    other.watch.globs = {"[a"};
    const absl::Status glob = (co_await daemon.triggers.create(other, false, {})).status();
    EXPECT_EQ(fault_detail(glob)->field, "spec.filter.globs");
    const absl::Status unknown = daemon.triggers.get("tt").status();
    EXPECT_THAT(fault_detail(unknown)->closest, ElementsAre("t"));
  });
}

}  // namespace
}  // namespace zsync::daemon
