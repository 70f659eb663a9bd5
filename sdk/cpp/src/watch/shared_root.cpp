#include "watch/shared_root.hpp"

#include <fcntl.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "watch/limits.hpp"
#include "watch/poll_source.hpp"
#include "zsync/assert.hpp"
#include "zsync/flow.hpp"
#include "zsync/rt/fd.hpp"
#include "zsync/runtime.hpp"
#include "zsync/timeout.hpp"

namespace zsync::watching {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::milliseconds kSlice{10};  // of work on a thread that may block
constexpr size_t kReduceInPlaceMax = 1'000;      // paths of a batch, about 1 ms
constexpr size_t kAppendInPlaceMax = 64 << 10;   // bytes of a record, about 0.1 ms
// After it a change cannot hide any more behind the time of the one before.
constexpr std::chrono::milliseconds kVerifyAfter{30};

Task<void> changed_from(Notify& notify, uint64_t seen) { co_await notify.changed(seen); }
// Without a descriptor never.
Task<absl::Status> readable_or_never(rt::Fd& events) {
  if (events) co_return co_await events.readable();
  co_await sleep_until(rt::TimePoint::max());
  co_return absl::OkStatus();
}
Task<void> until(rt::TimePoint deadline) { co_await sleep_until(deadline); }

// True: more is to be done.
bool work_for_a_slice(Source& source) {
  const auto end = steady_clock::now() + kSlice;
  bool more = true;
  while (more && steady_clock::now() < end) {
    more = source.read_events();
    more |= source.scan_some();
  }
  return more;
}

}  // namespace

absl::Status check_times(std::chrono::nanoseconds settle, std::chrono::nanoseconds max_wait) {
  if (settle.count() < 0 || settle > kSettleMax) {
    return absl::InvalidArgumentError("settle: give 0 to 60 s");
  }
  if (max_wait.count() < 0 || max_wait > kMaxWaitMax) {
    return absl::InvalidArgumentError("max_wait: give 0 to 10 min");
  }
  return absl::OkStatus();
}

Subscriber::Subscriber(const std::string& instance, SubscriberOptions options)
    : batcher_(
          instance,
          {.settle = options.settle, .max_wait = options.max_wait, .paths_max = options.paths_max},
          std::move(options.globs)),
      paths_max_(options.paths_max),
      since_(std::move(options.since)),
      listing_max_(options.listing_max),
      sync_(options.sync),
      silence_(options.defer, options.drop) {}

Subscription::Subscription(std::shared_ptr<SharedRoot> root, std::shared_ptr<Subscriber> subscriber)
    : root_(std::move(root)), subscriber_(std::move(subscriber)) {}

Subscription& Subscription::operator=(Subscription&& other) noexcept {
  if (this != &other) {
    leave();
    root_ = std::move(other.root_);
    subscriber_ = std::move(other.subscriber_);
  }
  return *this;
}

Subscription::~Subscription() { leave(); }

void Subscription::leave() {
  if (subscriber_) root_->drop(*subscriber_);
  subscriber_.reset();
  root_.reset();
}

Task<absl::StatusOr<Batch>> Subscription::next() {
  absl::StatusOr<Told> told = co_await next_told();
  if (!told.ok()) co_return told.status();
  co_return std::move(told->batch);
}

Task<absl::StatusOr<Told>> Subscription::next_told() {
  const std::shared_ptr<SharedRoot> root = root_;
  const std::shared_ptr<Subscriber> subscriber = subscriber_;
  while (true) {
    const uint64_t seen = subscriber->changed_.epoch();
    SharedRoot::Answer answer = root->ask(*subscriber);
    if (answer.result) co_return *std::move(answer.result);
    if (answer.wake_root) root->wake_.notify_all();
    co_await subscriber->changed_.changed(seen);
  }
}

Listing Subscription::take_listing() {
  rt::LockGuard guard(root_->lock_);
  return std::exchange(subscriber_->listing_, {});
}

