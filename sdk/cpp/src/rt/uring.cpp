#include "rt/uring.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "zsync/assert.hpp"

namespace zsync::rt {
namespace {

constexpr unsigned kSubmissions = 256;   // entries; more than that in a turn are submitted early
constexpr unsigned kCompletions = 2048;  // entries; the kernel keeps what is beyond

constexpr unsigned kFlagsAlways = IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE |
                                  IORING_SETUP_SUBMIT_ALL | IORING_SETUP_R_DISABLED |
                                  IORING_SETUP_TASKRUN_FLAG;
constexpr unsigned kFlagsBestFirst[] = {
    kFlagsAlways | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,  // Linux 6.1
    kFlagsAlways | IORING_SETUP_COOP_TASKRUN,                                // Linux 5.19
};
constexpr unsigned kFeatures = IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP | IORING_FEAT_CQE_SKIP;
constexpr int kOperations[] = {IORING_OP_POLL_ADD, IORING_OP_ASYNC_CANCEL, IORING_OP_SEND};

constexpr char kTooOld[] = "io_uring: this kernel has too little of it; use Linux 5.19 or later";

absl::Status not_permitted() {
  int disabled = 0;
  std::ifstream("/proc/sys/kernel/io_uring_disabled") >> disabled;
  if (disabled != 0) {
    return absl::PermissionDeniedError(
        absl::StrCat("io_uring: the system forbids it; sysctl kernel.io_uring_disabled is ",
                     disabled, ", set it to 0"));
  }
  return absl::PermissionDeniedError(
      "io_uring: a filter forbids it (seccomp, as in containers); allow io_uring_setup, "
      "io_uring_enter and io_uring_register in its profile");
}

absl::Status refused(int error) {
  switch (error) {
    case EPERM:
    case EACCES:
      return not_permitted();
    case ENOSYS:
      return absl::UnimplementedError(
          "io_uring: this system does not have it; use Linux 5.19 or later outside of sandboxes");
    case EINVAL:
      return absl::UnimplementedError(kTooOld);
    case EMFILE:
    case ENFILE:
      return absl::ResourceExhaustedError(
          "io_uring: too many open files; raise the limit (ulimit -n)");
    case ENOMEM:
      return absl::ResourceExhaustedError(
          "io_uring: no memory for a ring; raise the limit of locked memory (ulimit -l)");
    default:
      return absl::ErrnoToStatus(error, "io_uring: setting up a ring");
  }
}

int set_up(io_uring& ring) {
  int error = EINVAL;
  for (const unsigned flags : kFlagsBestFirst) {
    io_uring_params parameters{};
    parameters.flags = flags;
    parameters.cq_entries = kCompletions;
    error = -io_uring_queue_init_params(kSubmissions, &ring, &parameters);
    if (error != EINVAL) return error;
  }
  return error;
}

absl::Status check(io_uring& ring) {
  if ((ring.features & kFeatures) != kFeatures) return absl::UnimplementedError(kTooOld);
  const std::unique_ptr<io_uring_probe, void (*)(io_uring_probe*)> probe(
      io_uring_get_probe_ring(&ring), io_uring_free_probe);
  if (!probe) return not_permitted();
  for (const int operation : kOperations) {
    if (!io_uring_opcode_supported(probe.get(), operation)) {
      return absl::UnimplementedError(kTooOld);
    }
  }
  // A ring that is not enabled answers so; a filter answers otherwise.
  const int entered = io_uring_enter(static_cast<unsigned>(ring.ring_fd), 0, 0, 0, nullptr);
  return entered == -EBADFD ? absl::OkStatus() : refused(entered < 0 ? -entered : EINVAL);
}

void require_entered(int result) {
  switch (result < 0 ? -result : 0) {
    case 0:
    case ETIME:
    case EINTR:
    case EAGAIN:  // the kernel lacks memory for the moment
    case EBUSY:   // completions come first
      return;
    default:
      std::string message = absl::StrCat("io_uring_enter() fails: ", std::strerror(-result),
                                         "; a filter was installed after the runtime had started? "
                                         "set ZSYNC_BACKEND=libuv");
      ZS_ASSERT(false, message.c_str());
  }
}

// The kernel gives a ring's memory to the next one, maybe of another thread. ThreadSanitizer does
// not see that, since liburing makes its own system calls; it sees this.
std::atomic<uint64_t> rings_given_back{0};

// Its core is loaded into every program that it runs.
bool under_valgrind() {
  const char* loaded = std::getenv("LD_PRELOAD");
  return loaded != nullptr && std::strstr(loaded, "vgpreload_core") != nullptr;
}

}  // namespace

absl::StatusOr<Uring> Uring::open() {
  if (under_valgrind()) {
    return absl::UnimplementedError(
        "io_uring: valgrind runs no other thread while one waits in a ring; run without it");
  }
  io_uring ring{};
  if (const int error = set_up(ring); error != 0) return refused(error);
  (void)rings_given_back.load(std::memory_order_acquire);
  Uring opened(ring, ::getpid());
  if (absl::Status status = check(opened.ring_); !status.ok()) return status;
  (void)io_uring_ring_dontfork(&opened.ring_);
  return opened;
}

Uring::Uring(Uring&& other) noexcept
    : ring_(other.ring_), owner_(std::exchange(other.owner_, -1)) {}

Uring::~Uring() {
  if (owner_ < 0) return;
  if (usable()) {
    rings_given_back.fetch_add(1, std::memory_order_release);
    io_uring_queue_exit(&ring_);
  } else {
    ::close(ring_.ring_fd);
  }
}

int Uring::enable() {
  // liburing 2.3 declares io_uring_enable_rings() and does not export it.
  const long result =
      ::syscall(__NR_io_uring_register, ring_.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
  return result < 0 ? -errno : 0;
}

bool Uring::usable() const { return owner_ == ::getpid(); }

bool Uring::holds_back() const {
  return (IO_URING_READ_ONCE(*ring_.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

io_uring_cqe Uring::take() {
  const unsigned head = *ring_.cq.khead;
  const io_uring_cqe completion = ring_.cq.cqes[head & ring_.cq.ring_mask];
  io_uring_cq_advance(&ring_, 1);
  return completion;
}

void Uring::enter() { require_entered(io_uring_submit_and_get_events(&ring_)); }

void Uring::enter_and_wait(std::optional<Duration> timeout) {
  io_uring_cqe* unused = nullptr;
  __kernel_timespec time{};
  if (timeout) {
    const auto seconds = std::chrono::floor<std::chrono::seconds>(*timeout);
    time.tv_sec = seconds.count();
    time.tv_nsec = (*timeout - seconds).count();
  }
  require_entered(
      io_uring_submit_and_wait_timeout(&ring_, &unused, 1, timeout ? &time : nullptr, nullptr));
}

}  // namespace zsync::rt
