// ChannelState<T>: the shared half of a channel: buffer, waiting senders and receivers.
//
// Invariants, all under the lock: receivers wait only while the buffer is empty; senders wait only
// while it is full; so a message goes straight to a waiting receiver, and taking one lets the first
// waiting sender in.
#pragma once

#include <algorithm>
#include <atomic>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "zsync/rt/channel_operations.hpp"
#include "zsync/rt/context.hpp"
#include "zsync/rt/operation.hpp"
#include "zsync/rt/ring_buffer.hpp"
#include "zsync/rt/send_result.hpp"
#include "zsync/rt/spin_lock.hpp"

namespace zsync::rt {

template <typename T>
class ChannelState : public std::enable_shared_from_this<ChannelState<T>> {
 public:
  explicit ChannelState(size_t capacity) : capacity_(capacity) {}

  SendResult try_send(T& message) {
    Operation* receiver = nullptr;
    {
      SpinGuard guard(lock_);
      if (closed_) return SendResult::kClosed;
      if (!hand_over(message, receiver)) {
        if (buffer_.size() >= capacity_) return SendResult::kFull;
        buffer_.push_back(std::move(message));
      }
    }
    if (receiver) receiver->wake();
    return SendResult::kSent;
  }

  std::optional<T> try_recv() {
    std::optional<T> message;
    Operation* sender = nullptr;
    {
      SpinGuard guard(lock_);
      take(message, sender);
    }
    if (sender) sender->wake();
    return message;
  }

  // What is common, room or a message and nobody who waits, stands here; the rest apart, so that it
  // needs no registers saved.
  Start start_send(SendOperationBase<T>& operation) {
    lock_.lock();
    if (closed_ || !receivers_.empty() || buffer_.size() >= capacity_ || !operation.is_alone()) {
      return start_send_held(operation);
    }
    buffer_.push_back(std::move(*operation.message_));
    lock_.unlock();
    operation.message_.reset();
    return Start::kFinished;
  }

  Start start_recv(RecvOperationBase<T>& operation) {
    lock_.lock();
    if (buffer_.empty() || !senders_.empty() || !operation.is_alone()) {
      return start_recv_held(operation);
    }
    operation.message_.emplace(std::move(buffer_.front()));
    buffer_.pop_front();
    lock_.unlock();
    return Start::kFinished;
  }

  bool withdraw_send(Operation& operation) noexcept {
    SpinGuard guard(lock_);
    return senders_.remove(operation);
  }
  bool withdraw_recv(Operation& operation) noexcept {
    SpinGuard guard(lock_);
    return receivers_.remove(operation);
  }

  void close() {
    std::vector<Operation*> woken;
    {
      SpinGuard guard(lock_);
      closed_ = true;
      // A receiver that waits has seen an empty buffer, so it gets the end; a sender gets its
      // error.
      while (Operation* receiver = receivers_.pop_claimed()) woken.push_back(receiver);
      while (Operation* sender = senders_.pop_claimed()) {
        static_cast<SendOperationBase<T>*>(sender)->result_ = SendResult::kClosed;
        woken.push_back(sender);
      }
    }
    for (Operation* operation : woken) operation->wake();
  }

  bool closed() {
    SpinGuard guard(lock_);
    return closed_;
  }
  size_t size() {
    SpinGuard guard(lock_);
    return buffer_.size();
  }
  size_t capacity() const { return capacity_; }

  // One lock for many messages. How many were taken before the channel was full or closed.
  size_t try_send_many(std::span<T> messages) {
    std::vector<Operation*> receivers;
    size_t sent = 0;
    {
      SpinGuard guard(lock_);
      for (; !closed_ && sent < messages.size(); ++sent) {
        Operation* receiver = nullptr;
        if (!hand_over(messages[sent], receiver)) {
          if (buffer_.size() >= capacity_) break;
          buffer_.push_back(std::move(messages[sent]));
        }
        if (receiver) receivers.push_back(receiver);
      }
    }
    for (Operation* receiver : receivers) receiver->wake();
    return sent;
  }