const std::string& Subscription::root() const { return root_->path(); }

std::string Subscription::fallback() const { return root_->facts().fallback; }
bool Subscription::settling() const {
  return subscriber_->settling_.load(std::memory_order_relaxed);
}

SharedRoot::SharedRoot(std::unique_ptr<Source> source, std::string instance,
                       std::chrono::nanoseconds linger, std::unique_ptr<TreeFile> file)
    : path_(source->root()),
      instance_(std::move(instance)),
      linger_(linger),
      source_(std::move(source)),
      file_(std::move(file)),
      lives_(source_->lives()),
      first_clock_(source_->tree().clock()) {
  facts_.path = path_;
  facts_.source = source_->kind();
  facts_.fallback = source_->fallback();
}

absl::StatusOr<Subscription> SharedRoot::subscribe(SubscriberOptions options) {
  if (!options.since.empty() && !parse_clock(options.since)) {
    return absl::InvalidArgumentError(
        absl::StrCat("since: \"", options.since,
                     "\" is not a clock; pass the clock of an earlier batch (c:INSTANCE:NUMBER)"));
  }
  auto subscriber = std::make_shared<Subscriber>(instance_, std::move(options));
  {
    rt::LockGuard guard(lock_);
    if (ended_) return absl::UnavailableError(why_ended_.message());
    subscribers_.push_back(subscriber);
  }
  wake_.notify_all();
  return Subscription(shared_from_this(), std::move(subscriber));
}

SharedRoot::Answer SharedRoot::ask(Subscriber& subscriber) {
  rt::LockGuard guard(lock_);
  if (subscriber.ready_) {
    subscriber.wanted_ = false;
    return {std::exchange(subscriber.ready_, std::nullopt), false};
  }
  if (ended_) return {absl::StatusOr<Told>(why_ended_), false};
  return {std::nullopt, !std::exchange(subscriber.wanted_, true)};
}

void SharedRoot::drop(Subscriber& subscriber) {
  {
    rt::LockGuard guard(lock_);
    subscriber.gone_ = true;
  }
  wake_.notify_all();
}

uint64_t SharedRoot::post_state(std::string name, bool entered) {
  uint64_t number = 0;
  {
    rt::LockGuard guard(lock_);
    if (ended_) return posted_number_;
    posted_.push_back({std::move(name), entered});
    number = ++posted_number_;
  }
  wake_.notify_all();
  return number;
}

Task<void> SharedRoot::taken(uint64_t number) {
  while (true) {
    const uint64_t seen = states_taken_.epoch();
    {
      rt::LockGuard guard(lock_);
      if (taken_number_ >= number || ended_) co_return;
    }
    co_await states_taken_.changed(seen);
  }
}

RootFacts SharedRoot::facts() {
  rt::LockGuard guard(lock_);
  RootFacts facts = facts_;
  facts.subscribers = static_cast<size_t>(std::count_if(
      subscribers_.begin(), subscribers_.end(), [](const auto& one) { return !one->gone_; }));
  facts.ended = why_ended_;
  return facts;
}

bool SharedRoot::ended() {
  rt::LockGuard guard(lock_);
  return ended_;
}

Task<void> SharedRoot::run(std::shared_ptr<SharedRoot> self) {
  absl::Status status = absl::CancelledError();
  try {
    status = co_await self->follow();
  } catch (const Cancelled&) {
  }
  if (absl::IsCancelled(status)) {
    status = absl::UnavailableError(absl::StrCat("watching \"", self->path_, "\" was stopped"));
  }
  // Giving back thousands of kernel watches takes a while.
  co_await shield(
      rt::call_blocking([source = std::move(self->source_)]() mutable { source.reset(); }));
  self->end(std::move(status));
}

void SharedRoot::end(absl::Status status) {
  std::vector<std::shared_ptr<Subscriber>> subscribers;
  {
    rt::LockGuard guard(lock_);
    if (!ended_) why_ended_ = std::move(status);
    ended_ = true;
    facts_.directories = 0;
    subscribers.swap(subscribers_);
  }
  for (const auto& subscriber : subscribers) subscriber->changed_.notify_all();
  states_taken_.notify_all();
}

