#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "watch/source.hpp"

namespace zsync::watching {
namespace {

constexpr int64_t kNanosPerSecond = 1'000'000'000;
// Paths are opened in pieces of this many bytes, because the kernel takes less than PATH_MAX at
// once.
constexpr size_t kPathPieceBytes = PATH_MAX - 256;

int64_t nanoseconds(const struct timespec& t) {
  return static_cast<int64_t>(t.tv_sec) * kNanosPerSecond + t.tv_nsec;
}

EntryState state_of(const struct stat& st) {
  EntryState state{static_cast<uint64_t>(st.st_size), nanoseconds(st.st_mtim),
                   nanoseconds(st.st_ctim), st.st_ino, EntryKind::other};
  if (S_ISREG(st.st_mode)) state.kind = EntryKind::file;
  if (S_ISDIR(st.st_mode)) state.kind = EntryKind::directory;
  if (S_ISLNK(st.st_mode)) state.kind = EntryKind::symlink;
  return state;
}

}  // namespace

Fd Source::open_at_path(const std::string& path, int flags) const {
  const int base = O_DIRECTORY | O_CLOEXEC;
  if (path.empty()) return Fd(::open(root_.c_str(), flags | base));
  std::string rest = absl::StrCat(root_, "/", path);
  Fd at;
  while (rest.size() > kPathPieceBytes) {
    const size_t slash = rest.rfind('/', kPathPieceBytes);
    Fd next(::openat(at ? at.get() : AT_FDCWD, rest.substr(0, slash).c_str(),
                     O_PATH | base | O_NOFOLLOW));
    if (!next) return next;
    at = std::move(next);
    rest.erase(0, slash + 1);
  }
  return Fd(::openat(at ? at.get() : AT_FDCWD, rest.c_str(), flags | base | O_NOFOLLOW));
}

// Nothing when the directory is misplaced. The inode tells, so a symlink or another directory put
// in the way is never taken for it.
Fd Source::open_directory(NodeId directory, int flags) {
  const std::string path = tree_.path(directory);
  Fd fd = open_at_path(path, flags);
  struct stat st = {};
  const int error = fd && ::fstat(fd.get(), &st) == 0 ? 0 : errno;
  if (error == EMFILE || error == ENFILE || error == ENOMEM) {
    fail(absl::ResourceExhaustedError(absl::StrCat("watching \"", root_, "\": open \"", path,
                                                   "\": ", std::strerror(error),
                                                   "; raise ulimit -n")));
    return Fd();
  }
  // It is there, or may be: a server that does not answer takes nothing away.
  if (error != 0 && error != ENOENT && error != ENOTDIR && error != ELOOP) {
    report(path, absl::StrCat("not readable, not watched: ", std::strerror(error)));
    return Fd();
  }
  const bool there = error == 0 && st.st_ino == tree_.state(directory).inode &&
                     (directory != Tree::kRoot || st.st_dev == root_device_);
  if (there) return fd;
  misplaced(directory);
  return Fd();
}

void Source::mark_dirty(NodeId directory, std::string_view name, uint8_t hints) {
  std::pair<NodeId, std::string> key(directory, name);
  const auto found = dirty_index_.find(key);
  if (found != dirty_index_.end()) {
    found->second->hints |= hints;
    found->second->directory = tree_.ref(directory);
    return;
  }
  dirty_.push_back({tree_.ref(directory), key.second, hints});
  dirty_index_.emplace(std::move(key), &dirty_.back());
}

uint8_t Source::waiting_hints(NodeId directory, const std::string& name) const {
  const auto waiting = dirty_index_.find(std::pair(directory, name));
  return waiting == dirty_index_.end() ? uint8_t{0} : waiting->second->hints;
}

void Source::verify_dirty() {
  while (!dirty_.empty() && status_.ok() && !root_lost_) {
    const Dirty dirty = std::move(dirty_.front());
    dirty_index_.erase(std::pair(dirty.directory.id, dirty.name));
    dirty_.pop_front();
    if (tree_.alive(dirty.directory)) verify(dirty);
  }
  cursor_ = {};
}

void Source::verify(const Dirty& dirty) {
  const NodeId directory = dirty.directory.id;
  const NodeId known = tree_.find(directory, dirty.name);
  const bool open = cursor_.fd && cursor_.directory == dirty.directory;
  if (!open) cursor_ = {dirty.directory, Fd(), filter_.scope(tree_.path(directory))};
  const bool kind_known = (dirty.hints & kAnyKind) == 0;
  if (known == kNoNode && kind_known &&
      cursor_.scope.ignored(dirty.name, (dirty.hints & kIsDirectory) != 0)) {
    return;
  }
  if (!open) cursor_.fd = open_directory(directory, O_PATH);
  if (!cursor_.fd) return;
  struct stat st = {};
  if (::fstatat(cursor_.fd.get(), dirty.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0) {
    reconcile(cursor_, dirty.name, st, dirty.hints, (dirty.hints & kNewDirectory) != 0);
  } else if (known != kNoNode && (errno == ENOENT || errno == ENOTDIR)) {
    tree_.remove(known, sink(), [this](NodeId id) { drop(id); });
  }
}

// Makes the Tree's entry what `st` says. `deep`: a directory that is known already is scanned
// again.
void Source::reconcile(Cursor& cursor, std::string_view name, const struct stat& st, uint8_t hints,
                       bool deep) {
  const EntryState state = state_of(st);
  const bool is_directory = state.kind == EntryKind::directory;
  const auto on_drop = [this](NodeId id) { drop(id); };
  NodeId id = tree_.find(cursor.directory.id, name);
  if (cursor.scope.ignored(name, is_directory)) {
    if (id != kNoNode) tree_.forget(id, on_drop);
    return;
  }
  if (id != kNoNode) {
    const EntryState before = tree_.state(id);
    if (before.kind != state.kind || (is_directory && before.inode != state.inode)) {
      tree_.remove(id, sink(), on_drop);
      id = kNoNode;
    }
  }
  if (id == kNoNode) {
    id = tree_.add(cursor.directory.id, name, state, sink());
    if (is_directory) schedule(id, true);
    return;
  }
  const bool suspect =
      rescanning_ && (tree_.changed_at(id) > suspect_after_ || state.ctime_ns >= suspect_ctime_ns_);
  tree_.update(id, state, (hints & kModified) != 0 || suspect, sink());
  if (is_directory && (deep || tree_.tag(id) < 0)) schedule(id, true);
}

void Source::schedule(NodeId directory, bool deep) {
  const auto [at, inserted] =
      scheduled_.try_emplace(std::pair(directory, tree_.ref(directory).generation), deep);
  if (!inserted) {
    at->second |= deep;
    return;
  }
  scans_.push_back({tree_.ref(directory), deep});
}

// Rules come first, since they decide how everything else is seen.
void Source::reload_rules() {
  for (const NodeId directory : std::exchange(stale_rules_, {})) {
    if (!status_.ok() || root_missing_ || tree_.tag(directory) < 0) continue;
    Fd fd = open_directory(directory, O_PATH);
    if (!fd) continue;
    if (filter_.set_rules(tree_.path(directory), read_ignore_file(fd.get(), ".gitignore")))
      schedule(directory, true);
  }
}

bool Source::scan_some(size_t max_entries) {
  size_t seen = 0;
  const bool worked = scanning();
  while (seen < max_entries && status_.ok() && !root_lost_ && scanning()) {
    if (!active_ && !begin_scan()) {
      ++seen;
      continue;
    }
    const size_t listed = list_some();
    seen += listed + 1;
    if (listed == 0) end_scan();
  }
  if (!status_.ok()) return false;
  verify_dirty();
  if (root_lost_) lose_root();
  if (worked && !scanning()) scans_finished();
  return status_.ok() && (scanning() || to_finish());
}

void Source::scans_finished() {
  if (!ready_) {
    ready_ = true;
    changes_.clear();
  }
  rescanning_ = false;
  suspect_after_ = UINT64_MAX;
  suspect_ctime_ns_ = INT64_MAX;
  if (rescan_every_.count() == 0) return;
  next_rescan_ = Clock::now() + rescan_every_;
  // It may have been taken while the scan went on, and nothing else would tell before the next one.
  check_vcs_lock();
}

// Watch first, list afterwards.
bool Source::begin_scan() {
  ScanJob job = scans_.back();
  scans_.pop_back();
  const auto scheduled = scheduled_.find(std::pair(job.directory.id, job.directory.generation));
  if (scheduled != scheduled_.end()) {
    job.deep |= scheduled->second;
    scheduled_.erase(scheduled);
  }
  if (!tree_.alive(job.directory)) return false;
  const NodeId directory = job.directory.id;
  Fd fd = open_directory(directory, O_RDONLY);
  if (!fd) return false;
  if (!watch(directory, fd.get())) {
    if (status_.ok())
      report(tree_.path(directory), absl::StrCat("not watched: ", std::strerror(errno)));
    return false;
  }
  if (filter_.set_rules(tree_.path(directory), read_ignore_file(fd.get(), ".gitignore")))
    job.deep = true;
  active_.emplace(ActiveScan{job, std::move(fd), ++scan_mark_});
  return true;
}

// Entries looked at; 0 at the end of the directory.
size_t Source::list_some() {
  struct Record {
    ino64_t inode;
    off64_t offset;
    unsigned short size;
    unsigned char type;
  };
  alignas(Record) char buffer[kListBufferBytes];
  if (!tree_.alive(active_->job.directory)) return 0;
  const long n = ::syscall(SYS_getdents64, active_->fd.get(), buffer, sizeof buffer);
  if (n <= 0) return 0;
  constexpr size_t kNameOffset = offsetof(Record, type) + 1;
  Cursor cursor{active_->job.directory, Fd(), filter_.scope(tree_.path(active_->job.directory.id))};
  size_t seen = 0;
  for (long at = 0; at < n;) {
    Record record;
    std::memcpy(&record, buffer + at, sizeof record);
    const char* name = buffer + at + kNameOffset;
    at += record.size;
    ++seen;
    if (std::strcmp(name, ".") == 0 || std::strcmp(name, "..") == 0) continue;
    const std::string_view text(name);
    const bool typed = record.type != DT_UNKNOWN;
    const NodeId known = tree_.find(cursor.directory.id, text);
    if (typed && known == kNoNode && cursor.scope.ignored(text, record.type == DT_DIR)) continue;
    struct stat st = {};
    // Gone since it was listed: the end of the scan, or its event, will see to it.
    if (::fstatat(active_->fd.get(), name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
    reconcile(cursor, text, st, 0, active_->job.deep);
    const NodeId now = tree_.find(cursor.directory.id, text);
    if (now != kNoNode) tree_.set_mark(now, active_->mark);
  }
  return seen;
}

// What was not listed is verified, since it may also have been made meanwhile.
void Source::end_scan() {
  const ActiveScan scan = *std::exchange(active_, std::nullopt);
  if (!tree_.alive(scan.job.directory)) return;
  for (const NodeId child : tree_.children(scan.job.directory.id)) {
    if (tree_.mark(child) != scan.mark)
      mark_dirty(scan.job.directory.id, tree_.name(child), kChanged);
  }
}

}  // namespace zsync::watching