  std::vector<T> try_recv_many(size_t max) {
    std::vector<T> messages;
    messages.reserve(std::min(max, size()));
    std::vector<Operation*> senders;
    {
      SpinGuard guard(lock_);
      const size_t buffered = std::min(max, buffer_.size());
      buffer_.pop_front_to(buffered, std::back_inserter(messages));
      // Whoever waits comes behind what was buffered, and is taken as well or buffered now.
      while (messages.size() < max || buffer_.size() < capacity_) {
        Operation* const sender = senders_.pop_claimed();
        if (!sender) break;
        senders.push_back(sender);
        std::optional<T>& message = static_cast<SendOperationBase<T>*>(sender)->message_;
        if (messages.size() < max) {
          messages.push_back(std::move(*message));
        } else {
          buffer_.push_back(std::move(*message));
        }
        message.reset();
      }
    }
    for (Operation* sender : senders) sender->wake();
    return messages;
  }

  // -- halves: the channel closes for one side when the last half of the other is gone
  std::atomic<size_t> sender_halves{0};
  std::atomic<size_t> receiver_halves{0};

 private:
  [[gnu::noinline]] Start start_send_held(SendOperationBase<T>& operation)
      ABSL_UNLOCK_FUNCTION(lock_) {
    Operation* receiver = nullptr;
    Start start = Start::kFinished;
    if (!closed_ && receivers_.empty() && buffer_.size() >= capacity_) {
      if (operation.enlist()) {
        senders_.push_back(operation);
        start = Start::kWaiting;
      }
    } else if (!operation.try_claim()) {
      start = Start::kWaiting;
    } else if (closed_) {
      operation.result_ = SendResult::kClosed;
    } else {
      if (!hand_over(*operation.message_, receiver)) {
        buffer_.push_back(std::move(*operation.message_));
      }
      operation.message_.reset();
    }
    lock_.unlock();
    if (receiver) receiver->wake();
    return start;
  }

  [[gnu::noinline]] Start start_recv_held(RecvOperationBase<T>& operation)
      ABSL_UNLOCK_FUNCTION(lock_) {
    Operation* sender = nullptr;
    Start start = Start::kFinished;
    if (buffer_.empty() && senders_.empty() && !closed_) {
      if (operation.enlist()) {
        receivers_.push_back(operation);
        start = Start::kWaiting;
      }
    } else if (!operation.try_claim()) {
      start = Start::kWaiting;
    } else {
      take(operation.message_, sender);
    }
    lock_.unlock();
    if (sender) sender->wake();
    return start;
  }

  // Gives the message to a waiting receiver. The buffer is empty whenever one waits.
  bool hand_over(T& message, Operation*& receiver) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    receiver = receivers_.pop_claimed();
    if (!receiver) return false;
    static_cast<RecvOperationBase<T>*>(receiver)->message_.emplace(std::move(message));
    return true;
  }

  // Takes the oldest message and lets the first waiting sender put its own in.
  void take(std::optional<T>& message, Operation*& sender) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    if (!buffer_.empty()) {
      message.emplace(std::move(buffer_.front()));
      buffer_.pop_front();
    }
    if (message && buffer_.size() >= capacity_) return;
    sender = senders_.pop_claimed();
    if (!sender) return;
    auto& send = *static_cast<SendOperationBase<T>*>(sender);
    if (message) {
      buffer_.push_back(std::move(*send.message_));
    } else {
      message.emplace(std::move(*send.message_));
    }
    send.message_.reset();
  }

  const size_t capacity_;
  SpinLock lock_;
  RingBuffer<T> buffer_ ABSL_GUARDED_BY(lock_);
  bool closed_ ABSL_GUARDED_BY(lock_) = false;
  WaitList senders_ ABSL_GUARDED_BY(lock_);
  WaitList receivers_ ABSL_GUARDED_BY(lock_);
};

}  // namespace zsync::rt
