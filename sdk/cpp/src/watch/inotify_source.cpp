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

absl::StatusOr<std::unique_ptr<InotifySource>> InotifySource::open(
    std::string_view root, FilterOptions options, const Recall& recall,
    std::shared_ptr<InotifyHub> hub) {
  absl::StatusOr<Opening> opening = prepare(root, std::move(options), recall);
  if (!opening.ok()) return opening.status();
  std::unique_ptr<InotifySource> source(new InotifySource(*std::move(opening)));
  if (absl::Status status = source->start(std::move(hub)); !status.ok()) return status;
  return source;
}

absl::Status InotifySource::start(std::shared_ptr<InotifyHub> hub) {
  if (hub == nullptr) {
    absl::StatusOr<std::shared_ptr<InotifyHub>> own = InotifyHub::open(root(), false);
    if (!own.ok()) return own.status();
    hub = *std::move(own);
  }
  absl::StatusOr<std::unique_ptr<InotifyHub::Member>> joined =
      InotifyHub::join(std::move(hub), root());
  if (!joined.ok()) return joined.status();
  kernel_ = *std::move(joined);
  return begin();
}

void InotifySource::release() {
  kernel_.reset();
  events_.clear();
  events_at_ = 0;
  moves_.clear();
  wds_.clear();
}

bool InotifySource::watch(NodeId directory, int fd) {
  const std::string link = absl::StrCat("/proc/self/fd/", fd);
  int wd = kernel_->add(link.c_str(), kDirectoryMask);
  if (wd < 0 && errno == ENOENT) {
    const std::string path =
        directory == Tree::kRoot ? root() : absl::StrCat(root(), "/", tree_.path(directory));
    wd = kernel_->add(path.c_str(), kDirectoryMask | IN_DONT_FOLLOW);
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
    let_go(old);
  }
  wds_[wd] = tree_.ref(directory);
  tree_.set_tag(directory, wd);
  return true;
}

void InotifySource::unwatch(NodeId directory) {
  const int wd = tree_.tag(directory);
  wds_.erase(wd);
  let_go(wd);
}

// Mercurial's directory may be one of the Tree as well.
void InotifySource::let_go(int wd) {
  const bool place = std::find(place_wds_.begin(), place_wds_.end(), wd) != place_wds_.end();
  if (!place && !wds_.contains(wd)) kernel_->remove(wd);
}

bool InotifySource::watch_place(Place place, const std::string& path) {
  int& wd = place_wds_[static_cast<size_t>(place)];
  const int old = wd;
  wd = path.empty() ? -1 : kernel_->add(path.c_str(), kPresenceMask);
  if (wd < 0 && !path.empty() && errno == ENOSPC) {
    fail(watch_limit_error(root()));
    return false;
  }
  if (old >= 0 && old != wd) let_go(old);
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

// True: go on.
bool InotifySource::read_once(size_t& budget, bool& drained) {
  if (events_at_ == events_.size() && !refill(drained)) return false;
  while (events_at_ < events_.size() && budget > 0 && status().ok()) {
    inotify_event event;
    std::memcpy(&event, events_.data() + events_at_, sizeof event);
    const char* name = events_.data() + events_at_ + sizeof event;
    events_at_ += sizeof event + event.len;
    handle(event, std::string_view(name, ::strnlen(name, event.len)));
    --budget;
  }
  return true;
}

// False: there is nothing at the moment, or the kernel failed.
bool InotifySource::refill(bool& drained) {
  events_.clear();
  events_at_ = 0;
  absl::StatusOr<bool> more = kernel_->take(events_);
  if (more.ok() && !*more && events_.empty() && !moves_.empty()) {
    // The other half of a rename follows within the same system call of whoever renames.
    ::sched_yield();
    more = kernel_->take(events_);
  }
  if (!more.ok()) fail(more.status());
  drained = !more.ok() || (!*more && events_.empty());
  return !drained;
}

void InotifySource::handle(const inotify_event& event, std::string_view name) {
  if ((event.mask & IN_Q_OVERFLOW) != 0) return on_overflow();
  if (const auto at = std::find(place_wds_.begin(), place_wds_.end(), event.wd);
      at != place_wds_.end()) {
    if ((event.mask & IN_IGNORED) != 0) *at = -1;
    place_changed(static_cast<Place>(at - place_wds_.begin()),
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
  handle_entry(directory.id, name, event);
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
