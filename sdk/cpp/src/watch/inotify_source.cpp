#include "watch/inotify_source.hpp"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace zsync::watching {
namespace {

constexpr uint32_t kDirectoryMask = IN_CREATE | IN_DELETE | IN_MODIFY | IN_ATTRIB | IN_CLOSE_WRITE |
                                    IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF |
                                    IN_ONLYDIR | IN_EXCL_UNLINK;
constexpr uint32_t kPresenceMask = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO |
                                   IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;

constexpr std::pair<long, std::string_view> kRemoteFileSystems[] = {
    {0x6969, "NFS"},      {0x517B, "SMB"},    {0xFE534D42, "SMB"},
    {0xFF534D42, "CIFS"}, {0x01021997, "9P"}, {0x65735546, "FUSE"}};

uint64_t read_number(const char* path) {
  Fd fd(::open(path, O_RDONLY | O_CLOEXEC));
  char buffer[32];
  const ssize_t n = fd ? ::read(fd.get(), buffer, sizeof buffer) : 0;
  uint64_t value = 0;
  if (n <= 0 || !absl::SimpleAtoi(absl::string_view(buffer, static_cast<size_t>(n)), &value))
    return 0;
  return value;
}

std::string limit_text(std::string_view root, std::string_view what, std::string_view knob,
                       uint64_t least) {
  std::string path =
      absl::StrCat("/proc/sys/fs/inotify/", absl::string_view(knob.data(), knob.size()));
  const uint64_t now = read_number(path.c_str());
  return absl::StrCat("watching \"", absl::string_view(root.data(), root.size()),
                      "\": the limit of ", now, " inotify ",
                      absl::string_view(what.data(), what.size()),
                      " per user is reached; raise it with: sudo sysctl -w fs.inotify.",
                      absl::string_view(knob.data(), knob.size()), "=", std::max(least, now * 2));
}

absl::Status errno_status(std::string_view root, std::string_view what, int error) {
  const std::string text =
      absl::StrCat("watching \"", absl::string_view(root.data(), root.size()),
                   "\": ", absl::string_view(what.data(), what.size()), ": ", std::strerror(error));
  if (error == ENOENT) return absl::NotFoundError(text);
  if (error == ENOTDIR) return absl::FailedPreconditionError(text);
  if (error == EACCES || error == EPERM) return absl::PermissionDeniedError(text);
  return absl::InternalError(text);
}

}  // namespace

InotifySource::InotifySource(std::string root, Filter filter)
    : root_(std::move(root)), filter_(std::move(filter)) {}
InotifySource::~InotifySource() = default;

absl::StatusOr<std::unique_ptr<InotifySource>> InotifySource::open(std::string_view root,
                                                                   FilterOptions options) {
  const std::string given(root);
  if (!root.starts_with('/')) {
    return absl::InvalidArgumentError(
        absl::StrCat("watching \"", given, "\": pass an absolute path"));
  }
  const std::unique_ptr<char, void (*)(void*)> canonical(::realpath(given.c_str(), nullptr),
                                                         ::free);
  if (canonical == nullptr) return errno_status(given, "open", errno);
  absl::StatusOr<Filter> filter = Filter::open(canonical.get(), std::move(options));
  if (!filter.ok()) return filter.status();
  std::unique_ptr<InotifySource> source(new InotifySource(canonical.get(), *std::move(filter)));
  if (absl::Status status = source->start(); !status.ok()) return status;
  return source;
}

