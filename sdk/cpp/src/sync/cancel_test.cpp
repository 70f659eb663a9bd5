// Tasks, flow and synchronization in the table of rt/cancel_test.hpp.
#include "rt/cancel_test.hpp"

#include "zsync/rwlock.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;

TEST_P(CancelAtEveryMoment, BeforeItStartsNothingHappens) { before_start(/*ready=*/false); }
TEST_P(CancelAtEveryMoment, BeforeItStartsNothingHappensAlsoWhereItIsReady) {
  before_start(/*ready=*/true);
}
TEST_P(CancelAtEveryMoment, WhileItWaitsItEndsAndNothingIsLost) { while_it_waits(); }
TEST_P(CancelAtEveryMoment, WhileItCompletesItHappensOnceOrNotAtAll) {
  for (int i = 0; i < 40; ++i) one_round(i % 8);
}

// -- channels

struct OfChannel : Subject {
  Task<void> prepare() override {
    if (full) (void)channel.try_send(0);
    co_return;
  }
  std::vector<int> drain() {
    std::vector<int> all = received;
    while (std::optional<int> left = channel.try_recv()) all.push_back(*left);
    return all;
  }
  explicit OfChannel(bool filled) : full(filled) {}
  const bool full;
  Channel<int> channel = bounded<int>(1);
  std::vector<int> received;
};

struct ChannelRecv : OfChannel {
  ChannelRecv() : OfChannel(false) {}
  Task<bool> operate() override {
    if (std::optional<int> got = co_await channel.recv()) received.push_back(*got);
    co_return !received.empty();
  }
  Task<void> complete() override { (void)co_await channel.send(1); }
  Task<std::string> wrong(bool happened) override {
    if (happened != (received.size() == 1)) co_return "the result says something else";
    co_return drain() == std::vector{1} ? "" : "the message was lost";
  }
};
struct ReceiverRecv final : ChannelRecv {
  Task<bool> operate() override {
    if (std::optional<int> got = co_await half.recv()) received.push_back(*got);
    co_return !received.empty();
  }
  Receiver<int> half = channel.receiver();
};
struct RecvMany final : ChannelRecv {
  Task<bool> operate() override {
    for (int got : co_await channel.recv_many(8)) received.push_back(got);
    co_return !received.empty();
  }
};

struct ChannelSend : OfChannel {
  ChannelSend() : OfChannel(true) {}
  Task<bool> operate() override { co_return (co_await channel.send(1)).ok(); }
  Task<void> complete() override {
    if (std::optional<int> got = co_await channel.recv()) received.push_back(*got);
  }
  Task<std::string> wrong(bool happened) override {
    const std::vector<int> expected = happened ? std::vector{0, 1} : std::vector{0};
    co_return drain() == expected ? "" : "sent and cancelled at once, or neither";
  }
};
struct SendOrReturn final : ChannelSend {
  Task<bool> operate() override {
    Returned<int> back = co_await channel.send_or_return(1);
    if (back.status.ok() == (back.message == 1)) wrongly_returned = true;
    co_return back.status.ok();
  }
  Task<std::string> wrong(bool happened) override {
    if (wrongly_returned) co_return "the message came back and was sent, or neither";
    co_return co_await ChannelSend::wrong(happened);
  }
  bool wrongly_returned = false;
};
struct SendMany final : ChannelSend {
  Task<bool> operate() override { co_return (co_await channel.send_many(messages)).ok(); }
  Task<std::string> wrong(bool happened) override {
    std::vector<int> all = drain();
    if (happened != messages.empty()) co_return "the result says something else";
    all.insert(all.end(), messages.begin(), messages.end());
    co_return all == std::vector{0, 1} ? "" : "a message was lost or sent twice";
  }
  std::vector<int> messages{1};
};

