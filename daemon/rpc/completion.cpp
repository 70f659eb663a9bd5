#include "daemon/rpc/completion.hpp"

#include <utility>

namespace zsync::daemon {

void Completion::complete(bool ok) {
  rt::Operation* waiter = nullptr;
  {
    rt::LockGuard guard(lock_);
    done_ = true;
    ok_ = ok;
    waiter = std::exchange(waiter_, nullptr);
  }
  if (waiter) waiter->wake();
}

rt::Start CompletionWait::start() {
  // Published first, so that a cancel from now on reaches withdraw().
  if (!context()->publish(*this)) {
    completion_->cancel_call_();
    context()->show(*this);
  }
  {
    rt::LockGuard guard(completion_->lock_);
    if (!completion_->done_) {
      completion_->waiter_ = this;
      return rt::Start::kWaiting;
    }
  }
  context()->retract();
  return rt::Start::kFinished;
}

bool CompletionWait::withdraw() noexcept {
  completion_->cancel_call_();
  return false;
}

}  // namespace zsync::daemon
