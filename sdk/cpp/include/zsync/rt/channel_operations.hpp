// A send and a receive of one message, as they stand in the waiting coroutine's frame.
#pragma once

#include <coroutine>
#include <memory>
#include <optional>
#include <utility>

#include "zsync/rt/context.hpp"
#include "zsync/rt/operation.hpp"
#include "zsync/rt/send_result.hpp"

namespace zsync::rt {

template <typename T>
class ChannelState;

// An operation's channel: borrowed from whoever started it, kept alive from when it is moved away
// or has to wait. An operation that neither waits nor is moved costs no reference.
template <typename T>
class ChannelRef {
 public:
  explicit ChannelRef(const std::shared_ptr<ChannelState<T>>& state) : state_(state.get()) {}
  ChannelRef(ChannelRef&& other) : state_(other.state_), kept_(std::move(other.kept_)) { keep(); }

  void keep() {
    if (!kept_) kept_ = state_->shared_from_this();
  }
  ChannelState<T>* operator->() const { return state_; }

 private:
  ChannelState<T>* state_;
  std::shared_ptr<ChannelState<T>> kept_;
};

template <typename T>
class SendOperationBase : public LeafOperation {
 public:
  SendOperationBase(const std::shared_ptr<ChannelState<T>>& state, T message)
      : state_(state), message_(std::move(message)) {}

  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> handle) {
    return suspend_with(strand_of(handle), handle, [this] { return state_->start_send(*this); });
  }
  Start start() final { return state_->start_send(*this); }
  bool withdraw() noexcept final { return state_->withdraw_send(*this); }
  const char* wait_kind() const noexcept final { return "channel send"; }

  bool enlist() {
    state_.keep();
    return begin_wait();
  }

 protected:
  SendResult result() const { return cancelled() ? SendResult::kCancelled : result_; }

  friend class ChannelState<T>;
  ChannelRef<T> state_;
  std::optional<T> message_;
  SendResult result_ = SendResult::kSent;
};

template <typename T>
class RecvOperationBase : public LeafOperation {
 public:
  explicit RecvOperationBase(const std::shared_ptr<ChannelState<T>>& state) : state_(state) {}

  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> handle) {
    return suspend_with(strand_of(handle), handle, [this] { return state_->start_recv(*this); });
  }
  Start start() final { return state_->start_recv(*this); }
  bool withdraw() noexcept final { return state_->withdraw_recv(*this); }
  const char* wait_kind() const noexcept final { return "channel recv"; }

  bool enlist() {
    state_.keep();
    return begin_wait();
  }

 protected:
  friend class ChannelState<T>;
  ChannelRef<T> state_;
  std::optional<T> message_;
};

}  // namespace zsync::rt
