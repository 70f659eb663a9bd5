// RwLock: many tasks that read, or one that writes.
//
//   zsync::Permit reading = co_await lock.read();
#pragma once

#include <cstddef>
#include <optional>

#include "zsync/sync.hpp"

namespace zsync {

// Served in the order of asking: a reader that comes after a waiting writer waits behind it, so
// neither side starves. A task that reads must not ask again while it holds its permit: a writer
// between the two asks would wait for it for ever.
//
// Lifetime: outlives its permits and its waiters.
// Threads:  every member may be called from any thread.
class RwLock {
 public:
  // So many may read at once; more wait.
  static constexpr size_t kReadersMax = size_t{1} << 20;

  // Completes with the permit to read, held until the end of its life. Unlike a thread's lock it
  // may be held across co_await. Cancel: throws Cancelled; nothing is held then.
  [[nodiscard]] AcquireOperation read() { return permits_.acquire(); }
  // Completes with the permit to write, once nobody else holds one. Cancel: as read().
  [[nodiscard]] AcquireOperation write() { return permits_.acquire(kReadersMax); }

  // Never waits; nullopt: somebody writes, or waits.
  std::optional<Permit> try_read() { return permits_.try_acquire(); }
  // Never waits; nullopt: somebody reads, writes, or waits.
  std::optional<Permit> try_write() { return permits_.try_acquire(kReadersMax); }

 private:
  Semaphore permits_{kReadersMax};
};

}  // namespace zsync
