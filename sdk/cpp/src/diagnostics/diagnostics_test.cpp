#include "zsync/diagnostics.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <future>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "zsync/barrier.hpp"
#include "zsync/broadcast.hpp"
#include "zsync/future.hpp"
#include "zsync/interval.hpp"
#include "zsync/notify.hpp"
#include "zsync/oneshot.hpp"
#include "zsync/pipe.hpp"
#include "zsync/rwlock.hpp"
#include "zsync/watch_value.hpp"
#include "zsync/zsync.hpp"

namespace zsync {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using namespace std::chrono_literals;
using State = StrandTrace::State;

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

const TaskTrace* find(const std::vector<TaskTrace>& tasks, const std::string& name) {
  for (const TaskTrace& task : tasks) {
    if (task.name == name) return &task;
  }
  return nullptr;
}

StrandTrace strand_of(Runtime& runtime, const std::string& name) {
  const std::vector<TaskTrace> tasks = RuntimeDiagnostics(runtime).trace_tasks();
  const TaskTrace* const task = find(tasks, name);
  if (task == nullptr) {
    ADD_FAILURE() << "no task has the name " << name;
    return {};
  }
  return task->strand;
}

std::string dump(Runtime& runtime) {
  std::ostringstream text;
  RuntimeDiagnostics(runtime).dump_tasks(text);
  return text.str();
}

template <typename Op>
Task<void> await_once(Op operation) {
  (void)co_await std::move(operation);
}

Task<int> leaf(Channel<int> channel) { co_return co_await channel.recv() ? 1 : 0; }
Task<int> middle(Channel<int> channel) { co_return co_await leaf(channel) + 1; }
Task<int> outermost(Channel<int> channel) { co_return co_await middle(channel) + 1; }

// What `Op`, awaited by a task, is shown as.
template <typename Op>
std::string shown(Op operation) {
  std::string text;
  on_one_thread([&](Runtime& runtime) -> Task<void> {
    return [](Runtime& own, Op awaited, std::string& into) -> Task<void> {
      TaskHandle<void> waiter = spawn({.name = "waiter"}, await_once(std::move(awaited)));
      co_await yield_now();
      into = strand_of(own, "waiter").waits_for;
    }(runtime, std::move(operation), text);
  });
  return text;
}

TEST(DumpTasks, ChannelsAreNamedBySide) {
  Channel<int> empty = bounded<int>(1);
  EXPECT_EQ(shown(empty.recv()), "channel recv");
  Channel<int> full = bounded<int>(1);
  ASSERT_TRUE(full.try_send(1).ok());
  EXPECT_EQ(shown(full.send(2)), "channel send");
}

TEST(DumpTasks, LocksAreNamedByWhatTheyLimit) {
  Semaphore semaphore(3);
  const std::optional<Permit> all = semaphore.try_acquire(3);
  EXPECT_EQ(shown(semaphore.acquire(2)), "semaphore, 2 permits");
  Mutex mutex;
  const std::optional<Permit> locked = mutex.try_lock();
  EXPECT_EQ(shown(mutex.lock()), "mutex, or semaphore of one permit");
  RwLock lock;
  const std::optional<Permit> written = lock.try_write();
  EXPECT_EQ(shown(lock.read()), "rwlock to read");
}

TEST(DumpTasks, OtherWaitsAreNamedToo) {
  Notify notify;
  EXPECT_EQ(shown(notify.notified()), "notification");
  Barrier barrier(2);
  EXPECT_EQ(shown(barrier.arrive_and_wait()), "barrier");
  auto [sender, receiver] = oneshot<int>();
  EXPECT_EQ(shown(receiver.recv()), "oneshot recv");
  EXPECT_THAT(shown(sleep(1h)), StartsWith("sleep, 3"));
  EXPECT_EQ(shown(select(notify.notified(), sleep(1h))), "select of notification, sleep");
}

TEST(DumpTasks, AChainOfAwaitersIsShownFromTheInnermost) {
  on_one_thread([](Runtime& runtime) -> Task<void> {
    Channel<int> channel = bounded<int>(1);
    TaskHandle<int> handle = spawn({.name = "chain"}, outermost(channel));
    co_await yield_now();
    const StrandTrace strand = strand_of(runtime, "chain");
    EXPECT_EQ(strand.state, State::waiting);
    EXPECT_EQ(strand.waits_for, "channel recv");
    std::vector<std::string> functions;
    for (const FrameTrace& frame : strand.frames) functions.push_back(frame.function);
    EXPECT_THAT(functions, ElementsAre(HasSubstr("leaf(zsync::Channel<int>)"),
                                       HasSubstr("middle(zsync::Channel<int>)"),
                                       HasSubstr("outermost(zsync::Channel<int>)")));
    EXPECT_TRUE(channel.try_send(1).ok());
    EXPECT_EQ(co_await handle, 3);
  });
}

TEST(DumpTasks, TheTextNamesTaskWaitAndFrames) {
  on_one_thread([](Runtime& runtime) -> Task<void> {
    Channel<int> channel = bounded<int>(1);
    TaskHandle<int> handle =
        spawn({.name = "reader", .pinned = true, .background = true}, middle(channel));
    co_await yield_now();
    const std::string text = dump(runtime);
    EXPECT_THAT(text, StartsWith("2 tasks\ntask "));
    EXPECT_THAT(text, HasSubstr(" \"main\": runs on worker 0\n"));
    EXPECT_THAT(text, HasSubstr(" \"reader\" (background) (pinned to worker 0): waits for channel "
                                "recv\n  zsync::(anonymous namespace)::leaf(zsync::Channel<int>)"));
    EXPECT_TRUE(channel.try_send(1).ok());
    (void)co_await handle;
  });
}

TEST(DumpTasks, ATaskWithoutANameIsShownByItsId) {
  on_one_thread([](Runtime& runtime) -> Task<void> {
    Channel<int> channel = bounded<int>(1);
    TaskHandle<int> handle = spawn(leaf(channel));
    co_await yield_now();
    EXPECT_THAT(dump(runtime),
                HasSubstr("task " + std::to_string(handle.id()) + ": waits for channel recv\n"));
  });
}

TEST(DumpTasks, AJoinNamesTheTaskThatIsAwaited) {
  on_one_thread([](Runtime& runtime) -> Task<void> {
    Channel<int> channel = bounded<int>(1);
    TaskHandle<int> awaited = spawn({.name = "awaited"}, leaf(channel));
    const uint64_t id = awaited.id();
    TaskHandle<int> joiner = spawn({.name = "joiner"}, rt::join_borrowed(awaited));
    co_await yield_now();
    EXPECT_EQ(strand_of(runtime, "joiner").waits_for, "end of a task " + std::to_string(id));
    EXPECT_TRUE(channel.try_send(1).ok());
    (void)co_await joiner;
  });
}

TEST(DumpTasks, ADescriptorIsNamedByItsNumberAndDirection) {
  on_one_thread([](Runtime& runtime) -> Task<void> {
    auto pipe = make_pipe();
    EXPECT_TRUE(pipe.ok());
    const int descriptor = pipe->first.get();
    TaskHandle<void> reader = spawn(
        {.name = "reader"},
        [](PipeReader from) -> Task<void> {
          std::byte byte;
          (void)co_await from.read_some(std::span(&byte, 1));
        },
        std::move(pipe->first));
    co_await yield_now();
    EXPECT_EQ(strand_of(runtime, "reader").waits_for,
              "readable descriptor " + std::to_string(descriptor));
  });
}

TEST(DumpTasks, ABlockingCallIsShownAsSuch) {
  std::promise<void> release;
  std::future<void> released = release.get_future();
  on_one_thread([&](Runtime& runtime) -> Task<void> {
    return [](Runtime& own, std::future<void>& end, std::promise<void>& let_go) -> Task<void> {
      TaskHandle<void> call = spawn({.name = "call"}, rt::call_blocking([&end] { end.wait(); }));
      co_await yield_now();
      EXPECT_EQ(strand_of(own, "call").waits_for, "a blocking call");
      let_go.set_value();
      co_await call;
    }(runtime, released, release);
  });
}

TEST(DumpTasks, BranchesStandBelowTheTaskThatWaitsForThem) {
  on_one_thread([](Runtime& runtime) -> Task<void> {
    Channel<int> channel = bounded<int>(1);
    Channel<int> given = bounded<int>(1);
    EXPECT_TRUE(given.try_send(1).ok());
    TaskHandle<std::tuple<int, int, int>> handle =
        spawn({.name = "parent"}, rt::as_task(all(leaf(given), middle(channel), leaf(channel))));
    co_await yield_now();
    co_await yield_now();
    const StrandTrace strand = strand_of(runtime, "parent");
    EXPECT_EQ(strand.waits_for, "all branches");
    EXPECT_EQ(strand.branches.size(), 3u);
    if (strand.branches.size() != 3) co_return;
    EXPECT_EQ(strand.branches[0].state, State::ended);
    EXPECT_EQ(strand.branches[1].waits_for, "channel recv");
    EXPECT_EQ(strand.branches[1].frames.size(), 2u);
    EXPECT_EQ(strand.branches[2].waits_for, "channel recv");
    EXPECT_EQ(strand.branches[2].frames.size(), 1u);
    EXPECT_TRUE(channel.try_send(1).ok());
    co_await yield_now();
    channel.close();
    (void)co_await handle;
  });
}

// One that was suspended before it ended.
TEST(DumpTasks, ABranchThatEndedLateIsShownAsEnded) {
  on_one_thread([](Runtime& runtime) -> Task<void> {
    Channel<int> first = bounded<int>(1);
    Channel<int> second = bounded<int>(1);
    TaskHandle<std::tuple<int, int>> handle =
        spawn({.name = "parent"}, rt::as_task(all(leaf(first), leaf(second))));
    co_await yield_now();
    co_await yield_now();
    EXPECT_TRUE(second.try_send(1).ok());
    co_await yield_now();
    const StrandTrace strand = strand_of(runtime, "parent");
    EXPECT_EQ(strand.branches.size(), 2u);
    if (strand.branches.size() != 2) co_return;
    EXPECT_EQ(strand.branches[0].state, State::waiting);
    EXPECT_EQ(strand.branches[1].state, State::ended);
    first.close();
    (void)co_await handle;
  });
}

TEST(DumpTasks, NestedCombinatorsAreShownToTheLastWait) {
  on_one_thread([](Runtime& runtime) -> Task<void> {
    Channel<int> channel = bounded<int>(1);
    TaskHandle<absl::StatusOr<int>> handle =
        spawn({.name = "bounded"}, timeout(shield(any(leaf(channel), middle(channel))), 1h));
    for (int i = 0; i < 4; ++i) co_await yield_now();
    const StrandTrace strand = strand_of(runtime, "bounded");
    EXPECT_EQ(strand.waits_for, "the first branch");
    EXPECT_EQ(strand.branches.size(), 2u);
    if (strand.branches.size() != 2) co_return;
    EXPECT_THAT(strand.branches[1].waits_for, StartsWith("sleep, "));
    const StrandTrace& shielded = strand.branches[0];
    EXPECT_EQ(shielded.waits_for, "a shielded branch");
    EXPECT_EQ(shielded.branches.size(), 1u);
    if (shielded.branches.size() != 1) co_return;
    const StrandTrace& any_of = shielded.branches[0];
    EXPECT_EQ(any_of.waits_for, "the first branch that succeeds");
    EXPECT_EQ(any_of.branches.size(), 2u);
    if (any_of.branches.size() != 2) co_return;
    EXPECT_EQ(any_of.branches[1].waits_for, "channel recv");
    EXPECT_TRUE(channel.try_send(1).ok());
    EXPECT_TRUE((co_await handle).ok());
  });
}

TEST(DumpTasks, ACancelledTaskThatGoesOnInAShieldIsShown) {
  on_one_thread([](Runtime& runtime) -> Task<void> {
    Channel<int> channel = bounded<int>(1);
    TaskHandle<int> handle = spawn({.name = "stubborn"}, shield(middle(channel)));
    co_await yield_now();
    handle.cancel();
    co_await yield_now();
    const std::vector<TaskTrace> tasks = RuntimeDiagnostics(runtime).trace_tasks();
    const TaskTrace* const task = find(tasks, "stubborn");
    EXPECT_TRUE(task && task->cancel_requested);
    if (task == nullptr || task->strand.branches.size() != 1) {
      ADD_FAILURE() << "its branch is not shown";
      co_return;
    }
    EXPECT_EQ(task->strand.branches[0].waits_for, "channel recv");
    EXPECT_TRUE(channel.try_send(1).ok());
    EXPECT_EQ(co_await handle, 2);
  });
}

// A cancelled strand publishes nothing any more, so nobody could be found by what it waits for.
TEST(DumpTasks, AShieldInATaskThatWasCancelledBeforeIsShown) {
  on_one_thread([](Runtime& runtime) -> Task<void> {
    Channel<int> channel = bounded<int>(1);
    TaskHandle<int> handle = spawn(
        {.name = "late"},
        [](Channel<int> from) -> Task<int> {
          try {
            co_await sleep(1h);
          } catch (const Cancelled&) {
          }
          co_return co_await shield(leaf(from));
        },
        channel);
    co_await yield_now();
    handle.cancel();
    for (int i = 0; i < 3; ++i) co_await yield_now();
    const StrandTrace strand = strand_of(runtime, "late");
    EXPECT_EQ(strand.waits_for, "a shielded branch");
    EXPECT_EQ(strand.branches.size(), 1u);
    EXPECT_TRUE(channel.try_send(1).ok());
    EXPECT_EQ(co_await handle, 1);
  });
}

TEST(DumpTasks, ATaskThatDrainsItsExecutorIsShownAlsoWhenItWasCancelled) {
  on_one_thread([](Runtime& runtime) -> Task<void> {
    Channel<int> channel = bounded<int>(1);
    TaskHandle<void> handle = spawn(
        {.name = "group"},
        [](Channel<int> from) -> Task<void> {
          Executor executor;
          executor.spawn(shield(leaf(from))).detach();
          co_await executor.join_all();
        },
        channel);
    co_await yield_now();
    co_await yield_now();
    EXPECT_EQ(strand_of(runtime, "group").waits_for, "end of an executor's tasks");
    handle.cancel();
    for (int i = 0; i < 3; ++i) co_await yield_now();
    EXPECT_EQ(strand_of(runtime, "group").waits_for, "end of an executor's tasks");
    EXPECT_TRUE(channel.try_send(1).ok());
    co_await handle;
  });
}

// A task may leave an executor behind that nobody joins.
TEST(DumpTasks, AnExecutorThatOutlivesItsBodyIsShown) {
  on_one_thread([](Runtime& runtime) -> Task<void> {
    Channel<int> channel = bounded<int>(1);
    TaskHandle<void> handle = spawn(
        {.name = "left"},
        [](Channel<int> from) -> Task<void> {
          Executor executor;
          executor.spawn(shield(leaf(from))).detach();
          co_await yield_now();
        },
        channel);
    for (int i = 0; i < 4; ++i) co_await yield_now();
    EXPECT_EQ(strand_of(runtime, "left").waits_for, "end of an executor's tasks");
    EXPECT_TRUE(channel.try_send(1).ok());
    co_await handle;
  });
}

TEST(DumpTasks, ATaskThatComputesIsShownWithItsWorker) {
  std::unique_ptr<Runtime> runtime = make_runtime(ExecutionModel::one_thread);
  std::atomic<bool> go_on{false};
  std::promise<void> begun;
  TaskHandle<void> busy =
      runtime->spawn({.name = "busy"}, [](auto& started, auto& end) -> Task<void> {
        started.set_value();
        while (!end.load()) sched_yield();
        co_return;
      }(begun, go_on));
  begun.get_future().wait();
  const StrandTrace strand = strand_of(*runtime, "busy");
  EXPECT_EQ(strand.state, State::running);
  EXPECT_EQ(strand.worker, 0);
  EXPECT_TRUE(strand.frames.empty());
  TaskHandle<void> behind = runtime->spawn({.name = "behind"}, []() -> Task<void> { co_return; }());
  EXPECT_EQ(strand_of(*runtime, "behind").state, State::ready);
  go_on.store(true);
  busy.join();
  behind.join();
}

TEST(DumpTasks, ABranchThatComputesIsSeenAboveItsTask) {
  std::unique_ptr<Runtime> runtime = make_runtime(ExecutionModel::one_thread);
  std::atomic<bool> go_on{false};
  std::promise<void> begun;
  Channel<int> channel = bounded<int>(1);
  const auto compute = [](auto& started, auto& end) -> Task<int> {
    started.set_value();
    while (!end.load()) sched_yield();
    co_return 1;
  };
  TaskHandle<std::tuple<int, int>> parent =
      runtime->spawn({.name = "parent"}, rt::as_task(all(leaf(channel), compute(begun, go_on))));
  begun.get_future().wait();
  EXPECT_THAT(dump(*runtime), HasSubstr("waits for all branches; a branch runs on worker 0\n"));
  go_on.store(true);
  channel.close();
  (void)parent.join();
}

TEST(DumpTasks, LimitsCutADumpAndSaySo) {
  on_one_thread([](Runtime& runtime) -> Task<void> {
    Channel<int> channel = bounded<int>(1);
    std::vector<Task<int>> branches;
    for (int i = 0; i < 5; ++i) branches.push_back(outermost(channel));
    TaskHandle<std::vector<int>> many =
        spawn({.name = "many"}, rt::as_task(all(std::move(branches))));
    co_await yield_now();
    co_await yield_now();
    const std::vector<TaskTrace> tasks =
        RuntimeDiagnostics(runtime).trace_tasks({.tasks = 2, .branches = 2, .frames = 1});
    EXPECT_EQ(tasks.size(), 2u);
    const TaskTrace* const task = find(tasks, "many");
    if (task == nullptr) co_return;
    EXPECT_EQ(task->strand.branches.size(), 2u);
    EXPECT_EQ(task->strand.branches_left_out, 3u);
    EXPECT_EQ(task->strand.branches[0].frames.size(), 1u);
    EXPECT_EQ(RuntimeDiagnostics(runtime).trace_tasks({.tasks = 1}).size(), 1u);
    channel.close();
    (void)co_await many;
  });
}

}  // namespace
}  // namespace zsync
