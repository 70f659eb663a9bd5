#include "watch/source.hpp"

#include <fcntl.h>
#include <stdlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "watch/file_system.hpp"

namespace zsync::watching {
namespace {

// Two changes within it may leave the same time on a file: 10 ms at most on Linux, and some more.
constexpr std::chrono::nanoseconds kFileClockTick = std::chrono::milliseconds(15);

// Be it a symlink that leads nowhere.
bool exists(const std::string& path) {
  return ::faccessat(AT_FDCWD, path.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

}  // namespace

absl::Status errno_status(std::string_view root, std::string_view what, int error) {
  const std::string text =
      absl::StrCat("watching \"", absl::string_view(root.data(), root.size()),
                   "\": ", absl::string_view(what.data(), what.size()), ": ", std::strerror(error));
  if (error == ENOENT) return absl::NotFoundError(text);
  if (error == ENOTDIR) return absl::FailedPreconditionError(text);
  if (error == EACCES || error == EPERM) return absl::PermissionDeniedError(text);
  return absl::InternalError(text);
}

absl::StatusOr<Source::Opening> Source::prepare(std::string_view root, FilterOptions options,
                                                const Recall& recall) {
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
  return Opening{canonical.get(), *std::move(filter), recall ? recall() : std::nullopt};
}

Source::Source(Opening opening, std::chrono::nanoseconds rescan_every)
    : filter_(std::move(opening.filter)),
      tree_(opening.known ? std::move(opening.known->tree) : Tree()),
      root_(std::move(opening.root)),
      rescan_every_(rescan_every) {
  if (!opening.known) return;
  ready_ = rescanning_ = true;
  suspect_ctime_ns_ = opening.known->verified_ns - kFileClockTick.count();
  lives_ = std::move(opening.known->lives);
}

Source::Source(Source& failed, std::chrono::nanoseconds rescan_every)
    : filter_(std::move(failed.filter_)),
      tree_(std::move(failed.tree_)),
      root_(std::move(failed.root_)),
      root_device_(failed.root_device_),
      ready_(failed.ready_),
      root_missing_(failed.root_missing_),
      vcs_locked_(failed.vcs_locked_),
      scan_mark_(failed.scan_mark_),
      suspect_after_(std::min(failed.suspect_after_, failed.drained_at_)),
      suspect_ctime_ns_(failed.suspect_ctime_ns_),
      lives_(std::move(failed.lives_)),
      rescan_every_(rescan_every),
      changes_(std::move(failed.changes_)),
      gap_(failed.gap_),
      problems_(std::move(failed.problems_)),
      problem_count_(failed.problem_count_) {
  if (ready_ && gap_ == Gap::none) gap_ = Gap::rescan;
  rescan();
}

Source::~Source() = default;

absl::Status Source::begin() {
  Fd directory(::open(root_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  struct stat st = {};
  if (!directory || ::fstat(directory.get(), &st) != 0) return errno_status(root_, "open", errno);
  root_device_ = st.st_dev;
  tree_.update(Tree::kRoot, {0, 0, 0, st.st_ino, EntryKind::directory}, false, nullptr);
  if (const auto remote = remote_file_system_of(root_); remote && kind() != WatchSource::polling) {
    report("", absl::StrCat(absl::string_view(remote->data(), remote->size()),
                            " file system: changes made by other machines are not seen"));
  }
  if (!watch(Tree::kRoot, directory.get())) {
    return status_.ok() ? errno_status(root_, "watch", errno) : status_;
  }
  watch_repository();
  schedule(Tree::kRoot, false);
  return absl::OkStatus();
}

void Source::forget_work() {
  active_.reset();
  scans_.clear();
  scheduled_.clear();
  dirty_.clear();
  dirty_index_.clear();
  cursor_ = {};
  rescanning_ = false;
}

void Source::fail(absl::Status status) {
  if (!status_.ok()) return;
  status_ = std::move(status);
  forget_work();
  release();
}

void Source::report(std::string path, std::string message) {
  for (const Problem& known : problems_) {
    if (known.path == path && known.message == message) return;
  }
  ++problem_count_;
  if (problems_.size() < kProblemsMax) problems_.push_back({std::move(path), std::move(message)});
}

void Source::drop(NodeId id) {
  if (!tree_.is_directory(id)) return;
  filter_.drop_rules(tree_.path(id));
  if (tree_.tag(id) >= 0) unwatch(id);
}

std::optional<Source::Clock::time_point> Source::due() const {
  if (rescan_every_.count() == 0 || !status_.ok() || scanning()) return std::nullopt;
  return next_rescan_;
}

bool Source::read_events(size_t budget) {
  if (!status_.ok()) return false;
  const bool drained = take_events(budget);
  if (!status_.ok()) return false;
  if (const auto at = due(); at && Clock::now() >= *at) {
    next_rescan_ = Clock::now() + rescan_every_;
    rescan();
  }
  finish_reading(drained);
  return status_.ok() && !drained;
}

void Source::finish_reading(bool drained) {
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

// Something was told outside of read_events, which has to see to it.
bool Source::to_finish() const {
  return repository_changed_ || vcs_event_ || root_lost_ || (root_missing_ && ancestor_event_) ||
         !stale_rules_.empty() || !dirty_.empty();
}

void Source::notice_name(NodeId directory, std::string_view name) {
  if ((name == ".git" || name == ".hg") && directory == Tree::kRoot) repository_changed_ = true;
  if (name == ".gitignore") stale_rules_.insert(directory);
}

void Source::misplaced(NodeId directory) {
  if (directory == Tree::kRoot) {
    root_lost_ = true;
  } else {
    mark_dirty(tree_.parent(directory), tree_.name(directory), kChanged | kIsDirectory);
  }
}

void Source::place_changed(Place place, bool gone) {
  if (place == Place::ancestor) {
    ancestor_event_ = true;
  } else {
    vcs_event_ = true;
    repository_changed_ |= gone;
  }
}

void Source::overflowed() {
  suspect_after_ = std::min(suspect_after_, drained_at_);
  if (ready_) gap_ = Gap::overflow;
  rescan();
}

void Source::rescan() {
  vcs_event_ = true;
  repository_changed_ = true;
  ancestor_event_ = true;
  if (root_missing_ || !status_.ok()) return;
  // A scan under way may have passed what is looked for.
  active_.reset();
  scans_.clear();
  scheduled_.clear();
  rescanning_ = ready_;
  schedule(Tree::kRoot, true);
}

void Source::watch_repository() {
  const std::optional<GitDirectories>& git = filter_.git();
  watch_place(Place::repository, git ? git->git_dir : "");
  if (status_.ok()) watch_place(Place::mercurial, filter_.mercurial());
  if (status_.ok()) check_vcs_lock();
}

void Source::check_vcs_lock() {
  vcs_event_ = false;
  const std::optional<GitDirectories>& git = filter_.git();
  // Mercurial's is a symlink that leads nowhere: it holds the name of the process.
  vcs_locked_ = (git && exists(absl::StrCat(git->git_dir, "/index.lock"))) ||
                (!filter_.mercurial().empty() && exists(filter_.mercurial() + "/wlock"));
}

void Source::lose_root() {
  root_lost_ = false;
  if (!status_.ok() || root_missing_) return;
  forget_work();
  tree_.remove(Tree::kRoot, sink(), [this](NodeId id) { drop(id); });
  drop(Tree::kRoot);
  tree_.set_tag(Tree::kRoot, -1);
  root_missing_ = true;
  ready_ = true;
  regain_root();
}

// Watches the nearest directory above the root that exists, since the root can only come back
// through it.
void Source::watch_ancestor() {
  bool watched = false;
  for (std::string at = root_; at.size() > 1 && !watched && status_.ok();) {
    at.resize(std::max<size_t>(at.rfind('/'), 1));
    watched = watch_place(Place::ancestor, at);
  }
}

// The ancestor is watched before the root is looked for, so it cannot come back unseen in between.
bool Source::regain_root() {
  ancestor_event_ = false;
  watch_ancestor();
  if (!status_.ok()) return false;
  Fd directory(::open(root_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat st = {};
  if (!directory || ::fstat(directory.get(), &st) != 0) return false;
  root_device_ = st.st_dev;
  tree_.update(Tree::kRoot, {0, 0, 0, st.st_ino, EntryKind::directory}, false, nullptr);
  if (!watch(Tree::kRoot, directory.get())) return false;
  watch_place(Place::ancestor, "");
  root_missing_ = false;
  rescanning_ = true;
  if (gap_ == Gap::none) gap_ = Gap::rescan;
  filter_.refresh_repository();
  watch_repository();
  schedule(Tree::kRoot, true);
  return true;
}

}  // namespace zsync::watching
