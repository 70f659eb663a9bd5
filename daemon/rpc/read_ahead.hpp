// ReadAhead: messages of a client's stream that come in while the call's task does something else.
#pragma once

#include <cstddef>
#include <functional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "daemon/rpc/completion.hpp"
#include "zsync/rt/lock.hpp"
#include "zsync/task.hpp"

namespace zsync::daemon {

// What one stream may have read and not taken; the client's sends wait beyond that.
inline constexpr size_t kReadAheadMessages = 16;
inline constexpr size_t kReadAheadBytes = 1 << 20;  // and one message more

// Threads: on_read() from gRPC's reaction, read() from the task that owns the call.
template <typename Request>
class ReadAhead {
 public:
  // `start_read` makes gRPC fill the message and call on_read().
  ReadAhead(std::function<void()> cancel_call, std::function<void(Request*)> start_read)
      : start_read_(std::move(start_read)), arrived_(std::move(cancel_call)) {}

  // `ok` is false when the stream has ended.
  void on_read(bool ok) {
    bool wake = false;
    {
      rt::LockGuard guard(lock_);
      reading_ = false;
      ended_ = !ok;
      if (ok) {
        bytes_ += incoming_.ByteSizeLong();
        ready_.push_back(std::move(incoming_));
      }
      wake = std::exchange(waiting_, false);
    }
    go_on();
    if (wake) arrived_.complete(ok);
  }

  // Waits for a message -> it and those that have come with it; empty at the end of the stream.
  // Cancel: of the call.
  Task<std::vector<Request>> read() {
    bool wait = false;
    {
      rt::LockGuard guard(lock_);
      wait = waiting_ = ready_.empty() && !ended_;
      if (wait) arrived_.expect();
    }
    go_on();
    if (wait) (void)co_await arrived_.wait();
    std::vector<Request> messages;
    {
      rt::LockGuard guard(lock_);
      messages.swap(ready_);
      bytes_ = 0;
    }
    go_on();
    co_return messages;
  }

 private:
  void go_on() {
    {
      rt::LockGuard guard(lock_);
      if (reading_ || ended_ || ready_.size() >= kReadAheadMessages || bytes_ >= kReadAheadBytes)
        return;
      reading_ = true;
    }
    start_read_(&incoming_);
  }

  const std::function<void(Request*)> start_read_;
  Completion arrived_;
  Request incoming_;  // gRPC's while it reads
  rt::Lock lock_;
  std::vector<Request> ready_ ABSL_GUARDED_BY(lock_);
  size_t bytes_ ABSL_GUARDED_BY(lock_) = 0;
  bool reading_ ABSL_GUARDED_BY(lock_) = false;
  bool waiting_ ABSL_GUARDED_BY(lock_) = false;
  bool ended_ ABSL_GUARDED_BY(lock_) = false;
};

}  // namespace zsync::daemon
