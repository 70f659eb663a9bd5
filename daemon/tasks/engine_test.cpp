#include "daemon/tasks/engine.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <thread>

#include "daemon/store/commit.hpp"
#include "zsync/runtime.hpp"
#include "zsync/timeout.hpp"

namespace zsync::daemon {
namespace {

// A store and a runtime of the test's own; the engine comes and goes over them as daemons do.
class TasksEngineTest : public ::testing::Test {
 protected:
  TasksEngineTest() {
    char name[] = "/tmp/zsync-engine-XXXXXX";
    directory_ = mkdtemp(name);
    StoreOptions options;
    options.path = directory_ + "/store.db";
    options.migrations = {{1, kTaskSchemaV1}, {2, "SELECT 1"},     {3, "SELECT 1"},
                          {4, kTaskSchemaV4}, {5, kTaskSchemaV5},  {6, kTaskSchemaV6},
                          {7, "SELECT 1"},    {8, "SELECT 1"},     {9, kTaskSchemaV9},
                          {10, "SELECT 1"},   {11, kTaskSchemaV11}};
    store_ = *Store::open(std::move(options));
    events_ = *EventLog::open(directory_ + "/events", 1 << 20, [] { return int64_t{1}; });
    runtime_ = *Runtime::builder().workers(2).build();
  }
  ~TasksEngineTest() override {
    store_->close();
    std::filesystem::remove_all(directory_);
  }

  TasksOptions options(const std::string& boot_id) {
    const char* bin = std::getenv("ZSYNC_BIN");
    TasksOptions options;
    options.tasks_dir = directory_ + "/tasks";
    options.shim_program = std::string(bin ? bin : ".") + "/zsync-shim";
    options.boot_id = boot_id;
    return options;
  }

  // A record as a daemon leaves it that dies between committing `running` and starting the shim, or
  // before it has committed that.
  std::string leave(TaskState state, const std::string& boot_id = "boot-1") {
    StoredTask task;
    task.order = 1;
    task.boot_id = boot_id;
    task.record.id = "task_01jd0000000000000000000000";
    auto spec = std::make_shared<TaskSpec>();
    spec->argv = {"true"};
    task.record.spec = spec;
    task.record.state = state;
    task.record.attempt = state == TaskState::kQueued ? 0 : 1;
    task.record.created_unix_nano = 1;
    auto program = [](Store& store, StoredTask task) -> Task<absl::Status> {
      co_return co_await commit(store, [task](Database& db) {
        return insert_task(db, task, encode_task_spec(*task.record.spec));
      });
    };
    EXPECT_TRUE(runtime_->block_on(program(*store_, task)).ok());
    return task.record.id;
  }

  TaskRecord start_and_wait(const std::string& boot_id, const std::string& id) {
    auto program = [](TasksEngineTest* test, std::string boot, std::string id) -> Task<TaskRecord> {
      TasksEngine engine(test->options(boot), *test->store_, *test->events_, test->ids_,
                         test->cgroups_, [] { return int64_t{2}; });
      EXPECT_TRUE((co_await engine.start()).ok());
      absl::StatusOr<std::vector<TaskRecord>> ended = co_await engine.wait({id});
      EXPECT_TRUE(ended.ok()) << ended.status();
      co_await engine.stop();
      co_return ended->front();
    };
    return runtime_->block_on(program(this, boot_id, id));
  }

  void run_all(std::vector<TaskSpec> specs) {
    auto program = [](TasksEngineTest* test, std::vector<TaskSpec> tasks) -> Task<void> {
      TasksEngine engine(test->options("boot-1"), *test->store_, *test->events_, test->ids_,
                         test->cgroups_, [] { return int64_t{2}; });
      EXPECT_TRUE((co_await engine.start()).ok());
      auto submitted = co_await engine.submit(std::move(tasks), {});
      EXPECT_TRUE(submitted.ok()) << submitted.status();
      std::vector<std::string> ids;
      for (const Submitted& task : *submitted) ids.push_back(task.id);
      EXPECT_TRUE((co_await engine.wait(ids)).ok());
      co_await engine.stop();
    };
    runtime_->block_on(program(this, std::move(specs)));
  }