Task<absl::Status> SharedRoot::follow() {
  absl::StatusOr<rt::Fd> events = descriptor_of_source();
  while (true) {
    if (!events.ok()) co_return events.status();
    const uint64_t seen = wake_.epoch();
    const Batcher::Time looked = steady_clock::now();
    greet();
    const bool more = co_await take_in();
    if (!source_->status().ok()) {
      if (!poll_instead()) co_return source_->status();
      events = descriptor_of_source();
      continue;
    }
    co_await remember(!more);  // before anybody is told a clock
    if (!more) apply_states();
    publish();  // so that who has a batch finds its clock in the list
    const bool served = co_await serve(!more, looked);
    if (more || served) {
      co_await yield_now();
      continue;
    }
    co_await write_anew();
    if (lingered_out()) co_return absl::OkStatus();
    const std::optional<Batcher::Time> wake_at = deadline();
    if (wake_at && *wake_at <= steady_clock::now()) continue;
    auto woken = co_await race(readable_or_never(*events), changed_from(wake_, seen),
                               until(wake_at.value_or(rt::TimePoint::max())));
    if (woken.index == 0) {
      const absl::Status& readable = std::get<absl::Status>(woken.value);
      if (!readable.ok()) co_return readable;
    }
  }
}

// A duplicate of the source's descriptor, since the source closes its own when it fails; none
// where it has none.
absl::StatusOr<rt::Fd> SharedRoot::descriptor_of_source() {
  if (source_->fd() < 0) return rt::Fd();
  const int descriptor = ::fcntl(source_->fd(), F_DUPFD_CLOEXEC, 0);
  if (descriptor < 0) return open_files_error(path_);
  return rt::Fd::adopt(descriptor);
}

// True: the source had reached a limit of the system, and one that polls has taken its place.
bool SharedRoot::poll_instead() {
  const std::optional<std::chrono::nanoseconds> interval = source_->polling_allowed();
  if (!interval || !absl::IsResourceExhausted(source_->status())) return false;
  source_ = PollSource::instead_of(std::move(source_), *interval);
  return true;
}

// Who comes after this waits for the next look: for it, events that are read now may be too old.
void SharedRoot::greet() {
  looked_at_ = steady_clock::now();
  looked_ns_ =
      std::chrono::nanoseconds(std::chrono::system_clock::now().time_since_epoch()).count();
  bool compare = false;
  for (const auto& subscriber : present()) {
    subscriber->arrived_ = true;
    compare |= std::exchange(subscriber->sync_, false);
  }
  {
    rt::LockGuard guard(lock_);
    compare |= !posted_.empty();
    std::move(posted_.begin(), posted_.end(), std::back_inserter(states_due_));
    posted_.clear();
    states_number_ = posted_number_;
  }
  // inotify queues an event before the system call that made it returns: to read its queue to the
  // end is the barrier. Elsewhere everything is compared.
  if (compare && source_->kind() != WatchSource::inotify) source_->rescan();
}

// All that was complete before the states were posted is in the Batchers.
void SharedRoot::apply_states() {
  if (states_due_.empty()) return;
  for (const StateNews& change : std::exchange(states_due_, {})) {
    int& held = states_[change.name];
    held += change.entered ? 1 : -1;
    const bool differs = held == (change.entered ? 1 : 0);
    if (held == 0) states_.erase(change.name);
    if (!differs) continue;
    for (const auto& subscriber : present()) {
      if (subscriber->begun_) change_state(*subscriber, change);
    }
  }
  {
    rt::LockGuard guard(lock_);
    taken_number_ = states_number_;
  }
  states_taken_.notify_all();
}

