#include "bell.hpp"

#include <poll.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace zsync::ring {
namespace {

constexpr int kLooks = 64;  // between two looks at the clock

int cpus() {
  cpu_set_t set;
  return ::sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
}

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

Bell::Bell(int own, int control, std::atomic<std::uint32_t>& sleeps, std::chrono::nanoseconds spin)
    : own_(own),
      control_(control),
      sleeps_(sleeps),
      spin_(cpus() > 1 ? spin : std::chrono::nanoseconds(0)) {}

Bell::Why Bell::wait(const std::function<bool()>& ready, const std::function<bool()>& stopped,
                     std::optional<Clock::time_point> until) {
  if (ready()) return Why::kReady;
  if (spin_.count() > 0) {
    const Clock::time_point end = Clock::now() + spin_;
    do {
      for (int i = 0; i < kLooks; ++i) {
        pause();
        if (ready()) return Why::kReady;
      }
    } while (Clock::now() < end);
  }
  while (true) {
    sleeps_.store(1, std::memory_order_seq_cst);
    const bool is_ready = ready();
    const Why why = is_ready ? Why::kReady : stopped() ? Why::kStopped : sleep(until);
    sleeps_.store(0, std::memory_order_relaxed);
    if (is_ready || why != Why::kReady) return why;
  }
}

// kReady: the bell rang.
Bell::Why Bell::sleep(std::optional<Clock::time_point> until) {
  int milliseconds = -1;
  if (until) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*until - Clock::now()).count();
    if (left <= 0) return Why::kTimeout;
    milliseconds = static_cast<int>(std::min<decltype(left)>(left, 1'000'000));
  }
  pollfd fds[2] = {{own_, POLLIN, 0}, {control_, POLLIN, 0}};
  if (::poll(fds, 2, milliseconds) <= 0) return Why::kReady;  // asked again: time, or a signal
  std::uint64_t rings = 0;
  if (fds[0].revents != 0) (void)!::read(own_, &rings, sizeof(rings));
  return fds[1].revents != 0 ? Why::kControl : Why::kReady;
}

void Bell::ring_now(int bell, std::atomic<std::uint32_t>& sleeps) {
  sleeps.store(0, std::memory_order_relaxed);
  const std::uint64_t one = 1;
  (void)!::write(bell, &one, sizeof(one));
}

}  // namespace zsync::ring
