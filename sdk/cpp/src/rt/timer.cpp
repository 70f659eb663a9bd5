#include "zsync/rt/timer.hpp"

#include <utility>

namespace zsync::rt {

Start TimerOperation::start() {
  Scheduler& scheduler = *context()->scheduler;
  if (deadline_ <= scheduler.now()) return try_claim() ? Start::kFinished : Start::kWaiting;
  queue_ = &scheduler.timers();
  LockGuard guard(queue_->lock_);
  if (!begin_wait()) return Start::kFinished;
  queue_->push(*this);
  return Start::kWaiting;
}

bool TimerOperation::withdraw() noexcept {
  if (!queue_) return false;
  LockGuard guard(queue_->lock_);
  if (position_ == kNotQueued) return false;
  queue_->erase(position_);
  return true;
}

size_t TimerQueue::fire(TimePoint now) {
  size_t fired = 0;
  while (true) {
    TimerOperation* due = nullptr;
    {
      LockGuard guard(lock_);
      if (heap_.empty() || heap_.front()->deadline_ > now) return fired;
      due = heap_.front();
      erase(0);
      if (!due->try_claim()) continue;
    }
    due->wake();
    ++fired;
  }
}

std::optional<TimePoint> TimerQueue::next_deadline() {
  LockGuard guard(lock_);
  if (heap_.empty()) return std::nullopt;
  return heap_.front()->deadline_;
}

void TimerQueue::push(TimerOperation& timer) {
  timer.order_ = next_order_++;
  heap_.push_back(&timer);
  timer.position_ = heap_.size() - 1;
  sift_up(timer.position_);
}

void TimerQueue::erase(size_t position) {
  TimerOperation* removed = heap_[position];
  TimerOperation* last = heap_.back();
  heap_.pop_back();
  removed->position_ = TimerOperation::kNotQueued;
  if (last == removed) return;
  place(position, last);
  sift_up(position);
  sift_down(last->position_);
}

void TimerQueue::place(size_t position, TimerOperation* timer) {
  heap_[position] = timer;
  timer->position_ = position;
}

namespace {

bool earlier(TimePoint a, uint64_t order_a, TimePoint b, uint64_t order_b) {
  return a != b ? a < b : order_a < order_b;
}

}  // namespace

void TimerQueue::sift_up(size_t position) {
  TimerOperation* timer = heap_[position];
  while (position > 0) {
    const size_t parent = (position - 1) / 2;
    TimerOperation* above = heap_[parent];
    if (!earlier(timer->deadline_, timer->order_, above->deadline_, above->order_)) break;
    place(position, above);
    position = parent;
  }
  place(position, timer);
}

void TimerQueue::sift_down(size_t position) {
  TimerOperation* timer = heap_[position];
  while (true) {
    size_t child = 2 * position + 1;
    if (child >= heap_.size()) break;
    auto before = [this](size_t a, size_t b) ABSL_NO_THREAD_SAFETY_ANALYSIS {
      return earlier(heap_[a]->deadline_, heap_[a]->order_, heap_[b]->deadline_, heap_[b]->order_);
    };
    if (child + 1 < heap_.size() && before(child + 1, child)) ++child;
    TimerOperation* below = heap_[child];
    if (!earlier(below->deadline_, below->order_, timer->deadline_, timer->order_)) break;
    place(position, below);
    position = child;
  }
  place(position, timer);
}

}  // namespace zsync::rt
