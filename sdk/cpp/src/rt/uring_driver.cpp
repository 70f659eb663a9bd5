// The io_uring driver: polls for readiness, batched sends, and the sleep of a worker in one system
// call a turn.
//
// What waits in the kernel are polls alone. Who has found nothing to read gets one that stays and
// tells each change (kNews), so that waiting again costs no system call; every other wait is a poll
// of its own. Bytes are read by the task itself, hence nothing in the kernel points into a task's
// memory while it waits.
//
// A worker that waits for nothing but to be woken does so on a futex, without the ring's detour by
// an eventfd and a completion.
//
// A ring belongs to the thread that enabled it. When another thread goes on with the driver, the
// ring is replaced, and what was waited for is asked for anew.
#include <linux/futex.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <cerrno>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "rt/driver.hpp"
#include "rt/uring.hpp"
#include "zsync/assert.hpp"
#include "zsync/fd.hpp"

namespace zsync::rt {
namespace {

constexpr size_t kBatchEvents = 2;     // at once; then sends go out together
constexpr int kSubmitTriesMax = 1000;  // when the queue is full and memory is scarce

// In the low bits of user_data; the rest is the address of whom it concerns.
enum Tag : uint64_t {
  kNobody,
  kPollReadable,
  kPollWritable,
  kPollHangup,
  kPollNews,
  kSent,
  kWoken
};
constexpr uint64_t kTagMask = 7;

constexpr uint32_t kPolls[] = {kReadable, kWritable, kHangup, kNews};

Tag tag_of(uint32_t event) {
  return static_cast<Tag>(kPollReadable + static_cast<uint64_t>(std::countr_zero(event)));
}
uint32_t event_of(uint64_t tag) { return 1u << (tag - kPollReadable); }

unsigned mask_of(uint32_t event) {
  switch (event) {
    case kReadable:
      return POLLIN | POLLRDHUP;
    case kWritable:
      return POLLOUT;
    case kHangup:
      return POLLRDHUP;
    default:
      return POLLIN | POLLRDHUP | POLLPRI;
  }
}

uint32_t events_of(int result) {
  // Let both sides find out by their system call.
  if (result < 0) return kReadable | kWritable | kHangup;
  uint32_t events = 0;
  if (result & (POLLIN | POLLPRI | POLLRDHUP | POLLHUP | POLLERR)) events |= kReadable;
  if (result & (POLLOUT | POLLHUP | POLLERR)) events |= kWritable;
  if (result & (POLLRDHUP | POLLHUP | POLLERR)) events |= kHangup;
  if (result & POLLPRI) events |= kUrgent;
  return events;
}

// Never the same for two threads, also when one begins after the other has ended.
uint64_t this_thread_id() {
  static std::atomic<uint64_t> threads{0};
  thread_local const uint64_t id = threads.fetch_add(1, std::memory_order_relaxed) + 1;
  return id;
}

class UringSource final : public FdSource {
 public:
  UringSource(int watched, FdListener& told) : descriptor(watched), listener(told) {}

  const int descriptor;
  FdListener& listener;
  uint32_t pending = 0;  // polls that the kernel has
  bool removed = false;
  std::function<void()> closed;
  UringSource* previous = nullptr;
  UringSource* next = nullptr;
};

class UringDriver final : public Driver {
 public:
  UringDriver(Uring ring, UniqueFd wake) : ring_(std::move(ring)), wake_(std::move(wake)) {
    poll_wake();
  }

  ~UringDriver() override {
    if (thread_ == this_thread_id() && ring_->usable()) leave();
    ring_.reset();
    forget_removed();
    while (first_) drop(*first_);
  }

  void poll() override {
    bind();
    if (ring_->has_unsubmitted() || ring_->holds_back()) ring_->enter();
    take_completions();
  }

  void park(std::optional<TimePoint> deadline) override {
    bind();
    const bool on_futex = !deadline && waits_for_nothing();
    sleeping_.store(on_futex ? kOnFutex : kInRing, std::memory_order_seq_cst);
    if (woken_.load(std::memory_order_seq_cst) || !early_.empty()) {
      if (ring_->has_unsubmitted() || ring_->holds_back()) ring_->enter();
    } else if (on_futex) {
      sleep_on_futex();
    } else {
      std::optional<Duration> left;
      if (deadline) {
        left = std::max<Duration>(*deadline - std::chrono::steady_clock::now(), Duration::zero());
      }
      ring_->enter_and_wait(left);
    }
    sleeping_.store(kAwake, std::memory_order_seq_cst);
    (void)woken_.exchange(false, std::memory_order_seq_cst);
    take_completions();
  }