struct BroadcastRecv final : Subject {
  Task<bool> operate() override { co_return (co_await subscription.recv()).ok(); }
  Task<void> complete() override {
    (void)sender.send(1);
    co_return;
  }
  Task<std::string> wrong(bool happened) override {
    const bool left = subscription.try_recv().has_value();
    co_return left != happened ? "" : "the message was lost or given twice";
  }
  Broadcast<int> sender = broadcast<int>(2);
  Subscription<int> subscription = sender.subscribe();
};
struct WatchChanged final : Subject {
  Task<bool> operate() override { co_return (co_await value.changed()).has_value(); }
  Task<void> complete() override {
    (void)setter.set(1);
    co_return;
  }
  Task<std::string> wrong(bool happened) override {
    co_return value.try_changed().has_value() != happened ? ""
                                                          : "the change was lost or seen twice";
  }
  WatchValue<int> setter = watch<int>(0);
  WatchValue<int> value = setter;
};
struct OneshotRecv final : Subject {
  Task<bool> operate() override { co_return (co_await ends.second.recv()).has_value(); }
  Task<void> complete() override {
    (void)ends.first.send(1);
    co_return;
  }
  Task<std::string> wrong(bool happened) override {
    const bool left = ends.second.try_recv().has_value();
    co_return left != happened ? "" : "the value was lost or given twice";
  }
  std::pair<OneshotSender<int>, OneshotReceiver<int>> ends = oneshot<int>();
};
struct FutureAwait final : Subject {
  Task<bool> operate() override { co_return (co_await future).ok(); }
  Task<void> complete() override {
    (void)promise.set_value(1);
    co_return;
  }
  Task<std::string> wrong(bool happened) override {
    if (happened) co_return "";
    const auto left = future.poll();
    co_return left && left->ok() ? "" : "the outcome was lost";
  }
  Promise<int> promise;
  Future<int> future = promise.future();
};

// -- locks

struct Acquire : Subject {
  Task<void> prepare() override { held = co_await semaphore.acquire(2); }
  Task<bool> operate() override {
    const Permit permit = co_await semaphore.acquire(2);
    co_return true;
  }
  Task<void> complete() override {
    held.reset();
    co_return;
  }
  Task<std::string> wrong(bool) override {
    co_return semaphore.try_acquire(2) ? "" : "a permit was lost";
  }
  Semaphore semaphore{2};
  std::optional<Permit> held;
};
struct MutexLock final : Subject {
  Task<void> prepare() override { held.emplace(co_await mutex.lock()); }
  Task<bool> operate() override {
    const auto guard = co_await mutex.lock();
    co_return true;
  }
  Task<void> complete() override {
    held.reset();
    co_return;
  }
  Task<std::string> wrong(bool) override { co_return mutex.try_lock() ? "" : "it stays locked"; }
  Mutex mutex;
  std::optional<Permit> held;
};
template <bool kWrites>
struct RwLocked final : Subject {
  Task<void> prepare() override { held.emplace(co_await lock.write()); }
  Task<bool> operate() override {
    const auto guard = co_await (kWrites ? lock.write() : lock.read());
    co_return true;
  }
  Task<void> complete() override {
    held.reset();
    co_return;
  }
  Task<std::string> wrong(bool) override { co_return lock.try_write() ? "" : "it stays locked"; }
  RwLock lock;
  std::optional<Permit> held;
};
struct Notified final : Subject {
  Task<bool> operate() override {
    co_await notify.notified();
    co_return true;
  }
  Task<void> complete() override {
    notify.notify_one();
    co_return;
  }
  Task<std::string> wrong(bool happened) override {
    const auto kept = co_await select(notify.notified(), sleep(0ms));
    co_return (kept.index == 0) != happened ? "" : "the notification was lost or given twice";
  }
  Notify notify;
};
struct NotifyChanged final : Subject {
  Task<bool> operate() override {
    co_await notify.changed(seen);
    co_return true;
  }
  Task<void> complete() override {
    notify.notify_all();
    co_return;
  }
  Task<std::string> wrong(bool) override {
    co_await notify.changed(seen);  // at once: the epoch has changed for good
    co_return notify.epoch() == seen + 1 ? "" : "the epoch was counted twice";
  }
  Notify notify;
  const uint64_t seen = notify.epoch();
};
struct Arrive final : Subject {
  Task<bool> operate() override {
    (void)co_await barrier.arrive_and_wait();
    co_return true;
  }
  Task<void> complete() override {
    other.emplace(
        spawn([](Barrier& with) -> Task<void> { (void)co_await with.arrive_and_wait(); }(barrier)));
    co_return;
  }
  Task<std::string> wrong(bool happened) override {
    if (happened) {
      co_await *other;
      co_return "";
    }
    // It did not count, so the other one needs a third.
    if (other->done()) co_return "one that was cancelled has arrived";
    (void)co_await barrier.arrive_and_wait();
    co_await *other;
    co_return "";
  }
  Barrier barrier{2};
  std::optional<TaskHandle<void>> other;
};
struct GetOrInit final : Subject {
  Task<bool> operate() override {
    (void)co_await cell.get_or_init([this]() -> Task<int> {
      (void)co_await gate.recv();
      ++runs;
      co_return 1;
    });
    co_return true;
  }
  Task<void> complete() override {
    gate.close();
    co_return;
  }
  Task<std::string> wrong(bool happened) override {
    if ((runs == 1) != happened) co_return "the function was not ended with its task";
    if (!happened) (void)co_await operate();
    co_return runs == 1 && cell.get() ? "" : "the cell was not handed on";
  }
  Channel<int> gate = bounded<int>(1);
  OnceCell<int> cell;
  int runs = 0;
};

