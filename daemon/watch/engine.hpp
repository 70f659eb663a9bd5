// WatchEngine: shared watches of directory trees.
//
// Everybody who watches the same canonical root with the same ignore rules shares one kernel watch
// and one picture of the tree; globs, settling and pace are each subscriber's own.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/store/ulid.hpp"
#include "watch/content.hpp"
#include "watch/inotify_hub.hpp"
#include "watch/shared_root.hpp"
#include "zsync/executor.hpp"
#include "zsync/notify.hpp"
#include "zsync/rt/lock.hpp"
#include "zsync/task.hpp"

namespace zsync::daemon {

inline constexpr std::chrono::seconds kRootLinger{5};        // without a subscriber
inline constexpr std::chrono::minutes kRootFailureKept{10};  // in list(), for people who ask why
inline constexpr size_t kSubscriberPathsMax = 200'000;       // owed to a slow subscriber
inline constexpr std::chrono::hours kTreeFileKept{24 * 14};  // without a watch of its root

inline constexpr size_t kStatesMax = 256;  // held at a time
inline constexpr size_t kStateNameBytesMax = 128;
inline constexpr size_t kFilterStatesMax = 16;  // of one subscription

struct WatchEngineOptions {
  size_t roots_max = 256;
  std::chrono::nanoseconds linger = kRootLinger;
  size_t subscriber_paths_max = kSubscriberPathsMax;
  std::string state_dir;  // where what is known of trees outlives the daemon; empty: nowhere
};

struct WatchRequest {
  std::string path;  // absolute
  std::vector<std::string> globs;
  std::vector<std::string> ignore;  // .gitignore syntax
  bool gitignore = true;
  std::chrono::nanoseconds settle = watching::kSettle;
  std::chrono::nanoseconds max_wait = watching::kMaxWait;
  std::vector<std::string> defer;  // states during which nothing is told until they are left,
  std::vector<std::string> drop;   // and those during which changes are never told
  std::string since;               // clock of an earlier batch, or empty
  bool sync = false;               // the first batch knows of all that was complete before the call
  bool changed_content = false;    // files whose content is as it was when last told are left out
};

struct StateRequest {
  std::string path;  // absolute
  std::string name;
  int32_t pid = 0;  // of who asks
  int64_t now_unix_nano = 0;
};

// A state that somebody holds.
struct StateFacts {
  std::string path;  // canonical
  std::string name;
  uint32_t holders = 0;
  int32_t pid = 0;  // of the first
  int64_t since_unix_nano = 0;
  uint32_t silent = 0;  // subscriptions that are silent because of it
};

class EventLog;
class WatchEngine;

// One holder's part of a state: the state is left when the last part is gone.
//
// Lifetime: ends before the engine does.
class StateHold {
 public:
  StateHold(WatchEngine& engine, std::string id, std::string path, std::shared_ptr<Notify> left)
      : engine_(&engine), id_(std::move(id)), path_(std::move(path)), left_(std::move(left)) {}
  StateHold(StateHold&& other) noexcept
      : engine_(std::exchange(other.engine_, nullptr)),
        id_(std::move(other.id_)),
        path_(std::move(other.path_)),
        left_(std::move(other.left_)) {}
  StateHold& operator=(StateHold&&) = delete;
  ~StateHold();

  [[nodiscard]] const std::string& id() const { return id_; }
  [[nodiscard]] const std::string& path() const { return path_; }
  // Completes when leave_state() has ended it. Cancel: throws Cancelled.
  Task<void> left() { co_await left_->changed(0); }

 private:
  WatchEngine* engine_;
  std::string id_;
  std::string path_;
  std::shared_ptr<Notify> left_;
};

// Threads: every member may be called from any thread, those that are tasks in one.
class WatchEngine {
 public:
  // `ids` name the lives of roots, so that a clock of an earlier life is recognised.
  WatchEngine(WatchEngineOptions options, UlidGenerator& ids);

  // The subscription's first batch comes when the tree has been read: it tells the clock, with the
  // changes since `since`, or every entry and `fresh` when that history is unknown. When the root
  // is deleted its entries are reported so, and the subscription waits until the root is back (then
  // gap `rescan`). A root that cannot be followed any longer ends its subscriptions with the reason
  // and is tried again by the next subscribe; other roots go on.
  //
  // Errors: faults that name the field: kInvalidArgument, kNotFound, kFailedPrecondition (not a
  //         directory), kPermissionDenied, kResourceExhausted (roots_max, limits of the system with
  //         the line that raises them); kUnavailable while the daemon stops.
  Task<absl::StatusOr<watching::Subscription>> subscribe(WatchRequest request);

  // Enters a state of a directory, for it and all below. Completes once it is in force: subscribers
  // that drop have what was complete before the call, and get nothing of what comes after it.
  //
  // Errors: as subscribe() for the path; faults that name the field: kInvalidArgument (name),
  //         kResourceExhausted (states_max).
  // Cancel: the state is left.
  Task<absl::StatusOr<StateHold>> hold_state(StateRequest request);
  // Leaves it before the StateHold of that id ends; completes once that is in force: subscribers
  // that drop get what changes from then on.
  //
  // Errors: kNotFound. Cancel: it is left all the same.
  Task<absl::Status> leave_state(std::string hold);
  // In the order of their paths.
  std::vector<StateFacts> states();