absl::Status InotifySource::start() {
  inotify_ = Fd(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!inotify_) {
    if (errno != EMFILE) return errno_status(root_, "inotify", errno);
    if (Fd spare(::open("/dev/null", O_RDONLY | O_CLOEXEC)); !spare) {
      return absl::ResourceExhaustedError(
          absl::StrCat("watching \"", root_,
                       "\": too many open files in this process; raise it with: ulimit -n"));
    }
    return absl::ResourceExhaustedError(limit_text(root_, "instances", "max_user_instances", 256));
  }
  Fd directory(::open(root_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  struct stat st = {};
  if (!directory || ::fstat(directory.get(), &st) != 0) return errno_status(root_, "open", errno);
  root_device_ = st.st_dev;
  tree_.update(Tree::kRoot, {0, 0, 0, st.st_ino, EntryKind::directory}, false, nullptr);
  struct statfs fs = {};
  if (::fstatfs(directory.get(), &fs) == 0) {
    for (const auto& [magic, name] : kRemoteFileSystems) {
      if (static_cast<long>(fs.f_type) != magic) continue;
      report("", absl::StrCat(absl::string_view(name.data(), name.size()),
                              " file system: changes made by other machines are not seen"));
    }
  }
  if (!add_watch(Tree::kRoot, directory.get())) {
    return status_.ok() ? errno_status(root_, "inotify_add_watch", errno) : status_;
  }
  watch_repository();
  schedule(Tree::kRoot, false);
  return absl::OkStatus();
}

void InotifySource::fail(absl::Status status) {
  if (!status_.ok()) return;
  status_ = std::move(status);
  inotify_.reset();
  scans_.clear();
  scheduled_.clear();
  active_.reset();
  cursor_ = {};
  dirty_.clear();
  dirty_index_.clear();
  moves_.clear();
  wds_.clear();
  rescanning_ = false;
}

void InotifySource::report(std::string path, std::string message) {
  for (const Problem& known : problems_) {
    if (known.path == path && known.message == message) return;
  }
  ++problem_count_;
  if (problems_.size() < kProblemsMax) problems_.push_back({std::move(path), std::move(message)});
}

absl::Status InotifySource::watch_limit_error() const {
  return absl::ResourceExhaustedError(limit_text(root_, "watches", "max_user_watches", 524'288));
}

// False when the directory cannot be watched; then errno says why, and status() whether the whole
// root is lost to a limit.
bool InotifySource::add_watch(NodeId directory, int fd) {
  const std::string link = absl::StrCat("/proc/self/fd/", fd);
  int wd = ::inotify_add_watch(inotify_.get(), link.c_str(), kDirectoryMask);
  if (wd < 0 && errno == ENOENT) {
    const std::string path =
        directory == Tree::kRoot ? root_ : absl::StrCat(root_, "/", tree_.path(directory));
    wd = ::inotify_add_watch(inotify_.get(), path.c_str(), kDirectoryMask | IN_DONT_FOLLOW);
  }
  if (wd < 0) {
    const int error = errno;
    if (error == ENOSPC || error == ENOMEM) fail(watch_limit_error());
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

void InotifySource::drop(NodeId id) {
  if (!tree_.is_directory(id)) return;
  filter_.drop_rules(tree_.path(id));
  const int wd = tree_.tag(id);
  if (wd < 0) return;
  wds_.erase(wd);
  ::inotify_rm_watch(inotify_.get(), wd);
}

bool InotifySource::read_events(size_t budget) {
  bool drained = false;
  while (status_.ok() && budget > 0 && read_once(budget, drained)) {
  }
  if (!status_.ok()) return false;
  finish_reading(drained);
  return status_.ok() && !drained;
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
    if (n < 0 && errno != EAGAIN) fail(errno_status(root_, "inotify read", errno));
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
  if (event.wd == vcs_wd_) {
    vcs_event_ = true;
    if ((event.mask & IN_IGNORED) != 0) vcs_wd_ = -1;
    if ((event.mask & (IN_IGNORED | IN_MOVE_SELF)) != 0) repository_changed_ = true;
    return;
  }
  if (event.wd == ancestor_wd_) {
    ancestor_event_ = true;
    if ((event.mask & IN_IGNORED) != 0) ancestor_wd_ = -1;
    return;
  }
  const auto found = wds_.find(event.wd);
  if (found == wds_.end()) return;
  const NodeRef directory = found->second;
  if ((event.mask & IN_IGNORED) != 0) {
    wds_.erase(found);
    tree_.set_tag(directory.id, -1);
  }
  if (event.len == 0) return handle_self(directory.id, event.mask);
  handle_entry(directory.id, std::string_view(event.name, ::strnlen(event.name, event.len)), event);
}

void InotifySource::handle_self(NodeId directory, uint32_t mask) {
  if ((mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT)) == 0) return;
  if (directory == Tree::kRoot) {
    root_lost_ = true;
  } else {
    mark_dirty(tree_.parent(directory), tree_.name(directory), kChanged | kIsDirectory);
  }
}

void InotifySource::handle_entry(NodeId directory, std::string_view name,
                                 const inotify_event& event) {
  const bool is_directory = (event.mask & IN_ISDIR) != 0;
  if (name == ".git" && directory == Tree::kRoot) repository_changed_ = true;
  if (name == ".gitignore") stale_rules_.insert(directory);
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
    const auto waiting = dirty_index_.find(std::pair(from.directory.id, from.name));
    if (waiting != dirty_index_.end()) carried = waiting->second->hints & kModified;
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

void InotifySource::finish_reading(bool drained) {
  if (drained) {
    // Without its other half it is a move out of what is watched.
    for (const PendingMove& move : std::exchange(moves_, {})) {
      if (tree_.alive(move.directory)) mark_dirty(move.directory.id, move.name, kChanged);
    }
  }
  if (repository_changed_) {
    repository_changed_ = false;
    if (filter_.refresh_repository()) schedule(Tree::kRoot, true);
    watch_repository();
  }
  if (vcs_event_) check_vcs_lock();
  if (root_lost_) lose_root();
  if (root_missing_ && ancestor_event_) regain_root();
  reload_rules();
  verify_dirty();
  if (root_lost_) lose_root();
  if (drained && status_.ok()) drained_at_ = tree_.clock();
}

void InotifySource::on_overflow() {
  suspect_after_ = std::min(suspect_after_, drained_at_);
  if (ready_) gap_ = Gap::overflow;
  vcs_event_ = true;
  repository_changed_ = true;
  ancestor_event_ = true;
  if (root_missing_) return;
  // A scan under way may have passed what the lost events would have told.
  active_.reset();
  scans_.clear();
  scheduled_.clear();
  rescanning_ = ready_;
  for (const auto& [wd, directory] : wds_) stale_rules_.insert(directory.id);
  schedule(Tree::kRoot, true);
}

void InotifySource::watch_repository() {
  const std::optional<GitDirectories>& git = filter_.git();
  const int old = vcs_wd_;
  vcs_wd_ = git ? ::inotify_add_watch(inotify_.get(), git->git_dir.c_str(), kPresenceMask) : -1;
  if (vcs_wd_ < 0 && git && errno == ENOSPC) return fail(watch_limit_error());
  if (old >= 0 && old != vcs_wd_) ::inotify_rm_watch(inotify_.get(), old);
  check_vcs_lock();
}

void InotifySource::check_vcs_lock() {
  vcs_event_ = false;
  const std::optional<GitDirectories>& git = filter_.git();
  vcs_locked_ = git && ::faccessat(AT_FDCWD, absl::StrCat(git->git_dir, "/index.lock").c_str(),
                                   F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

void InotifySource::lose_root() {
  root_lost_ = false;
  if (!status_.ok() || root_missing_) return;
  active_.reset();
  scans_.clear();
  scheduled_.clear();
  dirty_.clear();
  dirty_index_.clear();
  moves_.clear();
  cursor_ = {};
  rescanning_ = false;
  tree_.remove(Tree::kRoot, sink(), [this](NodeId id) { drop(id); });
  drop(Tree::kRoot);
  tree_.set_tag(Tree::kRoot, -1);
  root_missing_ = true;
  ready_ = true;
  regain_root();
}

// Watches the nearest directory above the root that exists, since the root can only come back
// through it.
void InotifySource::watch_ancestor() {
  if (ancestor_wd_ >= 0) ::inotify_rm_watch(inotify_.get(), ancestor_wd_);
  ancestor_wd_ = -1;
  for (std::string at = root_; at.size() > 1 && ancestor_wd_ < 0;) {
    at.resize(std::max<size_t>(at.rfind('/'), 1));
    ancestor_wd_ = ::inotify_add_watch(inotify_.get(), at.c_str(), kPresenceMask);
    if (ancestor_wd_ < 0 && errno == ENOSPC) return fail(watch_limit_error());
  }
}

// The ancestor is watched before the root is looked for, so it cannot come back unseen in between.
bool InotifySource::regain_root() {
  ancestor_event_ = false;
  watch_ancestor();
  if (!status_.ok()) return false;
  Fd directory(::open(root_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat st = {};
  if (!directory || ::fstat(directory.get(), &st) != 0) return false;
  root_device_ = st.st_dev;
  tree_.update(Tree::kRoot, {0, 0, 0, st.st_ino, EntryKind::directory}, false, nullptr);
  if (!add_watch(Tree::kRoot, directory.get())) return false;
  if (ancestor_wd_ >= 0) ::inotify_rm_watch(inotify_.get(), ancestor_wd_);
  ancestor_wd_ = -1;
  root_missing_ = false;
  rescanning_ = true;
  if (gap_ == Gap::none) gap_ = Gap::rescan;
  filter_.refresh_repository();
  watch_repository();
  schedule(Tree::kRoot, true);
  return true;
}

}  // namespace zsync::watching
