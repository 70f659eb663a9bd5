#include "zsync/rt/timer.hpp"

#include <array>
#include <bit>
#include <utility>

namespace zsync::rt {
namespace {

// What waking and resuming a strand will touch. Of a million that are due at once nothing is in the
// cache; the others of a round are looked at meanwhile.
void fetch_early(const TaskContext* strand) {
  constexpr size_t kLineBytes = 64;
  constexpr size_t kLines = 3;  // the strand, and where its frame begins
  if (!strand) return;          // a plain thread waits
  for (size_t line = 0; line < kLines; ++line) {
    __builtin_prefetch(reinterpret_cast<const char*>(strand) + line * kLineBytes, /*rw*/ 1);
  }
}

}  // namespace

Start TimerOperation::start() {
  Scheduler& scheduler = *context()->scheduler;
  queue_ = &scheduler.timers();
  TimePoint now = queue_->told_;
  if (deadline_ < now + TimerQueue::kFarAhead) now = scheduler.now();
  if (deadline_ <= now) {
    queue_ = nullptr;
    return try_claim() ? Start::kFinished : Start::kWaiting;
  }
  SpinGuard guard(queue_->lock_);
  if (!begin_wait()) return Start::kFinished;
  queue_->push(*this, now);
  return Start::kWaiting;
}

bool TimerOperation::withdraw() noexcept {
  if (!queue_) return false;
  SpinGuard guard(queue_->lock_);
  if (!list_ && position_ == kNotInHeap) return false;
  queue_->erase(*this);
  return true;
}

TimerQueue::TimerQueue() : slots_(std::make_unique<Slot[]>(kLevels * kSlots)) {}

TimerQueue::Tick TimerQueue::tick_of(TimePoint time) {
  return static_cast<Tick>(time.time_since_epoch().count()) >> kTickBits;
}

bool TimerQueue::earlier(const TimerOperation& a, const TimerOperation& b) {
  return a.deadline_ != b.deadline_ ? a.deadline_ < b.deadline_ : a.order_ < b.order_;
}

size_t TimerQueue::fire(TimePoint now, size_t max) {
  told_ = now;
  std::array<TimerOperation*, kWokenAtOnce> woken;
  size_t fired = 0;
  while (fired < max) {
    size_t count = 0;
    {
      SpinGuard guard(lock_);
      while (count < std::min(woken.size(), max - fired)) {
        TimerOperation* const due = first();
        if (!due || due->deadline_ > now) {
          if (!open_slot(now)) break;
          continue;
        }
        erase(*due);
        fetch_early(due->context());
        if (due->try_claim()) woken[count++] = due;
      }
    }
    if (count == 0) break;
    for (size_t i = 0; i < count; ++i) woken[i]->wake();
    fired += count;
  }
  return fired;
}

std::optional<TimePoint> TimerQueue::next_wake() {
  SpinGuard guard(lock_);
  if (const TimerOperation* timer = first()) return timer->deadline_;
  const std::optional<NextSlot> next = next_slot();
  if (!next) return std::nullopt;
  return slots_[next->level * kSlots + next->slot].earliest;
}

std::optional<TimePoint> TimerQueue::next_deadline() {
  SpinGuard guard(lock_);
  if (const TimerOperation* timer = first()) return timer->deadline_;
  const std::optional<NextSlot> next = next_slot();
  if (!next) return std::nullopt;
  Slot& slot = slots_[next->level * kSlots + next->slot];
  slot.earliest = TimePoint::max();
  for (Operation* timer = slot.timers.front(); timer; timer = slot.timers.after(*timer)) {
    slot.earliest = std::min(slot.earliest, static_cast<TimerOperation*>(timer)->deadline_);
  }
  return slot.earliest;
}

TimerOperation* TimerQueue::first() const {
  auto* best = firing_ ? static_cast<TimerOperation*>(firing_->timers.front()) : nullptr;
  auto* const in_order = static_cast<TimerOperation*>(due_.front());
  if (in_order && (!best || earlier(*in_order, *best))) best = in_order;
  if (!heap_.empty() && (!best || earlier(*heap_.front(), *best))) best = heap_.front();
  return best;
}

void TimerQueue::push(TimerOperation& timer, TimePoint now) {
  if (count_++ == 0) now_ = std::max(now_, tick_of(now));
  timer.order_ = next_order_++;
  put(timer);
}

void TimerQueue::put(TimerOperation& timer) {
  const Tick tick = tick_of(timer.deadline_);
  if (tick <= now_) return make_due(timer);
  // The level is that of the highest digit in which the deadline differs from now.
  const int level = (std::bit_width(tick ^ now_) - 1) / kSlotBits;
  const int slot = static_cast<int>(tick >> (level * kSlotBits)) & (kSlots - 1);
  Slot& chosen = slots_[level * kSlots + slot];
  if (&chosen == firing_) empty_firing();
  if (chosen.timers.empty()) chosen = Slot{};
  chosen.in_order = chosen.in_order && chosen.latest <= timer.deadline_;
  chosen.earliest = std::min(chosen.earliest, timer.deadline_);
  chosen.latest = std::max(chosen.latest, timer.deadline_);
  chosen.timers.push_back(timer);
  timer.list_ = &chosen.timers;
  occupied_[level] |= uint64_t{1} << slot;
}

void TimerQueue::make_due(TimerOperation& timer) {
  auto* const last = static_cast<TimerOperation*>(due_.back());
  if (last && earlier(timer, *last)) return heap_push(timer);
  due_.push_back(timer);
  timer.list_ = &due_;
}

void TimerQueue::empty_firing() {
  WaitList left = std::exchange(std::exchange(firing_, nullptr)->timers, {});
  while (Operation* timer = left.pop_front()) make_due(*static_cast<TimerOperation*>(timer));
}

void TimerQueue::erase(TimerOperation& timer) {
  --count_;
  if (timer.position_ != TimerOperation::kNotInHeap) return heap_erase(timer.position_);
  WaitList* const list = std::exchange(timer.list_, nullptr);
  list->remove(timer);
  if (list == &due_ || !list->empty()) return;
  if (firing_ && list == &firing_->timers) {
    firing_ = nullptr;
    return;
  }
  const auto index = reinterpret_cast<Slot*>(list) - slots_.get();
  occupied_[index / kSlots] &= ~(uint64_t{1} << (index % kSlots));
}

std::optional<TimerQueue::NextSlot> TimerQueue::next_slot() const {
  for (int level = 0; level < kLevels; ++level) {
    if (!occupied_[level]) continue;
    // All of a level are in the same turn of it as now, and after now.
    const int slot = std::countr_zero(occupied_[level]);
    const int shift = level * kSlotBits;
    const int above = shift + kSlotBits;
    const Tick turn = above < 64 ? now_ >> above << above : 0;
    return NextSlot{level, slot, turn | static_cast<Tick>(slot) << shift};
  }
  return std::nullopt;
}

bool TimerQueue::open_slot(TimePoint now) {
  const std::optional<NextSlot> next = next_slot();
  const Tick until = tick_of(now);
  if (!next || next->start > until) {
    now_ = std::max(now_, until);
    return false;
  }
  now_ = next->start;
  occupied_[next->level] &= ~(uint64_t{1} << next->slot);
  Slot& slot = slots_[next->level * kSlots + next->slot];
  // What is due and in order already need not go through the lower levels.
  if (slot.in_order && slot.latest <= now) {
    const std::optional<NextSlot> after = next_slot();
    now_ = after && after->start <= until ? after->start - 1 : until;
    if (!firing_) {
      firing_ = &slot;
      return true;
    }
  }
  WaitList timers = std::exchange(slot.timers, {});
  while (Operation* timer = timers.pop_front()) put(*static_cast<TimerOperation*>(timer));
  return true;
}

void TimerQueue::heap_push(TimerOperation& timer) {
  heap_.push_back(&timer);
  timer.list_ = nullptr;
  timer.position_ = heap_.size() - 1;
  sift_up(timer.position_);
}

void TimerQueue::heap_erase(size_t position) {
  TimerOperation* removed = heap_[position];
  TimerOperation* last = heap_.back();
  heap_.pop_back();
  removed->position_ = TimerOperation::kNotInHeap;
  if (last == removed) return;
  place(position, last);
  sift_up(position);
  sift_down(last->position_);
}

void TimerQueue::place(size_t position, TimerOperation* timer) {
  heap_[position] = timer;
  timer->position_ = position;
}

void TimerQueue::sift_up(size_t position) {
  TimerOperation* timer = heap_[position];
  while (position > 0) {
    const size_t parent = (position - 1) / 2;
    TimerOperation* above = heap_[parent];
    if (!earlier(*timer, *above)) break;
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
    if (child + 1 < heap_.size() && earlier(*heap_[child + 1], *heap_[child])) ++child;
    TimerOperation* below = heap_[child];
    if (!earlier(*below, *timer)) break;
    place(position, below);
    position = child;
  }
  place(position, timer);
}

}  // namespace zsync::rt
