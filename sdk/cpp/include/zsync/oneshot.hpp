// oneshot<T>(): one message, once, between two halves.
//
//   auto [reply, answer] = zsync::oneshot<int>();
//   co_await requests.send({question, std::move(reply)});
//   std::optional<int> n = co_await answer.recv();
#pragma once

#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "zsync/assert.hpp"
#include "zsync/rt/operation.hpp"
#include "zsync/task.hpp"

namespace zsync {

namespace rt {

// The shared half. Invariant, under the lock: the receiver waits only while there is no message and
// the sender is there.
template <typename T>
class OneshotState {
 public:
  bool send(T message) {
    Operation* receiver = nullptr;
    {
      LockGuard guard(lock_);
      sender_gone_ = true;
      if (receiver_gone_) return false;
      message_.emplace(std::move(message));
      receiver = waiting_.pop_claimed();
    }
    if (receiver) receiver->wake();
    return true;
  }

  void close_sender() {
    Operation* receiver = nullptr;
    {
      LockGuard guard(lock_);
      sender_gone_ = true;
      receiver = waiting_.pop_claimed();
    }
    if (receiver) receiver->wake();
  }
  void close_receiver() {
    std::optional<T> unread;  // destroyed outside the lock
    LockGuard guard(lock_);
    receiver_gone_ = true;
    unread.swap(message_);
  }
  bool receiver_gone() {
    LockGuard guard(lock_);
    return receiver_gone_;
  }

  template <typename Op>
  Start start_recv(Op& operation) {
    LockGuard guard(lock_);
    if (sender_gone_) return operation.try_claim() ? Start::kFinished : Start::kWaiting;
    ZS_ASSERT(waiting_.empty(), "two tasks wait in OneshotReceiver::recv(): it has one consumer");
    if (!operation.enlist()) return Start::kFinished;
    waiting_.push_back(operation);
    return Start::kWaiting;
  }
  bool withdraw(Operation& operation) noexcept {
    LockGuard guard(lock_);
    return waiting_.remove(operation);
  }
  std::optional<T> take() {
    LockGuard guard(lock_);
    return std::exchange(message_, std::nullopt);
  }

 private:
  Lock lock_;
  bool sender_gone_ ABSL_GUARDED_BY(lock_) = false;  // or it has sent
  bool receiver_gone_ ABSL_GUARDED_BY(lock_) = false;
  std::optional<T> message_ ABSL_GUARDED_BY(lock_);
  WaitList waiting_ ABSL_GUARDED_BY(lock_);
};

}  // namespace rt

// What OneshotReceiver::recv() gives: co_await it, or hand it to select() or timeout().
template <typename T>
class OneshotOperation final : public rt::LeafOperation {
 public:
  // Use OneshotReceiver::recv().
  explicit OneshotOperation(std::shared_ptr<rt::OneshotState<T>> state)
      : state_(std::move(state)) {}
  rt::Start start() final { return state_->start_recv(*this); }
  bool withdraw() noexcept final { return state_->withdraw(*this); }
  const char* wait_kind() const noexcept final { return "oneshot recv"; }
  std::optional<T> await_resume() {
    if (cancelled()) throw Cancelled();
    return state_->take();
  }

 private:
  friend class rt::OneshotState<T>;
  bool enlist() { return begin_wait(); }
  std::shared_ptr<rt::OneshotState<T>> state_;
};

// The half that sends; destroyed without having sent it gives the receiver nullopt.
//
// Threads:  one thread at a time; that thread may change. The other half may be on another one.
template <typename T>
class OneshotSender {
 public:
  // Use oneshot().
  explicit OneshotSender(std::shared_ptr<rt::OneshotState<T>> state) : state_(std::move(state)) {}
  OneshotSender(OneshotSender&& other) noexcept = default;
  OneshotSender& operator=(OneshotSender other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~OneshotSender() {
    if (state_) state_->close_sender();
  }

  // Never waits. Called once. Errors: kUnavailable when the receiver is gone.
  absl::Status send(T message) {
    ZS_ASSERT(state_, "OneshotSender::send() was called before, or it was moved: it sends once");
    const std::shared_ptr<rt::OneshotState<T>> state = std::move(state_);
    return state->send(std::move(message)) ? absl::OkStatus() : absl::UnavailableError("");
  }
  // Whether the receiver is gone, so that nobody wants the message.
  bool is_closed() const { return state_ && state_->receiver_gone(); }

 private:
  std::shared_ptr<rt::OneshotState<T>> state_;
};

// The half that receives.
//
// Threads:  one thread at a time; that thread may change. The other half may be on another one.
template <typename T>
class OneshotReceiver {
 public:
  // Use oneshot().
  explicit OneshotReceiver(std::shared_ptr<rt::OneshotState<T>> state) : state_(std::move(state)) {}
  OneshotReceiver(OneshotReceiver&& other) noexcept = default;
  OneshotReceiver& operator=(OneshotReceiver other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~OneshotReceiver() {
    if (state_) state_->close_receiver();
  }

  // Completes with the message, or with nullopt when the sender is gone or the message was received
  // before. Cancel: throws Cancelled; the message is not lost.
  [[nodiscard]] OneshotOperation<T> recv() { return OneshotOperation<T>(state()); }
  // Never waits; nullopt: nothing is there.
  std::optional<T> try_recv() { return state()->take(); }
  // recv() on a plain thread.
  std::optional<T> recv_blocking() {
    rt::assert_may_block("recv_blocking() on a worker blocks every task of it: co_await recv()");
    OneshotOperation<T> operation(state());
    rt::block_on_operation(operation);
    return operation.await_resume();
  }

 private:
  const std::shared_ptr<rt::OneshotState<T>>& state() {
    ZS_ASSERT(state_, "this OneshotReceiver was moved");
    return state_;
  }
  std::shared_ptr<rt::OneshotState<T>> state_;
};

// The two halves. Cost: one allocation.
template <typename T>
std::pair<OneshotSender<T>, OneshotReceiver<T>> oneshot() {
  auto state = std::make_shared<rt::OneshotState<T>>();
  return {OneshotSender<T>(state), OneshotReceiver<T>(state)};
}

}  // namespace zsync
