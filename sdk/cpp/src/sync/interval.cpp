#include "zsync/interval.hpp"

namespace zsync {

void TickOperation::prepare(rt::Scheduler& scheduler) {
  if (!interval_->next_) {
    interval_->next_ = rt::deadline_after(scheduler.now(), interval_->period_);
  }
  set_deadline(*interval_->next_);
}

uint64_t TickOperation::await_resume() {
  if (cancelled()) throw Cancelled();
  const rt::Duration late = context()->scheduler->now() - *interval_->next_;
  const auto passed = late / interval_->period_ + 1;
  *interval_->next_ += passed * interval_->period_;
  return static_cast<uint64_t>(passed);
}

}  // namespace zsync
