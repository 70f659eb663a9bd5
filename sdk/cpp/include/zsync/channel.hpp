// Channel<T>: many senders, many receivers, messages in send order.
//
// Backpressure is the point: a full channel makes the sender wait; nothing is dropped.
#pragma once

#include <limits>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "zsync/assert.hpp"
#include "zsync/rt/channel_state.hpp"
#include "zsync/rt/scheduler.hpp"
#include "zsync/task.hpp"

namespace zsync {

template <typename T>
class Sender;
template <typename T>
class Receiver;

// What send() gives: co_await it for the Status, or hand it to select() or timeout().
template <typename T>
class SendOperation final : public rt::SendOperationBase<T> {
 public:
  using rt::SendOperationBase<T>::SendOperationBase;
  absl::Status await_resume() { return rt::to_status(this->result()); }
};

// A message that was not sent comes back with the reason.
template <typename T>
struct Returned {
  absl::Status status;       // why it came back; ok when it was sent
  std::optional<T> message;  // set unless status is ok
};

// What send_or_return() gives: co_await it for a Returned<T>.
template <typename T>
class SendOrReturnOperation final : public rt::SendOperationBase<T> {
 public:
  using rt::SendOperationBase<T>::SendOperationBase;
  Returned<T> await_resume() { return {rt::to_status(this->result()), std::move(this->message_)}; }
};

// What recv() gives: co_await it for the message, or hand it to select() or timeout().
template <typename T>
class RecvOperation final : public rt::RecvOperationBase<T> {
 public:
  using rt::RecvOperationBase<T>::RecvOperationBase;
  std::optional<T> await_resume() {
    if (this->cancelled()) throw Cancelled();
    return std::move(this->message_);
  }
};

namespace rt {

// By value, so that it outlives the half or the channel that it was called on.
template <typename T>
Task<absl::Status> send_in_batches(std::shared_ptr<ChannelState<T>> state,
                                   std::vector<T>& messages) {
  if (current_context()->cancelled_here()) co_return absl::CancelledError();
  size_t sent = 0;
  absl::Status status;
  while (true) {
    sent += state->try_send_many(std::span<T>(messages).subspan(sent));
    if (sent == messages.size()) break;
    Returned<T> next = co_await SendOrReturnOperation<T>(state, std::move(messages[sent]));
    if (!next.status.ok()) {
      messages[sent] = std::move(*next.message);
      status = std::move(next.status);
      break;
    }
    ++sent;
  }
  messages.erase(messages.begin(), messages.begin() + static_cast<ptrdiff_t>(sent));
  co_return status;
}

template <typename T>
Task<std::vector<T>> recv_batch(std::shared_ptr<ChannelState<T>> state, size_t max) {
  if (current_context()->cancelled_here()) throw Cancelled();
  std::vector<T> messages = state->try_recv_many(max);
  if (!messages.empty() || max == 0) co_return messages;
  std::optional<T> first = co_await RecvOperation<T>(state);
  if (!first) co_return messages;
  messages = state->try_recv_many(max - 1);
  messages.insert(messages.begin(), std::move(*first));
  co_return messages;
}

}  // namespace rt

// Lifetime: copies share one channel; it lives until the last copy and the last pending operation
//           are gone.
// Threads:  every member may be called from any thread, on or off the runtime.
// Cost:     no allocation per waiter (the waiter lives in the coroutine frame).
// Statuses that a loop expects carry the code only.
template <typename T>
class Channel {
 public:
  // Use bounded() or unbounded().
  explicit Channel(std::shared_ptr<rt::ChannelState<T>> state) : state_(std::move(state)) {}

  // Completes once the message is buffered, which is not the same as received.
  //
  // Errors: kUnavailable when the channel was closed before a slot was free; the message is
  // destroyed
  //         (send_or_return gives it back).
  // Cancel: kCancelled; safe before completion, and then the message was not sent.
  [[nodiscard]] SendOperation<T> send(T message) { return {state_, std::move(message)}; }
  // send() that gives the message back when it was not sent. Errors and Cancel: as send().
  [[nodiscard]] SendOrReturnOperation<T> send_or_return(T message) {
    return {state_, std::move(message)};
  }

  // Completes with the oldest message, or with nullopt once the channel is closed and drained.
  //
  // Cancel: throws Cancelled; no message is lost.
  [[nodiscard]] RecvOperation<T> recv() { return RecvOperation<T>(state_); }

  // Never waits. Errors: kResourceExhausted when full, kUnavailable when closed.
  absl::Status try_send(T message) { return rt::to_status(state_->try_send(message)); }
  // Never waits. nullopt: nothing is there (ask is_closed() whether anything will come).
  std::optional<T> try_recv() { return state_->try_recv(); }