  std::vector<Event> events_of(const std::set<std::string>& types) {
    std::vector<Event> found;
    absl::StatusOr<segment_log::Reader> reader = segment_log::Reader::open(events_->dir());
    EXPECT_TRUE(reader.ok());
    while (true) {
      absl::StatusOr<segment_log::Batch> batch = reader->read();
      EXPECT_TRUE(batch.ok()) << batch.status();
      if (!batch.ok()) return found;
      for (const segment_log::Record& record : batch->records) {
        const std::optional<Event> event = decode_event(record);
        if (event && types.count(event->type) > 0) found.push_back(*event);
      }
      if (batch->at_end) return found;
    }
  }

  void run_sql(const std::string& sql) {
    auto program = [](Store& store, std::string script) -> Task<absl::Status> {
      co_return co_await commit(store,
                                [script](Database& db) { return db.execute_script(script); });
    };
    const absl::Status done = runtime_->block_on(program(*store_, sql));
    EXPECT_TRUE(done.ok()) << done;
  }

  // A task that fails and one that waits for it to succeed; the first one is to be removed.
  std::vector<std::string> fail_and_remove() {
    auto program = [](TasksEngineTest* test) -> Task<std::vector<std::string>> {
      TasksEngine engine(test->options("boot-1"), *test->store_, *test->events_, test->ids_,
                         test->cgroups_, [] { return int64_t{2}; });
      EXPECT_TRUE((co_await engine.start()).ok());
      std::vector<TaskSpec> specs(2);
      specs[0].name = "fails";
      specs[0].shell = "exit 3";
      specs[1].argv = {"true"};
      specs[1].after = {{"fails", DependencyCondition::kOk}};
      auto submitted = co_await engine.submit(std::move(specs), {});
      EXPECT_TRUE(submitted.ok()) << submitted.status();
      const std::vector<std::string> ids{(*submitted)[0].id, (*submitted)[1].id};
      EXPECT_TRUE((co_await engine.wait({ids[0]})).ok());
      absl::Status removed =
          co_await timeout(engine.remove(ids[0]), std::chrono::milliseconds(200));
      EXPECT_EQ(removed.code(), absl::StatusCode::kDeadlineExceeded) << removed;
      co_await engine.stop();
      co_return ids;
    };
    return runtime_->block_on(program(this));
  }