void SharedRoot::change_state(Subscriber& subscriber, const StateNews& change) {
  Silence& silence = subscriber.silence_;
  const bool was_dropping = silence.dropping();
  if (change.entered) {
    if (silence.drops(change.name) && !silence.silent()) subscriber.flush_ = true;
    silence.enter(change.name);
    return;
  }
  silence.leave(change.name);
  // Nothing is owed of what was before: it goes on from here. Else too much is told, not too
  // little.
  const bool owed = subscriber.behind_ || subscriber.flush_ || subscriber.batcher_.paths() > 0;
  if (was_dropping && !silence.dropping() && !owed) subscriber.told_ = source_->tree().clock();
}

// One step -> whether more is waiting. A few events are taken in at once; a scan, or events that
// keep coming, go to where blocking is allowed.
Task<bool> SharedRoot::take_in() {
  bool more = source_->read_events();
  more |= source_->scanning();
  if (more && source_->status().ok()) {
    more =
        co_await rt::call_blocking([source = source_.get()] { return work_for_a_slice(*source); });
  }
  distribute();
  co_return more && source_->status().ok();
}

void SharedRoot::distribute() {
  const std::vector<Change> changes = source_->take_changes();
  const Gap gap = source_->take_gap();
  const uint64_t clock = source_->tree().clock();
  const auto now = steady_clock::now();
  for (const auto& subscriber : present()) {
    Batcher& batcher = subscriber->batcher_;
    batcher.set_vcs_locked(source_->vcs_locked(), now);
    batcher.set_rescanning(source_->rescanning());
    subscriber->known_ = subscriber->arrived_;
    if (!subscriber->begun_ || subscriber->silence_.dropping()) continue;
    batcher.add_gap(gap, clock, now);
    if (subscriber->behind_) continue;
    batcher.add(changes, clock, now);
    subscriber->settling_.store(batcher.paths() > 0, std::memory_order_relaxed);
    const bool asks = wants(*subscriber) && !subscriber->silence_.silent();
    if (batcher.paths() >= subscriber->paths_max_ && !asks) {
      batcher.forget_changes();
      subscriber->behind_ = true;
    }
  }
}

// Appends what changed; and, once the kernel has told of nothing for a while, that it has.
Task<void> SharedRoot::remember(bool caught_up) {
  if (!file_ || !file_->written()) co_return;
  const bool verified = caught_up && verify_at_ && looked_at_ >= *verify_at_;
  if (record_.empty() && !verified) co_return;
  auto append = [this, verified] {
    return file_->append(record_, source_->tree().clock(), verified ? looked_ns_ : 0);
  };
  const absl::Status appended = record_.size() <= kAppendInPlaceMax
                                    ? append()
                                    : co_await rt::call_blocking(std::move(append));
  if (!appended.ok()) co_return forget_history(appended);
  if (!record_.empty()) written_at_ = steady_clock::now();
  record_.clear();
  if (verified || !verify_at_) verify_later();
}

// Nothing that was written less than kVerifyAfter before a look is verified by it.
void SharedRoot::verify_later() {
  const Batcher::Time at = written_at_ + kVerifyAfter;
  verify_at_ = looked_at_ < at ? std::optional(at) : std::nullopt;
}

// The snapshot, when the tree is known and nothing else is to be done.
Task<void> SharedRoot::write_anew() {
  if (!file_ || !source_->ready() || (file_->written() && !file_->grown())) co_return;
  const absl::Status written = co_await rt::call_blocking([this] {
    std::vector<TreeLife> lives = lives_;
    lives.push_back({instance_, first_clock_, source_->tree().clock()});
    return file_->write(source_->tree(), lives, looked_ns_);
  });
  if (!written.ok()) co_return forget_history(written);
  record_.clear();
  source_->record_to(&record_);
  written_at_ = steady_clock::now();
  verify_later();
}

// The watch itself goes on.
void SharedRoot::forget_history(const absl::Status& why) {
  source_->record_to(nullptr);
  record_.clear();
  verify_at_.reset();
  file_->discard();
  file_.reset();
  rt::LockGuard guard(lock_);
  facts_.forgetful = absl::StrCat("clocks will not outlive the daemon: ", why.message());
}

