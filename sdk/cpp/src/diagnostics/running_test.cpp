// Dumps and figures of runtimes that go on meanwhile, and dumps on a signal.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "diagnostics/picture.hpp"
#include "diagnostics/symbols.hpp"
#include "zsync/diagnostics.hpp"
#include "zsync/zsync.hpp"

namespace zsync {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using namespace std::chrono_literals;

std::unique_ptr<Runtime> make_runtime(ExecutionModel model, size_t workers = 1) {
  absl::StatusOr<std::unique_ptr<Runtime>> runtime =
      Runtime::builder().model(model).workers(workers).build();
  EXPECT_TRUE(runtime.ok()) << runtime.status();
  return std::move(*runtime);
}

// Runs `main(runtime)` on this thread, which works for the runtime: what was spawned and stands
// before it in the queue has run as far as it can after a yield.
template <typename Main>
void on_one_thread(Main main) {
  std::unique_ptr<Runtime> runtime = make_runtime(ExecutionModel::caller);
  runtime->block_on(main(*runtime));
}

Task<int> leaf(Channel<int> channel) { co_return co_await channel.recv() ? 1 : 0; }
Task<int> middle(Channel<int> channel) { co_return co_await leaf(channel) + 1; }
Task<int> outermost(Channel<int> channel) { co_return co_await middle(channel) + 1; }

Task<void> play(Channel<int> in, Channel<int> out) {
  while (std::optional<int> ball = co_await in.recv()) {
    if (!(co_await out.send(*ball)).ok()) break;
  }
}

Task<int> tree(int depth) {
  if (depth == 0) {
    co_await yield_now();
    co_return 1;
  }
  auto [left, right] = co_await all(tree(depth - 1), tree(depth - 1));
  co_return left + right;
}

Task<void> short_lives(std::atomic<bool>& stop) {
  while (!stop.load()) {
    Channel<int> channel = bounded<int>(1);
    TaskHandle<int> waiter = spawn(outermost(channel));
    TaskHandle<absl::StatusOr<int>> late = spawn(timeout(shield(leaf(channel)), 1us));
    co_await yield_now();
    waiter.cancel();
    channel.close();
    (void)co_await late;
    EXPECT_EQ(co_await tree(4), 16);
  }
}

#if __has_feature(address_sanitizer)
constexpr int kDumps = 15;  // of each thread; one takes over half a second
#else
constexpr int kDumps = 100;
#endif

// With TSan and ASan this is the proof that nothing is read which somebody may be writing or has
// freed. A dump that lost a cancel or a wake-up would leave a task behind for ever.
TEST(DumpTasks, DumpsAndTasksAtFullSpeedDoNotDisturbEachOther) {
  std::unique_ptr<Runtime> runtime = make_runtime(ExecutionModel::multi_thread, 3);
  std::atomic<bool> stop{false};
  std::vector<TaskHandle<void>> handles;
  std::vector<Channel<int>> channels;
  for (int i = 0; i < 4; ++i) {
    channels.push_back(bounded<int>(1));
    channels.push_back(bounded<int>(1));
    handles.push_back(runtime->spawn(play(channels[2 * i], channels[2 * i + 1])));
    handles.push_back(runtime->spawn(play(channels[2 * i + 1], channels[2 * i])));
    ASSERT_TRUE(channels[2 * i].try_send(1).ok());
  }
  for (int i = 0; i < 3; ++i) handles.push_back(runtime->spawn(short_lives(stop)));
  const RuntimeDiagnostics diagnostics(*runtime);
  std::thread second([&] {
    for (int i = 0; i < kDumps; ++i) (void)diagnostics.trace_tasks();
  });
  for (int i = 0; i < kDumps; ++i) {
    EXPECT_GE(diagnostics.trace_tasks().size(), 11u);
    (void)diagnostics.get_stats();
  }
  second.join();
  stop.store(true);
  for (Channel<int>& channel : channels) channel.close();
  for (TaskHandle<void>& handle : handles) handle.join();
  runtime->wait_idle();
}

// Takes pictures of one task after the other, each again and again.
class PhotographerThread {
 public:
  // Returns once the task was seen waiting; the pictures go on until stop().
  void look_at(rt::TaskContext& task) {
    seen_waiting_.store(false);
    stop_.store(false);
    thread_ = std::thread([this, &task] {
      std::vector<const void*> unknown;
      while (!stop_.load()) {  // without a pause: the task is held nearly all the time
        unknown.clear();
        if (take_picture(task, TraceLimits{}, symbols_, unknown).waits) seen_waiting_.store(true);
      }
    });
    while (!seen_waiting_.load()) sched_yield();
  }
  void stop() {
    stop_.store(true);
    thread_.join();
  }

