#include "watch/inotify_hub.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "watch/limits.hpp"
#include "watch/source.hpp"
#include "zsync/rt/fd.hpp"

namespace zsync::watching {
namespace {

constexpr int kReadsPerTurn = 64;
// The kernel queues an event for each watch that is removed; its queue takes 16384 of all kinds.
constexpr size_t kRemovedPerRead = 1024;

inotify_event overflow() { return {-1, IN_Q_OVERFLOW, 0, 0, {}}; }

}  // namespace

absl::StatusOr<std::shared_ptr<InotifyHub>> InotifyHub::open(std::string_view root, bool shared) {
  Fd inotify(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (inotify) return std::shared_ptr<InotifyHub>(new InotifyHub(std::move(inotify), shared));
  return errno == EMFILE ? instance_limit_error(root) : errno_status(root, "inotify", errno);
}

absl::StatusOr<std::unique_ptr<InotifyHub::Member>> InotifyHub::join(
    std::shared_ptr<InotifyHub> hub, std::string_view root) {
  Fd ready;
  if (hub->shared_) {
    ready = Fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    if (!ready) return open_files_error(root);
  }
  return std::make_unique<Member>(std::move(hub), std::move(ready));
}

Task<absl::Status> InotifyHub::read(std::shared_ptr<InotifyHub> hub) {
  const int descriptor = ::fcntl(hub->inotify_.get(), F_DUPFD_CLOEXEC, 0);
  if (descriptor < 0) co_return open_files_error("/");
  absl::StatusOr<rt::Fd> events = rt::Fd::adopt(descriptor);
  if (!events.ok()) co_return events.status();
  while (true) {
    absl::Status readable = co_await events->readable();
    if (!readable.ok()) co_return readable;
    rt::LockGuard guard(hub->lock_);
    if (hub->drain() == Drained::failed) co_return absl::InternalError("reading inotify failed");
  }
}

size_t InotifyHub::watches() {
  rt::LockGuard guard(lock_);
  return watchers_.size();
}

InotifyHub::Drained InotifyHub::drain() {
  alignas(inotify_event) char buffer[kEventBufferBytes];
  for (int reads = 0; reads < kReadsPerTurn; ++reads) {
    const ssize_t n = ::read(inotify_.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return n < 0 && errno == EAGAIN ? Drained::yes : Drained::failed;
    for (ssize_t at = 0; at < n;) {
      const auto& event = *reinterpret_cast<const inotify_event*>(buffer + at);
      hand_out(event);
      at += static_cast<ssize_t>(sizeof event + event.len);
    }
  }
  return Drained::no;
}

void InotifyHub::hand_out(const inotify_event& event) {
  if ((event.mask & IN_Q_OVERFLOW) != 0) {
    for (Member* member : members_) give(*member, event);
    return;
  }
  const auto found = watchers_.find(event.wd);
  if (found == watchers_.end()) return;
  for (Member* member : found->second) give(*member, event);
  if ((event.mask & IN_IGNORED) == 0) return;
  for (Member* member : found->second) member->wds_.erase(event.wd);
  watchers_.erase(found);
}

void InotifyHub::give(Member& member, const inotify_event& event) {
  std::string& waiting = member.waiting_;
  if (waiting.size() > kMemberBytesMax) {
    const inotify_event lost = overflow();
    waiting.assign(reinterpret_cast<const char*>(&lost), sizeof lost);
  }
  waiting.append(reinterpret_cast<const char*>(&event), sizeof event + event.len);
  if (!member.ready_ || std::exchange(member.signalled_, true)) return;
  const uint64_t one = 1;
  (void)!::write(member.ready_.get(), &one, sizeof one);
}

void InotifyHub::let_go(Member& member, int wd) {
  const auto found = watchers_.find(wd);
  if (found == watchers_.end()) return;
  auto& who = found->second;
  who.erase(std::remove(who.begin(), who.end(), &member), who.end());
  if (!who.empty()) return;
  watchers_.erase(found);
  ::inotify_rm_watch(inotify_.get(), wd);
  if (++removed_ % kRemovedPerRead == 0 && shared_) (void)drain();
}

InotifyHub::Member::Member(std::shared_ptr<InotifyHub> hub, Fd ready)
    : hub_(std::move(hub)), ready_(std::move(ready)) {
  rt::LockGuard guard(hub_->lock_);
  hub_->members_.push_back(this);
}

InotifyHub::Member::~Member() {
  if (hub_->shared_) {
    // Thousands of them take a while, and others are not to wait for all of it.
    std::vector<int> wds;
    {
      rt::LockGuard guard(hub_->lock_);
      for (const auto& [wd, unused] : wds_) wds.push_back(wd);
    }
    for (const int wd : wds) remove(wd);
  }
  rt::LockGuard guard(hub_->lock_);
  std::erase(hub_->members_, this);
}

int InotifyHub::Member::fd() const { return ready_ ? ready_.get() : hub_->inotify_.get(); }

int InotifyHub::Member::add(const char* path, uint32_t mask) {
  rt::LockGuard guard(hub_->lock_);
  const int wd = ::inotify_add_watch(hub_->inotify_.get(), path, mask | IN_MASK_ADD);
  if (wd >= 0 && wds_.try_emplace(wd).second) hub_->watchers_[wd].push_back(this);
  return wd;
}

void InotifyHub::Member::remove(int wd) {
  rt::LockGuard guard(hub_->lock_);
  if (wds_.erase(wd) > 0) hub_->let_go(*this, wd);
}

absl::StatusOr<bool> InotifyHub::Member::take(std::string& events) {
  rt::LockGuard guard(hub_->lock_);
  const Drained drained = hub_->drain();
  if (signalled_) {
    uint64_t count = 0;
    (void)!::read(ready_.get(), &count, sizeof count);
    signalled_ = false;
  }
  if (events.empty()) {
    events.swap(waiting_);
  } else {
    events.append(waiting_);
    waiting_.clear();
  }
  if (drained == Drained::failed) return absl::InternalError("reading inotify failed");
  return drained == Drained::no;
}

}  // namespace zsync::watching
