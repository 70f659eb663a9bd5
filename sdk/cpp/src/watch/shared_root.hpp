// SharedRoot: one watched tree for any number of subscribers.
//
// One task owns the source and every Batcher; subscribers and it meet in a slot for one batch each.
// A batch leaves its Batcher only when its subscriber asks for one, so what a slow subscriber is
// owed is reduced in its Batcher. Whatever may take longer than a few milliseconds runs on the
// threads that may block.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "watch/batcher.hpp"
#include "watch/glob.hpp"
#include "watch/silence.hpp"
#include "watch/source.hpp"
#include "zsync/notify.hpp"
#include "zsync/rt/fd.hpp"
#include "zsync/rt/lock.hpp"
#include "zsync/task.hpp"

namespace zsync::watching {

inline constexpr std::chrono::seconds kSettleMax{60};
inline constexpr std::chrono::minutes kMaxWaitMax{10};

struct SubscriberOptions {
  GlobSet globs;
  std::chrono::nanoseconds settle = kSettle;
  std::chrono::nanoseconds max_wait = kMaxWait;
  std::string since;                  // a clock, or empty
  size_t paths_max = kBatchPathsMax;  // owed to a subscriber that does not ask
  // The first batch knows of every change that was complete before subscribe() was called, also
  // where that takes a look at every entry.
  bool sync = false;
  // So many files, as they are known when the first batch is given, come with it.
  size_t listing_max = 0;
  // States of the root (SharedRoot::post_state) that make it silent.
  std::vector<std::string> defer;
  std::vector<std::string> drop;
};

// What a subscriber is told: a batch, or that a state was entered or left. With a state the batch
// is only the clock up to which everything was told.
struct Told {
  Batch batch;
  std::optional<StateNews> state;
  // When the first of its changes came; nullopt: before anybody looked.
  std::optional<Batcher::Time> first_change = std::nullopt;
};

// Subscribers that are silent because of a state.
struct Silent {
  size_t deferring = 0;
  size_t dropping = 0;
};

// Files as the tree knew them, selected by a subscriber's globs.
struct Listing {
  std::vector<Change> files;
  int64_t looked_ns = 0;  // Unix time of the look; what changed later will be told
};

// kInvalidArgument naming "settle" or "max_wait" when one is negative or beyond its limit.
absl::Status check_times(std::chrono::nanoseconds settle, std::chrono::nanoseconds max_wait);

struct RootFacts {
  std::string path;  // canonical
  size_t subscribers = 0;
  uint64_t directories = 0;  // kernel watches held
  uint64_t files = 0;
  std::string clock;
  bool missing = false;                         // deleted; it is watched again when it is back
  WatchSource source = WatchSource::automatic;  // what is at work
  std::string fallback;  // why it is not a better one; empty when it is the best
  std::string
      forgetful;  // why its clocks are not kept on disk; empty when they are, or shall not be
  std::map<std::string, Silent> silent;  // by state
  bool vcs_locked = false;               // git or Mercurial holds its lock
  absl::Status ended;                    // why it is not followed any more, while ended() is true
};

class SharedRoot;

// What a root and one subscriber share.
class Subscriber {
 public:
  Subscriber(const std::string& instance, SubscriberOptions options);

 private:
  friend class SharedRoot;
  friend class Subscription;

  // Used by the root's task only.
  Batcher batcher_;
  const size_t paths_max_;
  const std::string since_;
  const size_t listing_max_;
  bool sync_ = false;     // a look at everything is owed to it
  bool arrived_ = false;  // it was there when the source was looked at
  bool known_ = false;    // events were read after it came
  bool begun_ = false;    // the first batch was given
  uint64_t told_ = 0;     // the clock up to which it knows everything
  Silence silence_;
  bool flush_ = false;   // what came before a state that drops is due
  bool behind_ = false;  // the Batcher was emptied: the difference since told_ is owed

  std::atomic<bool> settling_{false};  // the Batcher holds something

  Notify changed_;
  // Guarded by SharedRoot::lock_.
  bool wanted_ = false;
  bool gone_ = false;
  std::optional<Told> ready_;
  Listing listing_;
};

// Lifetime: the root drops a subscriber when its Subscription is destroyed.
// Threads:  used by one task at a time.
class Subscription {
 public:
  Subscription(std::shared_ptr<SharedRoot> root, std::shared_ptr<Subscriber> subscriber);
  Subscription(Subscription&&) noexcept = default;
  Subscription& operator=(Subscription&&) noexcept;
  ~Subscription();

  // The first batch tells the clock at which the subscription begins, with the changes since
  // `since`.
  //
  // Errors:  why the root is not followed any more. Cancel: throws Cancelled; nothing is lost.
  Task<absl::StatusOr<Told>> next_told();
  // The same for who named no states.
  Task<absl::StatusOr<Batch>> next();