  void wake() override {
    woken_.store(true, std::memory_order_seq_cst);
    switch (sleeping_.exchange(kAwake, std::memory_order_seq_cst)) {
      case kInRing: {
        const uint64_t one = 1;
        (void)!::write(wake_.get(), &one, sizeof one);
        return;
      }
      case kOnFutex:
        ::syscall(SYS_futex, &sleeping_, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
        return;
      default:
        return;
    }
  }

  absl::StatusOr<FdSource*> add(int fd, FdListener& listener) override {
    auto* source = new UringSource(fd, listener);
    source->next = first_;
    if (first_) first_->previous = source;
    return first_ = source;
  }

  void arm(FdSource& watched, uint32_t events) override {
    auto& source = static_cast<UringSource&>(watched);
    for (const uint32_t event : kPolls) {
      if (events & event & ~source.pending) start_poll(source, event);
    }
  }

  void remove(FdSource& watched, std::function<void()> then) override {
    auto& source = static_cast<UringSource&>(watched);
    source.removed = true;
    source.closed = std::move(then);
    if (source.pending == 0) return drop(source);
    ++removing_;
    for (const uint32_t event : kPolls) {
      if (!(source.pending & event)) continue;
      io_uring_sqe* entry = next_entry();
      // Not POLL_REMOVE: that refuses a poll which has an event on its way.
      io_uring_prep_cancel64(entry, data_of(&source, tag_of(event)), 0);
      io_uring_sqe_set_flags(entry, IOSQE_CQE_SKIP_SUCCESS);
      io_uring_sqe_set_data64(entry, kNobody);
    }
  }

  bool batches_sends() const override { return events_ >= kBatchEvents; }

  void send(int socket, std::span<const std::byte> from, Completion& completion) override {
    bind();
    io_uring_sqe* entry = next_entry();
    io_uring_prep_send(entry, socket, from.data(), from.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    io_uring_sqe_set_data64(entry, data_of(&completion, kSent));
    ++sending_;
  }

  void leave() override {
    if (thread_ != this_thread_id() && !first_) return;
    bind();
    do {
      poll();
    } while (ring_->has_unsubmitted());
    while (removing_ > 0 || sending_ > 0) {
      ring_->enter_and_wait(std::nullopt);
      take_completions();
    }
    events_ = 0;
  }

 private:
  enum Sleeping : uint32_t { kAwake, kInRing, kOnFutex };

  // The kernel has nothing to tell: no descriptor is watched, no call is under way.
  bool waits_for_nothing() const {
    return first_ == nullptr && removing_ == 0 && sending_ == 0 && !ring_->has_unsubmitted() &&
           !ring_->holds_back();
  }
  void sleep_on_futex() {
    // Returns for a signal too, as the ring does.
    ::syscall(SYS_futex, &sleeping_, FUTEX_WAIT_PRIVATE, kOnFutex, nullptr, nullptr, 0);
  }

  static uint64_t data_of(const void* address, Tag tag) {
    return reinterpret_cast<uintptr_t>(address) | tag;
  }

  // Makes the ring this thread's.
  void bind() {
    const uint64_t here = this_thread_id();
    if (thread_ == here) return;
    const bool moved = std::exchange(thread_, here) != 0;
    if (moved) replace_ring();
    ZS_ASSERT(ring_->enable() == 0, "io_uring: enabling a ring failed; set ZSYNC_BACKEND=libuv");
    if (!moved) return;
    for (UringSource* source = first_; source; source = source->next) {
      arm(*source, std::exchange(source->pending, 0));
    }
  }

  void replace_ring() {
    ZS_ASSERT(sending_ == 0, "io_uring: a thread went away without leave()");
    ring_.reset();   // first, so that its descriptor is free for the new one
    early_.clear();  // polls that are asked for anew tell it again
    absl::StatusOr<Uring> ring = Uring::open();
    if (!ring.ok()) {
      const std::string message = absl::StrCat("a runtime goes on in another thread: ",
                                               std::string(ring.status().message()));
      ZS_ASSERT(false, message.c_str());
    }
    ring_.emplace(*std::move(ring));
    forget_removed();
    poll_wake();
  }

  // The kernel has no poll of a removed source any more.
  void forget_removed() {
    for (UringSource* source = first_; source;) {
      UringSource& gone = *std::exchange(source, source->next);
      if (!gone.removed) continue;
      --removing_;
      drop(gone);
    }
  }

  io_uring_sqe* next_entry() {
    for (int tries = 0;; ++tries) {
      if (io_uring_sqe* entry = ring_->try_sqe()) return entry;
      ZS_ASSERT(tries < kSubmitTriesMax, "io_uring: the kernel takes nothing; there is no memory?");
      bind();
      ring_->enter();
      // Whoever waits is told by the next poll(): this may be under one of his locks.
      while (ring_->completions() > 0) early_.push_back(ring_->take());
    }
  }

  void start_poll(UringSource& source, uint32_t event) {
    source.pending |= event;
    io_uring_sqe* entry = next_entry();
    if (event == kNews) {
      io_uring_prep_poll_multishot(entry, source.descriptor, mask_of(event));
    } else {
      io_uring_prep_poll_add(entry, source.descriptor, mask_of(event));
    }
    io_uring_sqe_set_data64(entry, data_of(&source, tag_of(event)));
  }

  void poll_wake() {
    io_uring_sqe* entry = next_entry();
    // Each write is told, so nobody has to read it.
    io_uring_prep_poll_multishot(entry, wake_.get(), POLLIN);
    io_uring_sqe_set_data64(entry, data_of(nullptr, kWoken));
  }

  void take_completions() {
    if (early_.empty() && ring_->completions() == 0) return;
    size_t events = 0;
    const std::vector<io_uring_cqe> early = std::exchange(early_, {});
    for (const io_uring_cqe& completion : early) events += take(completion);
    for (unsigned count = ring_->completions(); count > 0; --count) events += take(ring_->take());
    events_ = events;
  }

  // -> whether a descriptor became ready
  bool take(const io_uring_cqe& completion) {
    const uint64_t tag = completion.user_data & kTagMask;
    const uintptr_t address = completion.user_data & ~kTagMask;
    switch (tag) {
      case kNobody:
        return false;
      case kWoken:
        if (!(completion.flags & IORING_CQE_F_MORE)) poll_wake();
        return false;
      case kSent:
        --sending_;
        reinterpret_cast<Completion*>(address)->on_complete(completion.res);
        return false;
      default:
        return polled(*reinterpret_cast<UringSource*>(address), event_of(tag), completion);
    }
  }

  bool polled(UringSource& source, uint32_t event, const io_uring_cqe& completion) {
    if (!(completion.flags & IORING_CQE_F_MORE)) source.pending &= ~event;
    if (source.removed) {
      if (source.pending == 0) {
        --removing_;
        drop(source);
      }
      return false;
    }
    const uint32_t asked = event == kNews ? kReadable : event;
    source.listener.on_ready(events_of(completion.res) | asked);
    return true;
  }

  void drop(UringSource& source) {
    (source.previous ? source.previous->next : first_) = source.next;
    if (source.next) source.next->previous = source.previous;
    const std::unique_ptr<UringSource> owned(&source);
    if (source.closed) source.closed();
  }

  std::optional<Uring> ring_;  // empty while it is replaced
  const UniqueFd wake_;
  uint64_t thread_ = 0;  // which the ring belongs to; 0: not enabled
  UringSource* first_ = nullptr;
  size_t removing_ = 0;
  size_t sending_ = 0;
  size_t events_ = 0;                // descriptors that became ready in the last turn
  std::vector<io_uring_cqe> early_;  // taken while there was no time to tell

  // -- from any thread
  std::atomic<bool> woken_{false};
  std::atomic<uint32_t> sleeping_{kAwake};
  static_assert(sizeof(sleeping_) == sizeof(uint32_t), "the kernel looks at it");
};

}  // namespace

absl::StatusOr<std::unique_ptr<Driver>> make_uring_driver() {
  absl::StatusOr<Uring> ring = Uring::open();
  if (!ring.ok()) return ring.status();
  UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) {
    return absl::ResourceExhaustedError(
        "io_uring: too many open files; raise the limit (ulimit -n)");
  }
  return std::make_unique<UringDriver>(*std::move(ring), std::move(wake));
}

}  // namespace zsync::rt