  std::string directory_;
  UlidGenerator ids_{[] { return uint64_t{1}; }, [] { return uint64_t{7}; }};
  TaskCgroups cgroups_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<EventLog> events_;
  std::unique_ptr<Runtime> runtime_;
};

// A place is given away before the end of its last holder is on disk; nobody is to see two in it.
TEST_F(TasksEngineTest, WhatHasOnePlaceIsToldOfAsOneAfterTheOther) {
  std::vector<TaskSpec> specs(40);
  for (TaskSpec& spec : specs) {
    spec.argv = {"true"};
    spec.locks = {"the-only-one"};
  }
  const size_t tasks = specs.size();
  run_all(std::move(specs));
  const std::vector<Event> seen = events_of({"task.started", "task.finished"});
  ASSERT_EQ(seen.size(), 2 * tasks);
  for (size_t i = 0; i < seen.size(); i += 2) {
    EXPECT_EQ(seen[i].type, "task.started") << i;
    EXPECT_EQ(seen[i + 1].type, "task.finished") << i;
    EXPECT_EQ(seen[i].subject, seen[i + 1].subject) << i;
  }
}

TEST_F(TasksEngineTest, AnAttemptThatNeverBeganIsFollowedByTheNextOne) {
  const std::string id = leave(TaskState::kRunning);
  const TaskRecord record = start_and_wait("boot-1", id);
  EXPECT_EQ(record.state, TaskState::kSucceeded) << record.reason;
  EXPECT_EQ(record.attempt, 2u);
}

// A daemon that dies between handing `running` over and saying go.
TEST_F(TasksEngineTest, AnAttemptThatWasHeldAndNotLetGoIsFollowedByTheNextOne) {
  const std::string id = leave(TaskState::kRunning);
  const std::string dir = directory_ + "/tasks/" + id + "/1";
  std::filesystem::create_directories(directory_ + "/tasks/" + id);
  shim::Spec spec;
  spec.argv = {"false"};
  spec.cwd = "/";
  spec.held = true;
  ASSERT_TRUE(shim::create_attempt(dir, spec).ok());
  {
    auto shim = shim::spawn_shim(options("boot-1").shim_program, dir);
    ASSERT_TRUE(shim.ok()) << shim.status();
    while (!shim::read_claim(dir)->has_value()) std::this_thread::yield();
    shim->connection = segment_log::Fd();
    ASSERT_EQ(::waitpid(shim->pid, nullptr, 0), shim->pid);
  }
  const TaskRecord record = start_and_wait("boot-1", id);
  EXPECT_EQ(record.state, TaskState::kSucceeded) << record.reason;
  EXPECT_EQ(record.attempt, 2u);
}

// Regression: a directory that was removed while its held shim put its claim there stayed, and the
// next attempt of that number was lost to the claim of a shim that had gone.
TEST_F(TasksEngineTest, AHeldShimThatIsStillAtWorkDoesNotMeetTheNextOne) {
  const std::string id = leave(TaskState::kQueued);
  const std::string dir = directory_ + "/tasks/" + id + "/1";
  std::filesystem::create_directories(dir);
  const segment_log::Fd held(::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const std::string claim = shim::encode_claim({shim::ClaimKind::kShim, 1, 1, "boot-1"});
  std::atomic<bool> stop = false;
  std::atomic<int> claims = 0;
  std::thread at_work([&] {
    while (!stop) {
      const segment_log::Fd file(
          ::openat(held.get(), "claim.new", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
      if (file.valid() && ::write(file.get(), claim.data(), claim.size()) > 0 &&
          ::renameat(held.get(), "claim.new", held.get(), shim::kClaimFile) == 0) {
        ++claims;
      }
    }
  });
  while (claims == 0) std::this_thread::yield();
  const TaskRecord record = start_and_wait("boot-1", id);
  stop = true;
  at_work.join();
  EXPECT_EQ(record.state, TaskState::kSucceeded) << record.reason;
  EXPECT_EQ(record.attempt, 1u);
}

// Regression: without its unsynced directory a command that had run looked as if it never began.
TEST_F(TasksEngineTest, AfterAPowerCutARunningTaskIsLostAndNotRunAgain) {
  const std::string id = leave(TaskState::kRunning);
  const TaskRecord record = start_and_wait("boot-2", id);
  EXPECT_EQ(record.state, TaskState::kLost) << record.reason;
  EXPECT_EQ(record.attempt, 1u);
}

// Regression: a failed task could be forgotten before `skipped` of the one that waited for it was
// on disk; the next daemon then took it for one that had ended well.
TEST_F(TasksEngineTest, AFailedTaskStaysUntilWhatItMakesSkippedIsOnDisk) {
  run_sql(
      "CREATE TRIGGER refuse BEFORE UPDATE ON task WHEN NEW.state=9 "
      "BEGIN SELECT RAISE(ABORT,'the disk is slow'); END");
  const std::vector<std::string> ids = fail_and_remove();
  run_sql("DROP TRIGGER refuse");
  const TaskRecord record = start_and_wait("boot-1", ids[1]);
  EXPECT_EQ(record.state, TaskState::kSkipped) << record.reason;
}

}  // namespace
}  // namespace zsync::daemon