  // Why a root cannot be followed, as the fault of a request's field.
  static absl::Status explained(const absl::Status& status);

  // An id for something that a batch causes to be told.
  std::string new_id() { return ids_.next(); }
  // In the order of their paths, with those that failed lately and why.
  std::vector<watching::RootFacts> list();
  size_t roots();
  // Kernel watches held: one a directory, whoever watches it.
  uint64_t directories();
  // What the subscribers would hold if each watched by itself.
  uint64_t unshared();

  // Ends every subscription with kUnavailable and gives all watches back. Idempotent.
  Task<void> stop();

 private:
  struct Root {
    std::shared_ptr<watching::SharedRoot> shared;
    std::chrono::steady_clock::time_point failed_at;  // once it has ended
  };

  absl::StatusOr<watching::Subscription> try_join(const std::string& key,
                                                  watching::SubscriberOptions options);
  absl::StatusOr<watching::Subscription> join(const std::string& key,
                                              watching::SubscriberOptions options)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  struct Opened {
    absl::StatusOr<std::unique_ptr<watching::Source>> source;
    std::unique_ptr<watching::TreeFile> file;
  };
  Opened open(const std::string& key, const std::string& path, watching::FilterOptions filter,
              std::shared_ptr<watching::InotifyHub> hub);
  std::shared_ptr<watching::InotifyHub> hub();
  absl::StatusOr<watching::Subscription> add(const std::string& key, Opened opened,
                                             watching::SubscriberOptions options);
  static Task<void> follow(WatchEngine* self, std::string key,
                           std::shared_ptr<watching::SharedRoot> root);
  void forget(const std::string& key, const std::shared_ptr<watching::SharedRoot>& root);
  friend class StateHold;
  struct State {
    uint32_t holders = 0;
    int32_t pid = 0;
    int64_t since_unix_nano = 0;
  };
  using Posted = std::vector<std::pair<std::shared_ptr<watching::SharedRoot>, uint64_t>>;
  Posted post(const std::string& path, const std::string& name, bool entered)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  absl::StatusOr<Posted> enter(const std::string& path, const StateRequest& request);
  // nullopt: it has been left already.
  std::optional<Posted> leave(const std::string& hold);
  void make_room() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  const WatchEngineOptions options_;
  UlidGenerator& ids_;
  rt::Lock lock_;
  // By canonical path and ignore rules.
  std::map<std::string, Root> roots_ ABSL_GUARDED_BY(lock_);
  // By canonical path and name.
  std::map<std::pair<std::string, std::string>, State> states_ ABSL_GUARDED_BY(lock_);
  struct Hold {
    std::string path;
    std::string name;
    std::shared_ptr<Notify> left;
  };
  std::map<std::string, Hold> holds_ ABSL_GUARDED_BY(lock_);  // by id
  bool stopping_ ABSL_GUARDED_BY(lock_) = false;
  // Of all roots; null before the first one.
  std::shared_ptr<watching::InotifyHub> hub_ ABSL_GUARDED_BY(lock_);
  Executor followers_;
};

// What one client gets of a subscription: the subscription tells what differs in the tree, the feed
// leaves out what the client asked not to hear of.
//
// Lifetime: the engine outlives it.
// Threads:  used by one task at a time.
class WatchFeed {
 public:
  // Errors: those of WatchEngine::subscribe.
  static Task<absl::StatusOr<WatchFeed>> open(WatchEngine& engine, WatchRequest request);

  // The next batch that says something, or state that was entered or left. The first one tells the
  // clock; with `changed_content` it comes once the files that are there have been read.
  //
  // Errors: as of Subscription::next. Cancel: throws Cancelled.
  Task<absl::StatusOr<watching::Told>> next();

  [[nodiscard]] std::string fallback() const { return subscription_.fallback(); }
  // Something has changed and is not quiet yet, or not looked at. Threads: any.
  [[nodiscard]] bool settling() const { return taken_->load() || subscription_.settling(); }

 private:
  explicit WatchFeed(watching::Subscription subscription)
      : subscription_(std::move(subscription)) {}
  Task<void> learn();
  Task<void> leave_out(WatchBatch& batch);

  watching::Subscription subscription_;
  std::unique_ptr<watching::ContentFilter> content_;  // null: everything is told
  // A batch was taken, and who asked for it does not ask for the next one yet.
  std::unique_ptr<std::atomic<bool>> taken_ = std::make_unique<std::atomic<bool>>(false);
  bool begun_ = false;  // the first batch was given
};

// Tells the time in which a batch settled as `watch.settled`, in the caller's trace where it has
// one. -> the traceparent for what the batch causes; empty where nobody saw its first change come.
std::string tell_settled(WatchEngine& engine, EventLog& events, const std::string& path,
                         const watching::Told& told, const std::string& caller_traceparent);

}  // namespace zsync::daemon
