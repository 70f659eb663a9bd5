// How an end of a ring waits: it looks for a while, then it sleeps until its bell is rung.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>

namespace zsync::ring {

// Looks at the other end for so long before it sleeps: about two wake-ups of a sleeping core, so
// that an answer that comes at once is not paid for with one. With one CPU it sleeps at once.
inline constexpr std::chrono::microseconds kSpin{50};

// An eventfd; the descriptors belong to somebody else.
//
// Threads: ring() any; wait() one.
class Bell {
 public:
  enum class Why {
    kReady,    // the condition holds
    kControl,  // the control socket has something to say, or is closed
    kStopped,  // `stopped` said so
    kTimeout,
  };
  using Clock = std::chrono::steady_clock;

  // `sleeps`: the word of the header that says that this end does.
  Bell(int own, int control, std::atomic<std::uint32_t>& sleeps, std::chrono::nanoseconds spin);

  // Until `ready`, which is asked again after `sleeps` was set: whoever makes it true afterwards
  // sees that word. `stopped` is asked whenever the bell rings.
  Why wait(const std::function<bool()>& ready, const std::function<bool()>& stopped,
           std::optional<Clock::time_point> until);

  // Wakes whoever sleeps on `bell` if it said that it does.
  static void ring(int bell, std::atomic<std::uint32_t>& sleeps) {
    if (sleeps.load(std::memory_order_seq_cst) != 0) ring_now(bell, sleeps);
  }
  static void ring_now(int bell, std::atomic<std::uint32_t>& sleeps);

 private:
  Why sleep(std::optional<Clock::time_point> until);

  int own_;
  int control_;
  std::atomic<std::uint32_t>& sleeps_;
  std::chrono::nanoseconds spin_;
};

}  // namespace zsync::ring
