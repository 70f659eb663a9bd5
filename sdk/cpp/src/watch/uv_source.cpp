#include "watch/uv_source.hpp"

#include <uv.h>

#include <cerrno>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "watch/limits.hpp"
#include "zsync/assert.hpp"

namespace zsync::watching {
namespace {

#if defined(__APPLE__) || defined(_WIN32)
constexpr bool kRecursive = true;
#else
constexpr bool kRecursive = false;
#endif

// The last part of the paths that are given to libuv, which it gives back as the name of a
// directory itself: no entry is called so.
constexpr std::string_view kSelf = ".";

}  // namespace

struct UvSource::Eye {
  Eye(UvSource& its_source, NodeRef node) : source(its_source), directory(node) {}
  Eye(UvSource& its_source, Place elsewhere) : source(its_source), place(elsewhere) {}

  static void on_event(uv_fs_event_t* handle, const char* name, int events, int status) {
    Eye& eye = *static_cast<Eye*>(handle->data);
    const bool failed = status != 0;
    eye.source.take_event(eye, failed ? kSelf.data() : name, failed ? UV_RENAME : events);
  }
  // It ends at the next turn of the loop.
  void close() {
    uv_close(reinterpret_cast<uv_handle_t*>(&handle),
             [](uv_handle_t* closed) { delete static_cast<Eye*>(closed->data); });
  }

