#include "daemon/projects/engine.hpp"

#include <gtest/gtest.h>

#include <filesystem>

#include "daemon/projects/project_store.hpp"
#include "watch/scratch_dir_test.hpp"
#include "zsync/runtime.hpp"
#include "zsync/timeout.hpp"

namespace zsync::daemon {
namespace {

using namespace std::chrono_literals;

// Daemons come and go over one store. Nothing starts: the group is paused, so a service lasts.
class ProjectsTest : public ::testing::Test {
 protected:
  ProjectsTest() {
    StoreOptions options;
    options.path = dir_ / "store.db";
    options.migrations = {{1, kTaskSchemaV1},      {2, "SELECT 1"},        {3, "SELECT 1"},
                          {4, kTaskSchemaV4},      {5, kTaskSchemaV5},     {6, kTaskSchemaV6},
                          {7, "SELECT 1"},         {8, "SELECT 1"},        {9, kTaskSchemaV9},
                          {10, kProjectSchemaV10}, {11, kTaskSchemaV11},   {12, "SELECT 1"},
                          {13, "SELECT 1"},        {14, kProjectSchemaV14}};
    store_ = *Store::open(std::move(options));
    events_ = *EventLog::open(dir_ / "events", 1 << 20, [] { return int64_t{1}; });
    runtime_ = *Runtime::builder().workers(2).build();
    tasks_options_.tasks_dir = dir_ / "tasks";
    tasks_options_.shim_program = "/nonexistent";
    tasks_options_.boot_id = "boot";
  }
  ~ProjectsTest() override { store_->close(); }

  struct Daemon {
    explicit Daemon(ProjectsTest& test)
        : tasks(test.tasks_options_, *test.store_, *test.events_, test.ids_, test.cgroups_, now),
          watch({.state_dir = test.dir_ / "watch"}, test.ids_),
          triggers(*test.store_, *test.events_, test.ids_, tasks, watch, now),
          channels({.dir = test.dir_ / "channels"}, *test.store_, *test.events_, test.ids_, now),
          projects(*test.store_, *test.events_, test.ids_, tasks, triggers, channels, watch, now) {}
    static int64_t now() { return 1'767'225'600'000'000'000; }
    Task<void> start() {
      EXPECT_TRUE((co_await tasks.start()).ok());
      for (const char* group : {"default", "services"}) {
        GroupChange paused;
        paused.paused = true;
        EXPECT_TRUE((co_await tasks.set_group(group, paused, {})).ok());
      }
      EXPECT_TRUE((co_await projects.start()).ok());
    }
    Task<void> stop_rest() {
      co_await triggers.stop();
      co_await watch.stop();
      co_await tasks.stop();
    }
    TasksEngine tasks;
    WatchEngine watch;
    TriggersEngine triggers;
    ChannelsEngine channels;
    ProjectsEngine projects;
  };

  watching::ScratchDir dir_;
  std::atomic<uint64_t> milliseconds_{0};
  std::atomic<uint64_t> bits_{0};
  UlidGenerator ids_{[this] { return ++milliseconds_; }, [this] { return ++bits_; }};
  TaskCgroups cgroups_;
  TasksOptions tasks_options_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<EventLog> events_;
  std::unique_ptr<Runtime> runtime_;
};

// Its services' tasks are on their way to the disk, which a cancel does not stop.
TEST_F(ProjectsTest, AStopRightAfterUpWaitsForNoService) {
  auto program = [](ProjectsTest* test, std::string root) -> Task<void> {
    for (int i = 0; i < 20; ++i) {
      Daemon daemon(*test);
      co_await daemon.start();
      ProjectWanted wanted;
      wanted.root = root;
      wanted.name = absl::StrCat("p", i);
      wanted.text =
          "version: 1\nservices:\n  a: {run: [sleep, '1000']}\n  b: {run: [sleep, '1000']}\n";
      const absl::StatusOr<ProjectView> up = co_await daemon.projects.up(wanted, {0, 0});
      EXPECT_TRUE(up.ok()) << up.status();
      const absl::Status stopped = co_await timeout(daemon.projects.stop(), 20s);
      EXPECT_TRUE(stopped.ok()) << stopped;
      co_await daemon.stop_rest();
      if (!stopped.ok()) co_return;
    }
  };
  std::filesystem::create_directories(dir_ / "root");
  runtime_->block_on(program(this, dir_ / "root"));
}

}  // namespace
}  // namespace zsync::daemon