 private:
  const Symbols symbols_;
  std::atomic<bool> stop_{false};
  std::atomic<bool> seen_waiting_{false};
  std::thread thread_;
};

TEST(DumpTasks, ACancelDuringADumpIsNeverLost) {
  std::unique_ptr<Runtime> runtime = make_runtime(ExecutionModel::multi_thread, 2);
  PhotographerThread photographer;
  for (int i = 0; i < 20; ++i) {
    TaskHandle<void> waiter = runtime->spawn([]() -> Task<void> { co_await sleep(24h); }());
    photographer.look_at(waiter.strand());
    waiter.cancel();
    photographer.stop();
    EXPECT_THROW(waiter.join(), Cancelled);
  }
}

TEST(DumpTasks, AWakeUpDuringADumpIsNeverLost) {
  std::unique_ptr<Runtime> runtime = make_runtime(ExecutionModel::multi_thread, 2);
  PhotographerThread photographer;
  for (int i = 0; i < 20; ++i) {
    Channel<int> channel = bounded<int>(1);
    TaskHandle<int> waiter = runtime->spawn(outermost(channel));
    photographer.look_at(waiter.strand());
    EXPECT_TRUE(channel.try_send(1).ok());
    photographer.stop();
    EXPECT_EQ(waiter.join(), 3);
  }
}

// -- signals

TEST(DumpOnSignal, ASignalToTheProcessGivesADump) {
  std::unique_ptr<Runtime> runtime = make_runtime(ExecutionModel::multi_thread, 2);
  std::promise<void> watching;
  std::promise<std::string> given;
  std::atomic<int> dumps{0};
  runtime
      ->spawn({.name = "dumps", .background = true},
              [](Task<absl::Status> watch) -> Task<void> {
                EXPECT_TRUE((co_await std::move(watch)).ok());
              }(RuntimeDiagnostics(*runtime).dump_on_signal(
                                               SIGUSR1,
                                               [&](const std::string& text) {
                                                 if (dumps.fetch_add(1) == 0) given.set_value(text);
                                               },
                                               [&] { watching.set_value(); })))
      .detach();
  watching.get_future().wait();
  Channel<int> channel = bounded<int>(1);
  TaskHandle<int> reader = runtime->spawn({.name = "reader"}, leaf(channel));
  ASSERT_EQ(::kill(::getpid(), SIGUSR1), 0);
  const std::string text = given.get_future().get();
  EXPECT_THAT(text, HasSubstr("\"dumps\" (background): waits for a blocking call\n"));
  EXPECT_THAT(text, HasSubstr("\"reader\""));
  channel.close();
  (void)reader.join();
}

TEST(DumpOnSignal, ASignalThatCannotBeWatchedIsAnError) {
  on_one_thread([](Runtime& runtime) -> Task<void> {
    const absl::Status status = co_await RuntimeDiagnostics(runtime).dump_on_signal(SIGKILL);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  });
}

// -- figures

TEST(RuntimeStats, CountsTasksAndTellsTheBackendAndTheTime) {
  std::unique_ptr<Runtime> runtime = make_runtime(ExecutionModel::multi_thread, 2);
  Channel<int> channel = bounded<int>(1);
  TaskHandle<int> one = runtime->spawn(leaf(channel));
  TaskHandle<int> other = runtime->spawn(leaf(channel));
  const RuntimeStats stats = RuntimeDiagnostics(*runtime).get_stats();
  EXPECT_EQ(stats.active_tasks, 2u);
  EXPECT_EQ(stats.workers.size(), 2u);
  EXPECT_EQ(stats.backend, runtime->backend());
  EXPECT_GT(stats.uptime.count(), 0);
  channel.close();
  (void)one.join();
  (void)other.join();
}

TEST(RuntimeStats, QueueLengthsAreWhatABusyWorkerHasBehindIt) {
  on_one_thread([](Runtime& runtime) -> Task<void> {
    std::vector<TaskHandle<void>> handles;
    const auto nothing = []() -> Task<void> { co_return; };
    for (int i = 0; i < 3; ++i) handles.push_back(spawn({.pinned = true}, nothing()));
    for (int i = 0; i < 5; ++i) handles.push_back(spawn(nothing()));
    const RuntimeStats stats = RuntimeDiagnostics(runtime).get_stats();
    EXPECT_EQ(stats.workers[0].here_only, 3u);
    EXPECT_EQ(stats.workers[0].ready, 5u);
    EXPECT_EQ(stats.workers[0].branches, 0u);
    for (TaskHandle<void>& handle : handles) co_await handle;
  });
}

TEST(RuntimeStats, BranchesThatNobodyHasStartedAreCounted) {
  on_one_thread([](Runtime& runtime) -> Task<void> {
    size_t seen = 0;
    const auto look = [](Runtime& own, size_t& branches) -> Task<void> {
      branches = RuntimeDiagnostics(own).get_stats().workers[0].branches;
      co_return;
    };
    const auto nothing = []() -> Task<void> { co_return; };
    co_await all(look(runtime, seen), nothing(), nothing());
    EXPECT_EQ(seen, 2u);
  });
}

uint64_t wakes(const RuntimeStats& stats) {
  uint64_t sum = 0;
  for (const uint64_t count : stats.wake_latency) sum += count;
  return sum;
}

TEST(RuntimeStats, AWorkerThatIsWokenTellsHowLongThatTook) {
  std::unique_ptr<Runtime> runtime = make_runtime(ExecutionModel::one_thread);
  const RuntimeDiagnostics diagnostics(*runtime);
  const auto wait_for_park = [&](uint64_t more_than) {
    while (true) {
      const RuntimeStats stats = diagnostics.get_stats();
      if (stats.workers[0].parks > more_than && stats.workers[0].parked) return stats;
      sched_yield();
    }
  };
  // A worker that announces itself may still find work and not sleep, so one wake may not count.
  RuntimeStats before = wait_for_park(0);
  while (wakes(diagnostics.get_stats()) == 0) {
    runtime->spawn([]() -> Task<void> { co_return; }()).join();
    before = wait_for_park(before.workers[0].parks);
  }
  EXPECT_GE(before.workers[0].parks, 1u);
}

TEST(RuntimeStats, AThiefCountsItsThefts) {
  std::unique_ptr<Runtime> runtime = make_runtime(ExecutionModel::multi_thread, 2);
  // The task's children are in its worker's own queue, which it does not look at before the other
  // worker has run one of them.
  runtime->block_on([]() -> Task<void> {
    std::atomic<bool> stolen{false};
    std::vector<TaskHandle<void>> children;
    const auto child = [](std::atomic<bool>& told) -> Task<void> {
      told.store(true);
      co_return;
    };
    for (int i = 0; i < 4; ++i) children.push_back(spawn(child(stolen)));
    while (!stolen.load()) sched_yield();
    for (TaskHandle<void>& handle : children) co_await handle;
  }());
  const RuntimeStats stats = RuntimeDiagnostics(*runtime).get_stats();
  EXPECT_GE(stats.workers[0].steals + stats.workers[1].steals, 1u);
}

TEST(RuntimeStats, TheTextHasALineForEachWorker) {
  std::unique_ptr<Runtime> runtime = make_runtime(ExecutionModel::multi_thread, 2);
  std::ostringstream text;
  RuntimeDiagnostics(*runtime).print_stats(text);
  EXPECT_THAT(text.str(), StartsWith("up "));
  EXPECT_THAT(text.str(), HasSubstr("\nworker 0: 0 ready, 0 branches, 0 for it alone; stole "));
  EXPECT_THAT(text.str(), HasSubstr("\nworker 1: "));
  EXPECT_THAT(text.str(), HasSubstr("\nfrom wake to awake:"));
}

}  // namespace
}  // namespace zsync