  uv_fs_event_t handle{};
  UvSource& source;
  const NodeRef directory;
  const std::optional<Place> place;  // outside the Tree
  bool ended = false;                // the kernel has let go of it
};

UvSource::UvSource(Opening opening, std::chrono::nanoseconds rescan_every)
    : Source(std::move(opening), rescan_every) {}

UvSource::~UvSource() { release(); }

absl::StatusOr<std::unique_ptr<UvSource>> UvSource::open(std::string_view root,
                                                         FilterOptions options,
                                                         std::chrono::nanoseconds rescan_every,
                                                         const Recall& recall) {
  absl::StatusOr<Opening> opening = prepare(root, std::move(options), recall);
  if (!opening.ok()) return opening.status();
  std::unique_ptr<UvSource> source(new UvSource(*std::move(opening), rescan_every));
  if (absl::Status status = source->start(); !status.ok()) return status;
  return source;
}

absl::Status UvSource::start() {
  auto loop = std::make_unique<uv_loop_t>();
  if (const int error = uv_loop_init(loop.get()); error != 0) {
    return error == UV_EMFILE ? open_files_error(root())
                              : errno_status(root(), "uv_loop_init", -error);
  }
  loop_ = std::move(loop);
  return begin();
}

int UvSource::fd() const { return loop_ ? uv_backend_fd(loop_.get()) : -1; }

void UvSource::release() {
  if (!loop_) return;
  for (Eye* eye : std::exchange(eyes_, {})) {
    if (eye != nullptr) eye->close();
  }
  free_.clear();
  for (Eye*& place : places_) {
    if (place != nullptr) std::exchange(place, nullptr)->close();
  }
  uv_run(loop_.get(), UV_RUN_DEFAULT);
  const int busy = uv_loop_close(loop_.get());
  ZS_ASSERT(busy == 0, "UvSource: a handle was left in its loop");
  loop_.reset();
}

// Nothing when it cannot be watched; then errno says why.
UvSource::Eye* UvSource::look(std::unique_ptr<Eye> eye, const std::string& path) {
  uv_fs_event_init(loop_.get(), &eye->handle);
  eye->handle.data = eye.get();
  const unsigned flags = kRecursive && eye->directory.id == Tree::kRoot
                             ? static_cast<unsigned>(UV_FS_EVENT_RECURSIVE)
                             : 0U;
  Eye* const opened = eye.release();
  const int error = uv_fs_event_start(&opened->handle, &Eye::on_event, path.c_str(), flags);
  if (error != 0) opened->close();
  // Where the backend is kqueue, libuv tells the kernel only now.
  uv_run(loop_.get(), UV_RUN_NOWAIT);
  if (error == 0) return opened;
  if (error == UV_ENOSPC || error == UV_ENOMEM) fail(watch_limit_error(root()));
  if (error == UV_EMFILE) fail(instance_limit_error(root()));
  errno = -error;
  return nullptr;
}

bool UvSource::watch(NodeId directory, int fd) {
  if (kRecursive && directory != Tree::kRoot && tree_.tag(directory) >= 0) return true;
  Eye* eye = nullptr;
  if (!kRecursive || directory == Tree::kRoot) {
    // By its descriptor it is the right one, whatever stands at its path by now.
    eye = look(std::make_unique<Eye>(*this, tree_.ref(directory)),
               absl::StrCat("/proc/self/fd/", fd, "/."));
    if (eye == nullptr && errno == ENOENT && status().ok()) {
      eye = look(std::make_unique<Eye>(*this, tree_.ref(directory)),
                 absl::StrCat(root(), "/", tree_.path(directory), "/."));
    }
    if (eye == nullptr) return false;
    if (eye->ended) {
      eye->close();
      errno = ENOENT;
      return false;
    }
  }
  // The one before goes last: where both are of the same directory, libuv keeps its watch.
  if (tree_.tag(directory) >= 0) unwatch(directory);
  if (free_.empty()) {
    free_.push_back(static_cast<int32_t>(eyes_.size()));
    eyes_.push_back(nullptr);
  }
  const int32_t place = free_.back();
  free_.pop_back();
  eyes_[static_cast<size_t>(place)] = eye;
  tree_.set_tag(directory, place);
  return true;
}

void UvSource::unwatch(NodeId directory) {
  const int32_t place = tree_.tag(directory);
  if (Eye* eye = std::exchange(eyes_[static_cast<size_t>(place)], nullptr); eye != nullptr)
    eye->close();
  free_.push_back(place);
  tree_.set_tag(directory, -1);
}

bool UvSource::watch_place(Place place, const std::string& path) {
  Eye*& eye = places_[static_cast<size_t>(place)];
  if (eye != nullptr) std::exchange(eye, nullptr)->close();
  if (path.empty()) return false;
  Eye* const opened = look(std::make_unique<Eye>(*this, place), absl::StrCat(path, "/."));
  if (opened != nullptr) eye = opened;
  return opened != nullptr;
}

bool UvSource::take_events(size_t budget) {
  uv_run(loop_.get(), UV_RUN_NOWAIT);
  if (std::exchange(events_, 0) <= kUvEventsTrusted) return true;
  for (const Eye* eye : eyes_) {
    if (eye != nullptr && tree_.alive(eye->directory)) stale_rules(eye->directory.id);
  }
  overflowed();
  return true;
}

// Called by libuv. `name` may be null: something in the directory.
void UvSource::take_event(Eye& eye, const char* name, int events) {
  ++events_;
  const bool self = name != nullptr && name == kSelf;
  // Where the attributes of a directory change, UV_RENAME comes along.
  const bool changed = (events & UV_CHANGE) != 0;
  if (eye.place) return place_changed(*eye.place, self && !changed);
  if (!tree_.alive(eye.directory)) return;
  const NodeId directory = eye.directory.id;
  if (name == nullptr) return schedule(directory, false);
  if (self && changed) return;
  if (self) {
    eye.ended = true;
    if (tree_.tag(directory) >= 0 && directory != Tree::kRoot) unwatch(directory);
    return misplaced(directory);
  }
  const bool attributes = changed && (events & UV_RENAME) != 0;
  const uint8_t hints = attributes ? uint8_t{0} : changed ? kModified : kNewDirectory;
  take_path(directory, name, hints);
}

// Where libuv looks below directories, the path may lead through some that are not known yet.
void UvSource::take_path(NodeId directory, std::string_view path, uint8_t hints) {
  size_t slash = path.find('/');
  while (slash != std::string_view::npos) {
    const NodeId below = tree_.find(directory, path.substr(0, slash));
    if (below == kNoNode || !tree_.is_directory(below)) {
      path = path.substr(0, slash);
      hints = kNewDirectory;
      break;
    }
    directory = below;
    path.remove_prefix(slash + 1);
    slash = path.find('/');
  }
  notice_name(directory, path);
  mark_dirty(directory, path, kChanged | kAnyKind | hints);
}

}  // namespace zsync::watching
