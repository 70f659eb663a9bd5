// Notify: wakes tasks that wait for something to have changed.
//
//   uint64_t seen = notify.epoch();          // before looking
//   while (!condition()) { co_await notify.changed(seen); seen = notify.epoch(); }
//
// Looking after taking the epoch makes a change between looking and waiting impossible to miss.
#pragma once

#include <cstdint>

#include "zsync/rt/operation.hpp"
#include "zsync/task.hpp"

namespace zsync {

class Notify;

// What changed() and notified() give: co_await it, or hand it to select() or timeout().
class NotifiedOperation final : public rt::LeafOperation {
 public:
  // Use Notify::changed() and notified().
  NotifiedOperation(Notify& notify, uint64_t seen, bool takes_kept)
      : notify_(&notify), seen_(seen), takes_kept_(takes_kept) {}
  rt::Start start() final;
  bool withdraw() noexcept final;
  const char* wait_kind() const noexcept final { return "notification"; }
  void await_resume() const {
    if (cancelled()) throw Cancelled();
  }

 private:
  friend class Notify;
  Notify* notify_;
  uint64_t seen_;
  bool takes_kept_;
};

// Lifetime: outlives its waiters.
// Threads:  every member may be called from any thread.
class Notify {
 public:
  Notify() = default;
  Notify(const Notify&) = delete;
  Notify& operator=(const Notify&) = delete;

  // How often notify_all() was called.
  uint64_t epoch();
  // Completes when the epoch is not `seen` any more. Cancel: throws Cancelled.
  [[nodiscard]] NotifiedOperation changed(uint64_t seen) { return {*this, seen, false}; }
  // Completes at the next notify_one() or notify_all() after this call; at once where a
  // notify_one() was kept. Cancel: throws Cancelled; no notify_one() is lost.
  [[nodiscard]] NotifiedOperation notified() { return {*this, epoch(), true}; }

  // Wakes the task that has waited longest; the epoch stays. Where nobody waits it is kept for the
  // next notified(); several are kept as one.
  void notify_one();
  // Begins a new epoch and wakes everybody.
  void notify_all();

 private:
  friend class NotifiedOperation;
  rt::Lock lock_;
  uint64_t epoch_ ABSL_GUARDED_BY(lock_) = 0;
  bool kept_ ABSL_GUARDED_BY(lock_) = false;  // a notify_one() that found nobody
  rt::WaitList waiting_ ABSL_GUARDED_BY(lock_);
};

}  // namespace zsync