// Gives every subscriber that asks what is due for it -> whether anything was given. Due is what
// had settled when the source was last looked at: what happened since is not known here, however
// late it is by now.
Task<bool> SharedRoot::serve(bool caught_up, Batcher::Time looked) {
  bool served = false;
  for (const std::shared_ptr<Subscriber>& subscriber : present()) {
    if (!wants(*subscriber)) continue;
    const std::optional<Batcher::Time> since = subscriber->batcher_.since();
    std::optional<Told> told = co_await told_for(*subscriber, caught_up, looked);
    subscriber->settling_.store(subscriber->batcher_.paths() > 0, std::memory_order_relaxed);
    if (!told) continue;
    if (!told->state) told->first_change = since;
    deliver(*subscriber, *std::move(told));
    served = true;
  }
  co_return served;
}

Task<std::optional<Told>> SharedRoot::told_for(Subscriber& subscriber, bool caught_up,
                                               Batcher::Time looked) {
  std::optional<Batch> batch;
  if (subscriber.begun_) {
    if (std::exchange(subscriber.flush_, false))
      batch = co_await reduce(subscriber, subscriber.batcher_.collect_all());
    if (batch) co_return Told{*std::move(batch), std::nullopt};
    if (std::optional<StateNews> news = subscriber.silence_.take_news()) {
      Batch clock;
      clock.clock = format_clock(instance_, subscriber.told_);
      co_return Told{std::move(clock), *std::move(news)};
    }
    if (subscriber.silence_.silent()) co_return std::nullopt;
  }
  batch = co_await batch_for(subscriber, caught_up, looked);
  if (!batch) co_return std::nullopt;
  co_return Told{*std::move(batch), std::nullopt};
}

Task<std::optional<Batch>> SharedRoot::batch_for(Subscriber& subscriber, bool caught_up,
                                                 Batcher::Time looked) {
  if (!subscriber.begun_) {
    if (!subscriber.known_ || !caught_up || !source_->ready()) co_return std::nullopt;
    subscriber.begun_ = true;
    for (const auto& [name, times] : states_) subscriber.silence_.enter(name);
    if (subscriber.listing_max_ > 0 && source_->kind() == WatchSource::inotify) {
      Listing listing =
          co_await rt::call_blocking([this, &subscriber] { return list_files(subscriber); });
      rt::LockGuard guard(lock_);
      subscriber.listing_ = std::move(listing);
    }
    co_return co_await difference(subscriber, subscriber.since_);
  }
  if (subscriber.behind_) {
    if (!caught_up) co_return std::nullopt;
    subscriber.behind_ = false;
    const std::string told = format_clock(instance_, subscriber.told_);
    std::optional<Batch> owed = co_await difference(subscriber, told);
    const std::optional<Collected> gap = subscriber.batcher_.collect_all();
    if (gap) owed->gap = gap->gap();
    co_return owed->changes.empty() && owed->gap == Gap::none ? std::nullopt : std::move(owed);
  }
  co_return co_await reduce(subscriber, subscriber.batcher_.collect(looked));
}

Task<std::optional<Batch>> SharedRoot::reduce(Subscriber& subscriber,
                                              std::optional<Collected> collected) {
  if (!collected) co_return std::nullopt;
  subscriber.told_ = collected->clock();
  if (collected->paths() <= kReduceInPlaceMax) co_return std::move(*collected).reduce();
  co_return co_await rt::call_blocking(
      [kept = *std::move(collected)]() mutable { return std::move(kept).reduce(); });
}

Listing SharedRoot::list_files(const Subscriber& subscriber) const {
  Batch all;
  all.changes = source_->tree().everything();
  Listing listing{narrow(std::move(all), subscriber.batcher_.globs()).changes, looked_ns_};
  std::erase_if(listing.files, [](const Change& entry) { return entry.is_directory; });
  if (listing.files.size() > subscriber.listing_max_) listing.files.resize(subscriber.listing_max_);
  return listing;
}