// -- time

struct Sleep final : Subject {
  Task<bool> operate() override {
    co_await sleep(delay);
    co_return true;
  }
  Task<void> complete() override { co_return; }
  Task<std::string> wrong(bool) override {
    delay = 0ms;
    co_return co_await operate() ? "" : "no timer goes off any more";
  }
  std::chrono::milliseconds delay = 1h;
};
struct SleepThatEnds final : Subject {
  Task<bool> operate() override {
    co_await sleep(20us);
    co_return true;
  }
  Task<void> complete() override { co_return; }
  Task<std::string> wrong(bool) override { co_return co_await operate() ? "" : "it did not end"; }
};
struct SleepUntil final : Subject {
  Task<bool> operate() override {
    co_await sleep_until(deadline);
    co_return true;
  }
  Task<void> complete() override { co_return; }
  Task<std::string> wrong(bool) override {
    deadline = {};
    co_return co_await operate() ? "" : "no timer goes off any more";
  }
  rt::TimePoint deadline = std::chrono::steady_clock::now() + 1h;
};
struct Tick final : Subject {
  Task<bool> operate() override {
    (void)co_await ticks.tick();
    co_return true;
  }
  Task<void> complete() override { co_return; }
  Task<std::string> wrong(bool) override { co_return ""; }
  Interval ticks = interval(1h);
};
struct Yield final : Subject {
  Task<bool> operate() override {
    co_await yield_now();
    co_return true;
  }
  Task<void> complete() override { co_return; }
  Task<std::string> wrong(bool) override {
    co_return co_await operate() ? "" : "it did not return";
  }
};

// -- tasks and their combinators, around one channel

struct Around : ChannelRecv {
  Task<void> receive() {
    if (std::optional<int> got = co_await channel.recv()) received.push_back(*got);
  }
  Task<void> wait_for_ever() { co_await sleep(1h); }
  bool got() const { return !received.empty(); }
  // A cancel may come after a part of it has received.
  Task<std::string> wrong(bool happened) override {
    if (happened && !got()) co_return "the result says something else";
    co_return drain() == std::vector{1} ? "" : "the message was lost";
  }
};
struct Joined final : Around {
  Task<void> prepare() override {
    child.emplace(spawn(receive()));
    co_return;
  }
  Task<bool> operate() override {
    co_await *child;
    co_return true;
  }
  // A cancelled wait is not the task's end: the task receives all the same.
  Task<std::string> wrong(bool happened) override {
    if (!happened) co_await std::move(*child);
    co_return received == std::vector{1} ? "" : "the task was cancelled with the wait for it";
  }
  std::optional<TaskHandle<void>> child;
};
struct JoinAll final : Around {
  Task<bool> operate() override {
    Executor executor;
    executor.spawn(receive()).detach();
    co_await executor.join_all();
    co_return got();
  }
};
struct Scope final : Around {
  Task<bool> operate() override {
    co_await Executor::scope([this](Executor& executor) -> Task<void> {
      executor.spawn(receive()).detach();
      co_return;
    });
    co_return got();
  }
};
struct All final : Around {
  Task<bool> operate() override {
    co_await all(receive(), second());
    co_return got();
  }
  Task<void> second() { co_await yield_now(); }
};
struct Race final : Around {
  Task<bool> operate() override {
    (void)co_await race(receive(), wait_for_ever());
    co_return got();
  }
};
struct Any final : Around {
  Task<bool> operate() override {
    co_await any(receive(), wait_for_ever());
    co_return got();
  }
};
struct Select final : Around {
  Task<bool> operate() override {
    Notify never;
    auto first = co_await select(channel.recv(), sleep(1h), never.notified());
    if (first.index == 0) received.push_back(*std::get<0>(first.value));
    co_return got();
  }
};
struct Timeout final : Around {
  Task<bool> operate() override {
    (void)co_await timeout(receive(), 1h);
    co_return got();
  }
};
struct TimeoutOfOperation final : Around {
  Task<bool> operate() override {
    const auto in_time = co_await timeout(channel.recv(), 1h);
    if (in_time.ok() && *in_time) received.push_back(**in_time);
    co_return got();
  }
};
struct Blocking final : Subject {
  Task<bool> operate() override {
    co_await spawn_blocking([this] { ++calls; });
    co_return true;
  }
  Task<void> complete() override { co_return; }
  Task<std::string> wrong(bool happened) override {
    co_return happened&& calls == 0 ? "it has not run" : calls > 1 ? "it has run twice" : "";
  }
  std::atomic<int> calls{0};
};
// What is shielded goes on to its end, although the task was cancelled.
struct Shield final : Around {
  Task<bool> operate() override {
    co_await shield(receive());
    co_return got();
  }
};

