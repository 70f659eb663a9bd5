// WriteFeed: messages of a stream that are written by whoever has them, in its own thread.
#pragma once

#include <functional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "daemon/rpc/completion.hpp"
#include "zsync/rt/lock.hpp"
#include "zsync/task.hpp"

namespace zsync::daemon {

// The counterpart of StreamReader::listen(): no task has to wake up for a message to go out.
//
// Lifetime: of the call until finish() completes, and then of whoever may still poke it.
// Threads:  poke() from any, on_written() from gRPC's reaction, finish() from the call's task.
template <typename Reply>
class WriteFeed {
 public:
  // `next` fills the message in, or returns false where there is nothing to say; it is called by
  // one thread at a time. `start_write` makes gRPC write it and call on_written().
  WriteFeed(std::function<void()> cancel_call, std::function<void(const Reply*)> start_write,
            std::function<bool(Reply&)> next)
      : cancel_call_(cancel_call),
        start_write_(std::move(start_write)),
        next_(std::move(next)),
        idle_(std::move(cancel_call)) {}

  // There may be something new: looks, and writes it, unless a message is on its way; then the
  // thread that hears of its end does so.
  void poke() {
    {
      rt::LockGuard guard(lock_);
      if (ended_) return;
      again_ = true;
      if (std::exchange(busy_, true)) return;
    }
    go_on();
  }

  // A write that failed is the end of the call.
  void on_written(bool ok) {
    if (!ok) {
      {
        rt::LockGuard guard(lock_);
        ended_ = true;
      }
      cancel_call_();
    }
    go_on();
  }

  // Writes what is left; completes when nothing is on its way. The call is not touched any more.
  // Cancel: of the call.
  Task<void> finish() {
    idle_.expect();
    bool wait = false;
    {
      rt::LockGuard guard(lock_);
      finishing_ = true;
      wait = busy_ || !ended_;
    }
    poke();
    if (wait) (void)co_await idle_.wait();
  }

 private:
  // By the thread that has made the feed busy.
  void go_on() {
    while (true) {
      {
        rt::LockGuard guard(lock_);
        if (ended_ || !std::exchange(again_, false)) {
          busy_ = false;
          if (!finishing_) return;
          ended_ = true;
          break;
        }
      }
      if (!next_(message_)) continue;
      {
        rt::LockGuard guard(lock_);
        again_ = true;  // after this one
      }
      return start_write_(&message_);
    }
    idle_.complete(true);
  }

  const std::function<void()> cancel_call_;
  const std::function<void(const Reply*)> start_write_;
  const std::function<bool(Reply&)> next_;
  Completion idle_;
  Reply message_;  // gRPC's while it writes
  rt::Lock lock_;
  bool busy_ ABSL_GUARDED_BY(lock_) = false;   // somebody looks, or gRPC writes
  bool again_ ABSL_GUARDED_BY(lock_) = false;  // look before busy_ ends
  bool finishing_ ABSL_GUARDED_BY(lock_) = false;
  bool ended_ ABSL_GUARDED_BY(lock_) = false;
};

}  // namespace zsync::daemon
