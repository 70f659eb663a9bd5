#include "zsync/signal.hpp"

#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstdint>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"

namespace zsync {
namespace {

constexpr int kSignalMax = 64;

uint64_t bit_of(int signal) { return uint64_t{1} << (signal - 1); }

// What the handler may touch: atomics only.
struct Slot {
  std::atomic<uint64_t> watched{0};
  std::atomic<uint64_t> pending{0};
  std::atomic<int> event{-1};  // an eventfd; -1: not to be written to
  bool taken = false;          // guarded by the registry's mutex
};

std::array<Slot, Signals::kOpenMax> slots;
// Handlers that may have read a slot's descriptor and not written to it yet.
std::atomic<int> handlers_running{0};

void on_signal(int signal) {
  const int error = errno;
  handlers_running.fetch_add(1, std::memory_order_seq_cst);
  for (Slot& slot : slots) {
    if (!(slot.watched.load(std::memory_order_seq_cst) & bit_of(signal))) continue;
    slot.pending.fetch_or(bit_of(signal), std::memory_order_seq_cst);
    const uint64_t one = 1;
    const int event = slot.event.load(std::memory_order_seq_cst);
    if (event >= 0) (void)!::write(event, &one, sizeof one);
  }
  handlers_running.fetch_sub(1, std::memory_order_seq_cst);
  errno = error;
}

// Who has the slots, and what the signals did before. Never destroyed: watchers may outlive main().
class Registry {
 public:
  static Registry& get() {
    static Registry* const registry = new Registry;
    return *registry;
  }

  absl::StatusOr<Slot*> take(const std::vector<int>& signals, int event) {
    std::lock_guard<std::mutex> guard(mutex_);
    const auto slot = std::find_if(slots.begin(), slots.end(), [](Slot& s) { return !s.taken; });
    if (slot == slots.end()) {
      return absl::ResourceExhaustedError(absl::StrCat(
          "watching signals: ", Signals::kOpenMax, " watchers are open; close some, or share one"));
    }
    slot->pending.store(0, std::memory_order_seq_cst);
    slot->event.store(event, std::memory_order_seq_cst);
    slot->taken = true;
    for (const int signal : signals) {
      // The slot first: whatever the handler is told afterwards it passes on.
      if (slot->watched.fetch_or(bit_of(signal)) & bit_of(signal)) continue;  // named twice
      if (absl::Status status = watch(signal); !status.ok()) {
        slot->watched.fetch_and(~bit_of(signal));
        release(*slot);
        return status;
      }
    }
    return &*slot;
  }

  void give_back(Slot& slot) {
    std::lock_guard<std::mutex> guard(mutex_);
    release(slot);
  }

 private:
  struct Former {
    int watchers = 0;
    struct sigaction action{};
  };

  absl::Status watch(int signal) {
    Former& former = former_[signal];
    if (former.watchers == 0) {
      struct sigaction ours{};
      ours.sa_handler = on_signal;
      ours.sa_flags = SA_RESTART | SA_ONSTACK;
      sigfillset(&ours.sa_mask);
      if (::sigaction(signal, &ours, &former.action) != 0) {
        return rt::errno_status(absl::StrCat("watching signal ", signal), errno);
      }
    }
    ++former.watchers;
    return absl::OkStatus();
  }

  void unwatch(int signal) {
    Former& former = former_[signal];
    if (--former.watchers > 0) return;
    struct sigaction present{};
    ::sigaction(signal, nullptr, &present);
    if (present.sa_handler == on_signal) ::sigaction(signal, &former.action, nullptr);
  }

  // The caller may close the slot's descriptor afterwards: no handler writes to it any more.
  void release(Slot& slot) {
    uint64_t watched = slot.watched.load();
    for (; watched != 0; watched &= watched - 1) unwatch(std::countr_zero(watched) + 1);
    slot.watched.store(0, std::memory_order_seq_cst);
    slot.event.store(-1, std::memory_order_seq_cst);
    while (handlers_running.load(std::memory_order_seq_cst) != 0) ::sched_yield();
    slot.taken = false;
  }

  std::mutex mutex_;
  std::array<Former, kSignalMax + 1> former_;  // by signal
};

absl::Status check(const std::vector<int>& signals) {
  if (signals.empty()) {
    return absl::InvalidArgumentError("watching signals: the list is empty; name at least one");
  }
  for (const int signal : signals) {
    const bool named = signal >= 1 && signal <= kSignalMax;
    if (!named || (signal >= __SIGRTMIN && signal < SIGRTMIN)) {
      return absl::InvalidArgumentError(
          absl::StrCat("watching signals: ", signal, " is no signal that a program may use"));
    }
    constexpr int kUncaught[] = {SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    if (std::find(std::begin(kUncaught), std::end(kUncaught), signal) != std::end(kUncaught)) {
      return absl::InvalidArgumentError(
          absl::StrCat("watching signals: ", signal,
                       " ends or stops this program and cannot be awaited; leave it out"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

class Signals::Watch {
 public:
  Watch(rt::Fd event, Slot& slot) : event_(std::move(event)), slot_(slot) {}
  ~Watch() { Registry::get().give_back(slot_); }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  // The lowest pending signal; 0: none.
  int take() {
    const uint64_t pending = slot_.pending.load(std::memory_order_seq_cst);
    if (pending == 0) return 0;
    const int signal = std::countr_zero(pending) + 1;
    slot_.pending.fetch_and(~bit_of(signal), std::memory_order_seq_cst);
    return signal;
  }
  rt::Fd& event() { return event_; }

 private:
  rt::Fd event_;
  Slot& slot_;
};

Signals::Signals(std::unique_ptr<Watch> watch) : watch_(std::move(watch)) {}
Signals::Signals(Signals&&) noexcept = default;
Signals& Signals::operator=(Signals&&) noexcept = default;
Signals::~Signals() = default;

absl::StatusOr<Signals> Signals::open(std::vector<int> signals) {
  if (absl::Status status = check(signals); !status.ok()) return status;
  UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event) return rt::errno_status("watching signals", errno);
  absl::StatusOr<rt::Fd> fd = rt::Fd::adopt(std::move(event));
  if (!fd.ok()) return fd.status();
  absl::StatusOr<Slot*> slot = Registry::get().take(signals, fd->get());
  if (!slot.ok()) return slot.status();
  return Signals(std::make_unique<Watch>(*std::move(fd), **slot));
}

Task<int> Signals::next() {
  if (!(co_await rt::CheckpointOperation()).ok()) throw Cancelled();
  while (true) {
    if (const int signal = watch_->take()) co_return signal;
    // A signal between the look and the read is noted first and written second: the read sees it,
    // and the next look finds it.
    uint64_t count = 0;
    const absl::StatusOr<size_t> read =
        co_await watch_->event().read_some(std::as_writable_bytes(std::span(&count, 1)));
    if (absl::IsCancelled(read.status())) throw Cancelled();
    ZS_ASSERT(read.ok(), "Signals::next() cannot read its eventfd: who has closed it?");
  }
}

}  // namespace zsync