  // send() on a plain thread. Errors: kUnavailable when closed.
  absl::Status send_blocking(T message) {
    rt::assert_may_block("send_blocking() on a worker blocks every task of it: co_await send()");
    SendOperation<T> operation(state_, std::move(message));
    rt::block_on_operation(operation);
    return operation.await_resume();
  }
  // recv() on a plain thread.
  std::optional<T> recv_blocking() {
    rt::assert_may_block("recv_blocking() on a worker blocks every task of it: co_await recv()");
    RecvOperation<T> operation(state_);
    rt::block_on_operation(operation);
    return operation.await_resume();
  }

  // Sends all messages in order, many under one lock.
  //
  // Errors: kUnavailable when the channel was closed meanwhile. Cancel: kCancelled. `messages` then
  // holds those that were not sent.
  Task<absl::Status> send_many(std::vector<T>& messages) {
    return rt::send_in_batches(state_, messages);
  }

  // Waits for one message, then takes what else is there, at most `max`; empty once closed and
  // drained. Cancel: as recv().
  Task<std::vector<T>> recv_many(size_t max) { return rt::recv_batch(state_, max); }

  // Later sends fail, waiting senders get kUnavailable, receivers drain what is buffered.
  void close() { state_->close(); }
  // Whether close() was called, or the last half of one side is gone; messages may still be there.
  bool is_closed() const { return state_->closed(); }
  // Buffered messages.
  size_t size() const { return state_->size(); }
  // Messages that fit.
  size_t capacity() const { return state_->capacity(); }

  // Halves: when the last sender half is gone the channel closes for the receivers, when the last
  // receiver half is gone it closes for the senders.
  Sender<T> sender() { return Sender<T>(state_); }
  // A half for receivers.
  Receiver<T> receiver() { return Receiver<T>(state_); }

 private:
  std::shared_ptr<rt::ChannelState<T>> state_;
};

// One side's share of a channel; copies count.
template <typename T>
class Sender {
 public:
  // Use Channel::sender().
  explicit Sender(std::shared_ptr<rt::ChannelState<T>> state) : state_(std::move(state)) {
    state_->sender_halves.fetch_add(1);
  }
  Sender(const Sender& other) : Sender(other.state_) {}
  Sender(Sender&& other) noexcept = default;
  Sender& operator=(Sender other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~Sender() {
    if (state_ && state_->sender_halves.fetch_sub(1) == 1) state_->close();
  }

  // As the members of Channel<T>.
  [[nodiscard]] SendOperation<T> send(T message) { return {state_, std::move(message)}; }
  // send() that gives the message back when it was not sent.
  [[nodiscard]] SendOrReturnOperation<T> send_or_return(T message) {
    return {state_, std::move(message)};
  }
  // Sends all messages in order; `messages` then holds those that were not sent.
  Task<absl::Status> send_many(std::vector<T>& messages) {
    return rt::send_in_batches(state_, messages);
  }
  // Never waits. Errors: kResourceExhausted when full, kUnavailable when closed.
  absl::Status try_send(T message) { return rt::to_status(state_->try_send(message)); }
  // send() on a plain thread.
  absl::Status send_blocking(T message) {
    return Channel<T>(state_).send_blocking(std::move(message));
  }

 private:
  std::shared_ptr<rt::ChannelState<T>> state_;
};

// The receiving share of a channel; copies count.
template <typename T>
class Receiver {
 public:
  // Use Channel::receiver().
  explicit Receiver(std::shared_ptr<rt::ChannelState<T>> state) : state_(std::move(state)) {
    state_->receiver_halves.fetch_add(1);
  }
  Receiver(const Receiver& other) : Receiver(other.state_) {}
  Receiver(Receiver&& other) noexcept = default;
  Receiver& operator=(Receiver other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~Receiver() {
    if (state_ && state_->receiver_halves.fetch_sub(1) == 1) state_->close();
  }

  // As Channel::recv().
  [[nodiscard]] RecvOperation<T> recv() { return RecvOperation<T>(state_); }
  // As Channel::recv_many().
  Task<std::vector<T>> recv_many(size_t max) { return rt::recv_batch(state_, max); }
  // Never waits; nullopt: nothing is there.
  std::optional<T> try_recv() { return state_->try_recv(); }
  // recv() on a plain thread.
  std::optional<T> recv_blocking() { return Channel<T>(state_).recv_blocking(); }

 private:
  std::shared_ptr<rt::ChannelState<T>> state_;
};

// A channel that holds `capacity` messages, at least one.
template <typename T>
Channel<T> bounded(size_t capacity) {
  ZS_ASSERT(capacity > 0, "bounded<T>(0): a channel holds at least one message; use bounded<T>(1)");
  return Channel<T>(std::make_shared<rt::ChannelState<T>>(capacity));
}

// A channel without a limit: a sender never waits. Its memory is the caller's business.
template <typename T>
Channel<T> unbounded() {
  return Channel<T>(std::make_shared<rt::ChannelState<T>>(std::numeric_limits<size_t>::max()));
}

}  // namespace zsync
