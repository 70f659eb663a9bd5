#include "watch/inotify_source.hpp"

#include <sched.h>
#include <sys/inotify.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "watch/limits.hpp"

namespace zsync::watching {
namespace {

constexpr uint32_t kDirectoryMask = IN_CREATE | IN_DELETE | IN_MODIFY | IN_ATTRIB | IN_CLOSE_WRITE |
                                    IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF |
                                    IN_ONLYDIR | IN_EXCL_UNLINK;
constexpr uint32_t kPresenceMask = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO |
                                   IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;

}  // namespace

absl::StatusOr<std::unique_ptr<InotifySource>> InotifySource::open(std::string_view root,
                                                                   FilterOptions options,
                                                                   const Recall& recall) {
  absl::StatusOr<Opening> opening = prepare(root, std::move(options), recall);
  if (!opening.ok()) return opening.status();
  std::unique_ptr<InotifySource> source(new InotifySource(*std::move(opening)));
  if (absl::Status status = source->start(); !status.ok()) return status;
  return source;
}

absl::Status InotifySource::start() {
  inotify_ = Fd(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (inotify_) return begin();
  return errno == EMFILE ? instance_limit_error(root()) : errno_status(root(), "inotify", errno);
}

void InotifySource::release() {
  inotify_.reset();
  moves_.clear();
  wds_.clear();
}

bool InotifySource::watch(NodeId directory, int fd) {
  const std::string link = absl::StrCat("/proc/self/fd/", fd);
  int wd = ::inotify_add_watch(inotify_.get(), link.c_str(), kDirectoryMask);
  if (wd < 0 && errno == ENOENT) {
    const std::string path =
        directory == Tree::kRoot ? root() : absl::StrCat(root(), "/", tree_.path(directory));
    wd = ::inotify_add_watch(inotify_.get(), path.c_str(), kDirectoryMask | IN_DONT_FOLLOW);
  }
  if (wd < 0) {
    const int error = errno;
    if (error == ENOSPC || error == ENOMEM) fail(watch_limit_error(root()));
    errno = error;
    return false;
  }
  // The same directory under another name: a rename whose events are still to come.
  if (const auto known = wds_.find(wd); known != wds_.end() && tree_.alive(known->second)) {
    tree_.set_tag(known->second.id, -1);
  }
  if (const int old = tree_.tag(directory); old >= 0 && old != wd) {
    wds_.erase(old);
    ::inotify_rm_watch(inotify_.get(), old);
  }
  wds_[wd] = tree_.ref(directory);
  tree_.set_tag(directory, wd);
  return true;
}

void InotifySource::unwatch(NodeId directory) {
  const int wd = tree_.tag(directory);
  wds_.erase(wd);
  ::inotify_rm_watch(inotify_.get(), wd);
}

bool InotifySource::watch_place(Place place, const std::string& path) {
  int& wd = place == Place::repository ? repository_wd_ : ancestor_wd_;
  const int old = wd;
  wd = path.empty() ? -1 : ::inotify_add_watch(inotify_.get(), path.c_str(), kPresenceMask);
  if (wd < 0 && !path.empty() && errno == ENOSPC) {
    fail(watch_limit_error(root()));
    return false;
  }
  if (old >= 0 && old != wd) ::inotify_rm_watch(inotify_.get(), old);
  return wd >= 0;
}

bool InotifySource::take_events(size_t budget) {
  bool drained = false;
  while (status().ok() && budget > 0 && read_once(budget, drained)) {
  }
  if (!drained) return false;
  // Without its other half it is a move out of what is watched.
  for (const PendingMove& move : std::exchange(moves_, {})) {
    if (tree_.alive(move.directory)) mark_dirty(move.directory.id, move.name, kChanged);
  }
  return true;
}

// True: read again.
bool InotifySource::read_once(size_t& budget, bool& drained) {
  alignas(inotify_event) char buffer[kEventBufferBytes];
  ssize_t n = ::read(inotify_.get(), buffer, sizeof buffer);
  if (n < 0 && errno == EAGAIN && !moves_.empty()) {
    // The other half of a rename follows within the same system call of whoever renames.
    ::sched_yield();
    n = ::read(inotify_.get(), buffer, sizeof buffer);
  }
  if (n < 0 && errno == EINTR) return true;
  if (n <= 0) {
    if (n < 0 && errno != EAGAIN) fail(errno_status(root(), "inotify read", errno));
    drained = true;
    return false;
  }
  for (ssize_t at = 0; at < n;) {
    const auto& event = *reinterpret_cast<const inotify_event*>(buffer + at);
    handle(event);
    at += static_cast<ssize_t>(sizeof event + event.len);
    if (budget > 0) --budget;
  }
  return true;
}

void InotifySource::handle(const inotify_event& event) {
  if ((event.mask & IN_Q_OVERFLOW) != 0) return on_overflow();
  if (event.wd == repository_wd_ || event.wd == ancestor_wd_) {
    const bool repository = event.wd == repository_wd_;
    if ((event.mask & IN_IGNORED) != 0) (repository ? repository_wd_ : ancestor_wd_) = -1;
    return place_changed(repository ? Place::repository : Place::ancestor,
                         (event.mask & (IN_IGNORED | IN_MOVE_SELF)) != 0);
  }
  const auto found = wds_.find(event.wd);
  if (found == wds_.end()) return;
  const NodeRef directory = found->second;
  if ((event.mask & IN_IGNORED) != 0) {
    wds_.erase(found);
    tree_.set_tag(directory.id, -1);
  }
  if (event.len == 0) {
    if ((event.mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT)) != 0)
      misplaced(directory.id);
    return;
  }
  handle_entry(directory.id, std::string_view(event.name, ::strnlen(event.name, event.len)), event);
}

void InotifySource::handle_entry(NodeId directory, std::string_view name,
                                 const inotify_event& event) {
  const bool is_directory = (event.mask & IN_ISDIR) != 0;
  notice_name(directory, name);
  if ((event.mask & IN_MOVED_FROM) != 0) {
    moves_.push_back({event.cookie, tree_.ref(directory), std::string(name), is_directory});
    return;
  }
  if ((event.mask & IN_MOVED_TO) != 0) {
    const auto from = std::find_if(moves_.begin(), moves_.end(),
                                   [&](const PendingMove& m) { return m.cookie == event.cookie; });
    if (from != moves_.end()) {
      const PendingMove move = std::move(*from);
      moves_.erase(from);
      return apply_move(move, directory, name);
    }
  }
  uint8_t hints = kChanged;
  if (is_directory) hints |= kIsDirectory;
  if ((event.mask & IN_MODIFY) != 0) hints |= kModified;
  if (is_directory && (event.mask & (IN_CREATE | IN_MOVED_TO)) != 0) hints |= kNewDirectory;
  mark_dirty(directory, name, hints);
}

// Renames in the Tree in the order of the events. Where the Tree was already ahead of them this is
// wrong for a moment: both names are verified afterwards by inode.
void InotifySource::apply_move(const PendingMove& from, NodeId directory, std::string_view name) {
  const uint8_t kind = from.is_directory ? kIsDirectory : uint8_t{0};
  const bool source_alive = tree_.alive(from.directory);
  uint8_t carried = 0;
  if (source_alive) {
    carried = waiting_hints(from.directory.id, from.name) & kModified;
    mark_dirty(from.directory.id, from.name, kChanged | kind);
  }
  const NodeId moved = source_alive ? tree_.find(from.directory.id, from.name) : kNoNode;
  const NodeId target = tree_.find(directory, name);
  const bool applicable = moved != kNoNode && moved != target && !tree_.within(directory, moved) &&
                          (target == kNoNode || !tree_.within(moved, target)) &&
                          !filter_.scope(tree_.path(directory)).ignored(name, from.is_directory);
  if (!applicable) {
    mark_dirty(directory, name, kChanged | kind | (from.is_directory ? kNewDirectory : uint8_t{0}));
    return;
  }
  if (target != kNoNode) tree_.remove(target, sink(), [this](NodeId id) { drop(id); });
  const std::string old_path = tree_.path(moved);
  tree_.rename(moved, directory, name, sink());
  if (from.is_directory) filter_.move_rules(old_path, tree_.path(moved));
  mark_dirty(directory, name, kChanged | carried | kind);
  if (tree_.is_directory(moved)) schedule(moved, true);
}

void InotifySource::on_overflow() {
  for (const auto& [wd, directory] : wds_) stale_rules(directory.id);
  overflowed();
}

}  // namespace zsync::watching
