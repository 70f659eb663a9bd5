#include "daemon/channels/ring.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/fault/fault.hpp"
#include "ring/bell.hpp"
#include "zsync/rt/fd.hpp"

namespace zsync::daemon {
namespace {

size_t index_of(RingEnd end) { return static_cast<size_t>(end); }
const char* word_of(RingEnd end) { return end == RingEnd::kSender ? "sender" : "receiver"; }

UniqueFd make_bell() { return UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }

}  // namespace

Ring::Ring(std::string channel, ring::Memory memory, UniqueFd sender_bell, UniqueFd receiver_bell)
    : channel_(std::move(channel)),
      memory_(std::move(memory)),
      bells_{std::move(sender_bell), std::move(receiver_bell)} {}

absl::StatusOr<std::shared_ptr<Ring>> Ring::make(std::string channel, uint64_t bytes) {
  absl::StatusOr<ring::Memory> memory = ring::Memory::make(bytes);
  if (!memory.ok()) return memory.status();
  UniqueFd sender = make_bell();
  UniqueFd receiver = make_bell();
  if (!sender || !receiver) return rt::errno_status("making a ring's bells", errno);
  return std::shared_ptr<Ring>(
      new Ring(std::move(channel), *std::move(memory), std::move(sender), std::move(receiver)));
}

absl::StatusOr<std::shared_ptr<Ring>> Ring::adopt(std::string channel, Descriptors descriptors) {
  UniqueFd sender(descriptors[1]);
  UniqueFd receiver(descriptors[2]);
  absl::StatusOr<ring::Memory> memory = ring::Memory::map(descriptors[0]);
  if (!memory.ok()) return memory.status();
  return std::shared_ptr<Ring>(
      new Ring(std::move(channel), *std::move(memory), std::move(sender), std::move(receiver)));
}

absl::Status Ring::enter(RingEnd end, pid_t pid, int64_t now, int connection) {
  UniqueFd copy(::fcntl(connection, F_DUPFD_CLOEXEC, 3));
  if (!copy) return rt::errno_status("keeping the connection of a ring's end", errno);
  rt::LockGuard guard(lock_);
  if (removed_) {
    return fault(absl::StatusCode::kNotFound,
                 absl::StrCat("channel \"", channel_, "\" was removed"),
                 {"channel", "NOT_FOUND", "", "create it again", {}});
  }
  if (closed_ && end == RingEnd::kSender) {
    return fault(absl::StatusCode::kFailedPrecondition,
                 absl::StrCat("channel \"", channel_, "\" is closed"),
                 {"channel", "CLOSED", "", "create another one", {}});
  }
  Place& place = places_[index_of(end)];
  if (place.connection) {
    return fault(
        absl::StatusCode::kFailedPrecondition,
        absl::StrCat("ring \"", channel_, "\" has a ", word_of(end), ", process ", place.pid),
        {"channel",
         "TAKEN",
         "a ring has one sender and one receiver",
         "end that process, or use a channel of the form queue",
         {}});
  }
  place = {pid, now, std::move(copy)};
  // Its predecessor may have died in its sleep.
  ring::Header& header = memory_.header();
  (end == RingEnd::kSender ? header.sender_sleeps : header.receiver_sleeps).store(0);
  if (closed_) (void)!::send(place.connection.get(), "C", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
  return absl::OkStatus();
}

void Ring::leave(RingEnd end) {
  rt::LockGuard guard(lock_);
  places_[index_of(end)] = {};
  // It may have died between what it did and ringing for it.
  ring::Header& header = memory_.header();
  if (end == RingEnd::kSender) {
    ring::Bell::ring_now(bells_[1].get(), header.receiver_sleeps);
  } else {
    ring::Bell::ring_now(bells_[0].get(), header.sender_sleeps);
  }
}

void Ring::tell(char word) {
  rt::LockGuard guard(lock_);
  closed_ = true;
  if (word == 'R') removed_ = true;
  // First the mark, so that whoever hears the word finds the last message in the ring.
  ring::Header& header = memory_.header();
  header.tail.fetch_or(ring::kClosed, std::memory_order_seq_cst);
  for (const Place& place : places_) {
    if (!place.connection) continue;
    (void)!::send(place.connection.get(), &word, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
  }
  ring::Bell::ring_now(bells_[0].get(), header.sender_sleeps);
  ring::Bell::ring_now(bells_[1].get(), header.receiver_sleeps);
}

RingFigures Ring::figures() {
  const ring::Header& header = memory_.header();
  RingFigures figures;
  figures.received = header.received.load(std::memory_order_relaxed);
  figures.sent = header.sent.load(std::memory_order_relaxed);
  const uint64_t head = header.head.load(std::memory_order_acquire);
  const uint64_t tail = header.tail.load(std::memory_order_acquire) & ~ring::kClosed;
  figures.bytes = tail >= head ? std::min(tail - head, memory_.bytes()) : 0;
  rt::LockGuard guard(lock_);
  for (size_t i = 0; i < places_.size(); ++i) {
    figures.pids[i] = places_[i].pid;
    figures.since[i] = places_[i].since;
  }
  return figures;
}

Ring::Descriptors Ring::descriptors() const {
  return {memory_.fd(), bells_[0].get(), bells_[1].get()};
}

std::vector<Ring::Carried> Ring::carried() {
  rt::LockGuard guard(lock_);
  std::vector<Carried> ends;
  for (RingEnd end : {RingEnd::kSender, RingEnd::kReceiver}) {
    const Place& place = places_[index_of(end)];
    if (place.connection) ends.push_back({end, place.pid, place.since, place.connection.get()});
  }
  return ends;
}

Task<void> keep_place(std::shared_ptr<Ring> ring, RingEnd end, UniqueFd connection) {
  absl::StatusOr<rt::Fd> end_fd = rt::Fd::adopt(std::move(connection));
  const absl::Status over = end_fd.ok() ? co_await end_fd->hangup() : end_fd.status();
  if (!absl::IsCancelled(over)) ring->leave(end);
}

}  // namespace zsync::daemon
