// Completion: a gRPC reaction that a coroutine waits for.
#pragma once

#include <functional>

#include "zsync/rt/context.hpp"
#include "zsync/rt/operation.hpp"

namespace zsync::daemon {

class CompletionWait;

// One reaction at a time: expect(), then gRPC calls complete(), then the waiter goes on.
// Threads: complete() from gRPC's, the rest from the task that owns the call.
class Completion {
 public:
  // `cancel_call` makes gRPC complete what is pending, soon and with ok = false.
  explicit Completion(std::function<void()> cancel_call) : cancel_call_(std::move(cancel_call)) {}

  void expect() {
    rt::LockGuard guard(lock_);
    done_ = false;
  }
  void complete(bool ok);
  // Waits for complete() whatever happens: gRPC owns the message until then. A cancel of the task
  // is passed on to the call. -> ok.
  [[nodiscard]] CompletionWait wait();

 private:
  friend class CompletionWait;
  const std::function<void()> cancel_call_;
  rt::Lock lock_;
  bool done_ ABSL_GUARDED_BY(lock_) = true;
  bool ok_ ABSL_GUARDED_BY(lock_) = false;
  rt::Operation* waiter_ ABSL_GUARDED_BY(lock_) = nullptr;
};

class CompletionWait final : public rt::Operation {
 public:
  explicit CompletionWait(Completion& completion) : completion_(&completion) {}

  bool await_ready() const noexcept { return false; }
  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> handle) {
    return suspend_uncancellable(*handle.promise().context, handle);
  }
  bool await_resume() const {
    rt::LockGuard guard(completion_->lock_);
    return completion_->ok_;
  }

  rt::Start start() final;
  bool withdraw() noexcept final;
  const char* wait_kind() const noexcept final { return "gRPC completion"; }

 private:
  Completion* completion_;
};

inline CompletionWait Completion::wait() { return CompletionWait(*this); }

}  // namespace zsync::daemon