INSTANTIATE_TEST_SUITE_P(
    Sync, CancelAtEveryMoment,
    ::testing::Values(
        cancel_row<ChannelRecv>("channel.hpp recv"),
        cancel_row<ReceiverRecv>("channel.hpp half recv"),
        cancel_row<RecvMany>("channel.hpp recv_many"), cancel_row<ChannelSend>("channel.hpp send"),
        cancel_row<SendOrReturn>("channel.hpp send_or_return"),
        cancel_row<SendMany>("channel.hpp send_many"),
        cancel_row<BroadcastRecv>("broadcast.hpp recv"),
        cancel_row<WatchChanged>("watch_value.hpp changed"),
        cancel_row<OneshotRecv>("oneshot.hpp recv"), cancel_row<FutureAwait>("future.hpp co_await"),
        cancel_row<Acquire>("sync.hpp acquire"), cancel_row<MutexLock>("sync.hpp lock"),
        cancel_row<RwLocked<false>>("rwlock.hpp read"),
        cancel_row<RwLocked<true>>("rwlock.hpp write"), cancel_row<Notified>("notify.hpp notified"),
        cancel_row<NotifyChanged>("notify.hpp changed"),
        cancel_row<Arrive>("barrier.hpp arrive_and_wait"),
        cancel_row<GetOrInit>("once_cell.hpp get_or_init"), cancel_row<Sleep>("flow.hpp sleep"),
        cancel_row<SleepThatEnds>("flow.hpp sleep that ends", /*waits=*/false),
        cancel_row<SleepUntil>("flow.hpp sleep_until"),
        cancel_row<Tick>("interval.hpp tick", /*waits=*/false),
        cancel_row<Yield>("flow.hpp yield_now", /*waits=*/false),
        cancel_row<Joined>("spawn.hpp co_await"), cancel_row<JoinAll>("executor.hpp join_all"),
        cancel_row<Scope>("executor.hpp scope"), cancel_row<All>("flow.hpp all"),
        cancel_row<Race>("flow.hpp race"), cancel_row<Any>("flow.hpp any"),
        cancel_row<Select>("select.hpp select"), cancel_row<Timeout>("timeout.hpp timeout"),
        cancel_row<TimeoutOfOperation>("timeout.hpp timeout of an operation"),
        cancel_row<Blocking>("runtime.hpp spawn_blocking", /*waits=*/false)),
    name_of_row);

TEST(Cancel, WhatIsShieldedGoesOnAndItsTaskEndsAfterwards) {
  run(
      []() -> Task<void> {
        Shield subject;
        TaskHandle<bool> handle = spawn(subject.operate());
        for (int i = 0; i < 10; ++i) co_await yield_now();
        handle.cancel();
        for (int i = 0; i < 10; ++i) co_await yield_now();
        EXPECT_FALSE(handle.done());
        co_await subject.complete();
        (void)co_await spawn([](TaskHandle<bool> ended) -> Task<bool> {
          co_return (co_await ended);
        }(std::move(handle)));
        EXPECT_EQ(subject.received, std::vector{1});
      }(),
      config_of(ExecutionModel::caller));
}

}  // namespace
}  // namespace zsync