// What differs from the moment `since`, and the clock of now.
Task<std::optional<Batch>> SharedRoot::difference(Subscriber& subscriber, std::string since) {
  subscriber.told_ = source_->tree().clock();
  const bool quick = since.empty();
  auto answer = [this, &subscriber, since = std::move(since)]() -> std::optional<Batch> {
    absl::StatusOr<Batch> batch = answer_since(source_->tree(), instance_, since, lives_);
    ZS_ASSERT(batch.ok(), "a subscription whose clock was not checked");
    return narrow(*std::move(batch), subscriber.batcher_.globs());
  };
  if (quick) co_return answer();
  co_return co_await rt::call_blocking(std::move(answer));
}

bool SharedRoot::wants(const Subscriber& subscriber) {
  rt::LockGuard guard(lock_);
  return subscriber.wanted_ && !subscriber.gone_ && !subscriber.ready_;
}

void SharedRoot::deliver(Subscriber& subscriber, Told told) {
  {
    rt::LockGuard guard(lock_);
    subscriber.ready_ = std::move(told);
  }
  subscriber.changed_.notify_all();
}

std::vector<std::shared_ptr<Subscriber>> SharedRoot::present() {
  rt::LockGuard guard(lock_);
  std::erase_if(subscribers_, [](const auto& subscriber) { return subscriber->gone_; });
  return subscribers_;
}

std::optional<Batcher::Time> SharedRoot::deadline() {
  std::optional<Batcher::Time> earliest = source_->due();
  const auto sooner = [&earliest](Batcher::Time at) {
    earliest = earliest ? std::min(*earliest, at) : at;
  };
  if (alone_since_) sooner(*alone_since_ + linger_);
  if (verify_at_) sooner(*verify_at_);
  for (const auto& subscriber : present()) {
    if (!subscriber->begun_ || !wants(*subscriber)) continue;
    const std::optional<Batcher::Time> due = due_of(*subscriber);
    if (due) sooner(*due);
  }
  return earliest;
}

std::optional<Batcher::Time> SharedRoot::due_of(const Subscriber& subscriber) {
  if (subscriber.flush_ || subscriber.silence_.has_news()) return Batcher::Time();
  if (subscriber.silence_.silent()) return std::nullopt;
  return subscriber.behind_ ? Batcher::Time() : subscriber.batcher_.deadline();
}

bool SharedRoot::lingered_out() {
  const auto now = steady_clock::now();
  rt::LockGuard guard(lock_);
  const bool alone = std::all_of(subscribers_.begin(), subscribers_.end(),
                                 [](const auto& subscriber) { return subscriber->gone_; });
  if (!alone) {
    alone_since_.reset();
    return false;
  }
  if (!alone_since_) alone_since_ = now;
  if (now < *alone_since_ + linger_) return false;
  ended_ = true;
  why_ended_ = absl::OkStatus();
  return true;
}

void SharedRoot::publish() {
  const Tree& tree = source_->tree();
  const uint64_t files = tree.entries() - (tree.directories() - 1);
  const std::string clock = format_clock(instance_, tree.clock());
  std::map<std::string, Silent> silent;
  for (const auto& subscriber : present()) {
    for (const std::string& name : subscriber->silence_.held()) {
      ++(subscriber->silence_.drops(name) ? silent[name].dropping : silent[name].deferring);
    }
  }
  rt::LockGuard guard(lock_);
  facts_.silent = std::move(silent);
  facts_.vcs_locked = source_->vcs_locked();
  facts_.directories = source_->watches();
  facts_.files = files;
  facts_.clock = clock;
  facts_.missing = source_->root_missing();
  facts_.source = source_->kind();
  if (facts_.fallback != source_->fallback()) facts_.fallback = source_->fallback();
}

}  // namespace zsync::watching