  // After the first batch: what was asked for with listing_max; nothing of a tree that is polled,
  // where nobody knows when a file was looked at.
  [[nodiscard]] Listing take_listing();
  [[nodiscard]] const std::string& root() const;  // canonical
  // Why the tree is polled and what would change that; empty while the kernel tells.
  [[nodiscard]] std::string fallback() const;
  // Something has changed that no batch has told yet. Threads: any.
  [[nodiscard]] bool settling() const;

 private:
  void leave();

  std::shared_ptr<SharedRoot> root_;
  std::shared_ptr<Subscriber> subscriber_;
};

// Threads: every member may be called from any thread, run() once.
class SharedRoot : public std::enable_shared_from_this<SharedRoot> {
 public:
  // `linger`: how long it is followed without a subscriber. `file`: where its clocks are kept, if
  // anywhere.
  SharedRoot(std::unique_ptr<Source> source, std::string instance, std::chrono::nanoseconds linger,
             std::unique_ptr<TreeFile> file = nullptr);

  // Errors: kInvalidArgument when `since` is no clock; kUnavailable when the root has ended.
  absl::StatusOr<Subscription> subscribe(SubscriberOptions options);

  // Follows the tree until it has lingered without a subscriber, or cannot be followed. Whatever
  // ends it is told to the subscribers.
  //
  // Cancel: subscribers get kUnavailable.
  static Task<void> run(std::shared_ptr<SharedRoot> self);

  // A state that covers the root was entered, or left -> a number for taken(). Who entered it more
  // than once leaves it as often.
  uint64_t post_state(std::string name, bool entered);
  // Completes once that is in force: subscribers that drop changes get those that were complete
  // before post_state(), and none after it.
  Task<void> taken(uint64_t number);

  RootFacts facts();
  bool ended();
  const std::string& path() const { return path_; }

 private:
  friend class Subscription;

  Task<absl::Status> follow();
  absl::StatusOr<rt::Fd> descriptor_of_source();
  bool poll_instead();
  void greet();
  Task<bool> take_in();
  Task<void> remember(bool caught_up);
  void verify_later();
  Task<void> write_anew();
  void forget_history(const absl::Status& why);
  void distribute();
  Task<bool> serve(bool caught_up, Batcher::Time looked);
  Task<std::optional<Told>> told_for(Subscriber& subscriber, bool caught_up, Batcher::Time looked);
  Task<std::optional<Batch>> batch_for(Subscriber& subscriber, bool caught_up,
                                       Batcher::Time looked);
  Task<std::optional<Batch>> reduce(Subscriber& subscriber, std::optional<Collected> collected);
  void apply_states();
  void change_state(Subscriber& subscriber, const StateNews& change);
  static std::optional<Batcher::Time> due_of(const Subscriber& subscriber);
  Task<std::optional<Batch>> difference(Subscriber& subscriber, std::string since);
  Listing list_files(const Subscriber& subscriber) const;
  bool wants(const Subscriber& subscriber);
  void deliver(Subscriber& subscriber, Told told);
  std::vector<std::shared_ptr<Subscriber>> present();
  std::optional<Batcher::Time> deadline();
  bool lingered_out();
  void publish();
  void end(absl::Status status);

  struct Answer {
    std::optional<absl::StatusOr<Told>> result;
    bool wake_root = false;
  };
  Answer ask(Subscriber& subscriber);
  void drop(Subscriber& subscriber);

  const std::string path_;
  const std::string instance_;
  const std::chrono::nanoseconds linger_;
  std::unique_ptr<Source> source_;            // of run()
  std::optional<Batcher::Time> alone_since_;  // of run()
  Notify wake_;                               // a subscriber came, went or asked

  // Of run(): what is on disk. record_ holds what the Tree has recorded since the last append.
  std::unique_ptr<TreeFile> file_;
  const std::vector<TreeLife> lives_;  // earlier ones
  const uint64_t first_clock_;
  std::string record_;
  Batcher::Time looked_at_;                 // when the source was last looked at
  int64_t looked_ns_ = 0;                   // the same as Unix time
  Batcher::Time written_at_;                // the last change
  std::optional<Batcher::Time> verify_at_;  // something was written and not verified since

  // Of run(): states that are held, and how often; those that were posted before the latest look.
  std::map<std::string, int> states_;
  std::vector<StateNews> states_due_;
  uint64_t states_number_ = 0;  // of the last one in states_due_

  Notify states_taken_;
  rt::Lock lock_;
  std::vector<StateNews> posted_ ABSL_GUARDED_BY(lock_);
  uint64_t posted_number_ ABSL_GUARDED_BY(lock_) = 0;
  uint64_t taken_number_ ABSL_GUARDED_BY(lock_) = 0;
  std::vector<std::shared_ptr<Subscriber>> subscribers_ ABSL_GUARDED_BY(lock_);
  bool ended_ ABSL_GUARDED_BY(lock_) = false;
  absl::Status why_ended_ ABSL_GUARDED_BY(lock_);
  RootFacts facts_ ABSL_GUARDED_BY(lock_);
};

}  // namespace zsync::watching
