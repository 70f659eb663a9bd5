// StopToken: how code that does not await learns that it should stop.
#pragma once

#include <utility>

#include "zsync/rt/context.hpp"
#include "zsync/rt/scheduler.hpp"

namespace zsync {

// Threads:  every member may be called from any thread.
// Lifetime: keeps the record of its task alive, not its body.
class StopToken {
 public:
  // A token that never asks to stop.
  StopToken() = default;
  // The token of the task that runs on this thread; outside a task: one that never asks to stop.
  static StopToken current() {
    rt::TaskContext* const strand = rt::current_context();
    if (strand) (void)strand->cancelled_here();  // from now on a cancel of any strand above is seen
    return StopToken(strand);
  }

  // Whether the task was asked to stop; once true it stays true.
  bool stop_requested() const { return context_ && context_->cancel_requested(); }

  // The token of a strand; nullptr: one that never asks to stop.
  explicit StopToken(rt::TaskContext* context) : context_(context) {
    if (context_) context_->ref();
  }
  StopToken(const StopToken& other) : StopToken(other.context_) {}
  StopToken& operator=(StopToken other) noexcept {
    std::swap(context_, other.context_);
    return *this;
  }
  ~StopToken() {
    if (context_) context_->unref();
  }

 private:
  rt::TaskContext* context_ = nullptr;
};

}  // namespace zsync
