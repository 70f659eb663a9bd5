// WatchEngine: shared watches of directory trees.
//
// Everybody who watches the same canonical root with the same ignore rules shares one kernel watch
// and one picture of the tree; globs, settling and pace are each subscriber's own.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/store/ulid.hpp"
#include "watch/inotify_hub.hpp"
#include "watch/shared_root.hpp"
#include "zsync/executor.hpp"
#include "zsync/rt/lock.hpp"
#include "zsync/task.hpp"

namespace zsync::daemon {

inline constexpr std::chrono::seconds kRootLinger{5};        // without a subscriber
inline constexpr std::chrono::minutes kRootFailureKept{10};  // in list(), for people who ask why
inline constexpr size_t kSubscriberPathsMax = 200'000;       // owed to a slow subscriber
inline constexpr std::chrono::hours kTreeFileKept{24 * 14};  // without a watch of its root

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
  std::string since;             // clock of an earlier batch, or empty
  bool sync = false;             // the first batch knows of all that was complete before the call
  bool changed_content = false;  // files whose content is as it was when last told are left out
};

// Threads: every member may be called from any thread, subscribe() and stop() in a task.
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

  // Why a root cannot be followed, as the fault of a request's field.
  static absl::Status explained(const absl::Status& status);

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
  void make_room() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  const WatchEngineOptions options_;
  UlidGenerator& ids_;
  rt::Lock lock_;
  // By canonical path and ignore rules.
  std::map<std::string, Root> roots_ ABSL_GUARDED_BY(lock_);
  bool stopping_ ABSL_GUARDED_BY(lock_) = false;
  // Of all roots; null before the first one.
  std::shared_ptr<watching::InotifyHub> hub_ ABSL_GUARDED_BY(lock_);
  Executor followers_;
};

}  // namespace zsync::daemon
