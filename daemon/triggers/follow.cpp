// What one trigger does: its feed, its decisions, its runs.
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "daemon/fault/fault.hpp"
#include "daemon/triggers/engine.hpp"
#include "watch/content.hpp"
#include "zsync/flow.hpp"
#include "zsync/runtime.hpp"
#include "zsync/timeout.hpp"

namespace zsync::daemon {
namespace {

using std::chrono::steady_clock;
using TriggerDecision = watching::Trigger::Decision;
using Action = TriggerDecision::Action;

constexpr std::chrono::milliseconds kStorePause{1000};  // before the disk is tried again
constexpr std::chrono::milliseconds kRootPause{250};    // before the directory is; doubled
constexpr std::chrono::seconds kRootPauseMax{10};
// Between two looks for quiet, at least: what goes on changing must not keep its worker busy.
constexpr std::chrono::nanoseconds kQuietMin = std::chrono::milliseconds(10);
constexpr size_t kToldMax = 1;         // batches that nobody has looked at; more stay in the watch
constexpr size_t kKeptMax = 100'000;   // paths that changed during a run; likewise
constexpr size_t kEventPathsMax = 10;  // that an event names

std::vector<std::string> first_of(const std::vector<std::string>& paths, size_t count) {
  return {paths.begin(), paths.begin() + static_cast<ptrdiff_t>(std::min(count, paths.size()))};
}

std::vector<std::string> files_of(const WatchBatch& batch) {
  std::vector<std::string> paths;
  for (const FileChange& change : batch.changes) {
    if (change.is_directory) continue;
    paths.push_back(change.path);
    if (!change.renamed_from.empty()) paths.push_back(change.renamed_from);
  }
  return paths;
}

bool is_directory(const std::string& path) {
  struct stat st = {};
  return ::stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
}

// How the task of a run ended; nullopt: it is not there any more.
void note_end(TriggerRecord& record, const std::optional<TaskRecord>& task, int64_t now) {
  TriggerRun& run = record.last;
  run.ended_unix_nano = now;
  run.reason = task ? task->reason : "its task is gone";
  if (!task) return;
  run.state = task->state;
  run.exit_code = task->exit_code;
  if (task->finished_unix_nano != 0) run.ended_unix_nano = task->finished_unix_nano;
}

}  // namespace

struct TriggersEngine::Following {
  std::unique_ptr<watching::Trigger> machine;
  std::optional<uint64_t> revision;
  std::string clock;  // up to here it was told
  std::optional<TaskHandle<void>> reader;
  uint64_t run_waited_for = 0;
  std::chrono::milliseconds pause = kRootPause;
  std::optional<steady_clock::time_point> retry_at;
  // When what differed as the feed began is decided about, if nothing else changes: a feed tells
  // it at once, and it may have been written a moment ago.
  std::optional<steady_clock::time_point> quiet_at;
  // When the first change came that no run has answered, and when it was quiet; 0: there is none.
  struct Settled {
    int64_t changed_unix_nano = 0;
    int64_t until_unix_nano = 0;
    uint64_t behind = 0;  // the run that went on then
  };
  Settled settled;   // of the run to come
  Settled launched;  // of the newest run
};

Task<void> TriggersEngine::follow(EntryPtr entry) {
  Following f;
  while (true) {
    const uint64_t seen = entry->news.epoch();
    while (co_await attend(entry, f)) {
    }
    {
      rt::LockGuard guard(mutex_);
      if (entry->removed) co_return;
    }
    if (!f.retry_at && !f.quiet_at) {
      co_await entry->news.changed(seen);
      continue;
    }
    const auto never = steady_clock::time_point::max();
    const auto next = std::min(f.retry_at.value_or(never), f.quiet_at.value_or(never));
    const auto left = std::max(steady_clock::duration(0), next - steady_clock::now());
    const absl::Status waited = co_await timeout(entry->news.changed(seen), left);
    if (absl::IsCancelled(waited)) co_return;
  }
}

// One thing that is to be done -> whether there was one.
Task<bool> TriggersEngine::attend(const EntryPtr& entry, Following& f) {
  bool removed = false, watches = false, running = false, asked = false, ended = false;
  uint64_t revision = 0, number = 0;
  std::optional<TaskRecord> task;
  {
    rt::LockGuard guard(mutex_);
    const TriggerRecord& record = entry->record;
    removed = entry->removed;
    revision = entry->revision;
    watches = record.watches();
    running = record.running();
    asked = record.run_follows;
    number = record.last.number;
    ended = entry->ended && entry->ended->number == number && running;
    if (ended) task = std::exchange(entry->ended, std::nullopt)->task;
  }
  if (removed) {
    if (f.reader) close_feed(entry, f);
    co_return false;
  }
  if (ended) {
    co_await end_run(
        entry, f, [task, now = clock_()](TriggerRecord& record) { note_end(record, task, now); });
    co_return true;
  }
  if (f.revision != revision) {
    rebuild(entry, f);
    co_return true;
  }
  if (running && f.run_waited_for != number) {
    co_await launch(entry, f);
    co_return true;
  }
  if (!watches && (f.reader || f.retry_at)) {
    close_feed(entry, f);
    co_return true;
  }
  if (asked && !running) {
    TriggerDecision decision =
        co_await rt::call_blocking([machine = f.machine.get()] { return machine->run(); });
    co_await act(entry, f, std::move(decision), true, nullptr);
    co_return true;
  }
  if (watches && !f.reader && (!f.retry_at || *f.retry_at <= steady_clock::now())) {
    co_await open_feed(entry, f);
    co_return true;
  }
  if (f.machine->running() && f.machine->kept() >= kKeptMax) co_return false;
  std::optional<absl::StatusOr<watching::Told>> told;
  {
    rt::LockGuard guard(mutex_);
    if (!entry->told.empty()) {
      told = std::move(entry->told.front());
      entry->told.pop_front();
    }
  }
  if (told) {
    entry->taken.notify_all();
    co_await take(entry, f, *std::move(told));
    co_return true;
  }
  if (!f.quiet_at || *f.quiet_at > steady_clock::now()) co_return false;
  co_await end_quiet(entry, f);
  co_return true;
}

Task<void> TriggersEngine::end_quiet(const EntryPtr& entry, Following& f) {
  f.quiet_at.reset();
  std::string root;
  {
    rt::LockGuard guard(mutex_);
    root = entry->record.spec.watch.path;
    if (entry->watching && entry->watching->settling()) {
      f.quiet_at = steady_clock::now() + std::max(entry->record.spec.watch.settle, kQuietMin);
      co_return;
    }
  }
  const bool there = co_await look_at_root(entry, std::move(root));
  if (f.machine->running()) co_return;
  if (there) co_return co_await decide(entry, f, {}, true);
  // A directory above that is moved away and back tells nothing.
  f.quiet_at = steady_clock::now() + kRootPauseMax;
}

// Begins with what is on disk.
void TriggersEngine::rebuild(const EntryPtr& entry, Following& f) {
  TriggerRecord record;
  {
    rt::LockGuard guard(mutex_);
    record = entry->record;
    f.revision = entry->revision;
  }
  if (f.reader) close_feed(entry, f);
  f.retry_at.reset();
  absl::StatusOr<watching::GlobSet> writes = watching::GlobSet::compile(record.spec.writes);
  f.machine = std::make_unique<watching::Trigger>(
      writes.ok() ? *std::move(writes) : watching::GlobSet(),
      [root = record.spec.watch.path](const std::string& path) {
        return watching::content_mark(absl::StrCat(root, "/", path));
      },
      record.spec.watch.settle);
  f.machine->restore(record.memory ? *record.memory : watching::Trigger::Memory(),
                     record.running());
  f.clock = record.clock;
}

Task<void> TriggersEngine::open_feed(const EntryPtr& entry, Following& f) {
  WatchRequest request;
  {
    rt::LockGuard guard(mutex_);
    request = entry->record.spec.watch;
    request.since = f.clock = entry->record.clock;
  }
  absl::StatusOr<WatchFeed> opened = co_await WatchFeed::open(watch_, std::move(request));
  if (!opened.ok()) {
    unwatched(entry, f, opened.status());
    co_return;
  }
  tell_root(entry, false);
  auto feed = std::make_shared<WatchFeed>(*std::move(opened));
  uint64_t number = 0;
  {
    rt::LockGuard guard(mutex_);
    number = ++entry->feed;
    entry->watching = feed;
    entry->problem.clear();
  }
  f.retry_at.reset();
  f.pause = kRootPause;
  begin(read(entry, number, std::move(feed)), &f.reader);
}

void TriggersEngine::unwatched(const EntryPtr& entry, Following& f, const absl::Status& why) {
  const bool gone = absl::IsNotFound(why) || absl::IsFailedPrecondition(why);
  if (gone) tell_root(entry, true);
  bool news = false;
  std::string name;
  {
    rt::LockGuard guard(mutex_);
    name = entry->record.spec.name;
    news = entry->problem.empty() && !gone;
    entry->problem = std::string(why.message());
  }
  if (news) events_.append("trigger.unwatched", name, {{"reason", std::string(why.message())}});
  f.retry_at = steady_clock::now() + f.pause;
  f.pause = std::min<std::chrono::milliseconds>(2 * f.pause, kRootPauseMax);
}

void TriggersEngine::tell_root(const EntryPtr& entry, bool gone) {
  std::string name, path;
  {
    rt::LockGuard guard(mutex_);
    if (entry->root_gone == gone) return;
    entry->root_gone = gone;
    name = entry->record.spec.name;
    path = entry->record.spec.watch.path;
  }
  events_.append(gone ? "trigger.root_gone" : "trigger.root_back", name, {{"path", path}});
}

// What was told and is not decided about is told again by the next feed.
void TriggersEngine::close_feed(const EntryPtr& entry, Following& f) {
  if (f.reader) f.reader->cancel();
  f.reader.reset();
  f.retry_at.reset();
  f.pause = kRootPause;
  f.machine->forget_kept();
  f.settled = {};
  f.quiet_at.reset();
  std::shared_ptr<WatchFeed> closed;
  rt::LockGuard guard(mutex_);
  ++entry->feed;
  closed.swap(entry->watching);
  entry->told.clear();
  entry->begun = false;
  entry->problem.clear();
  entry->pending = 0;
  f.clock = entry->record.clock;
}

Task<void> TriggersEngine::read(EntryPtr entry, uint64_t number, std::shared_ptr<WatchFeed> feed) {
  bool more = true;
  while (more) {
    absl::StatusOr<watching::Told> told = co_await feed->next();
    more = told.ok();
    while (true) {
      const uint64_t seen = entry->taken.epoch();
      {
        rt::LockGuard guard(mutex_);
        if (entry->feed != number) co_return;
        if (entry->told.size() < kToldMax) {
          entry->told.push_back(std::move(told));
          break;
        }
      }
      co_await entry->taken.changed(seen);
    }
    entry->news.notify_all();
  }
}

Task<void> TriggersEngine::take(const EntryPtr& entry, Following& f,
                                absl::StatusOr<watching::Told> told) {
  if (!told.ok()) {
    close_feed(entry, f);
    unwatched(entry, f, WatchEngine::explained(told.status()));
    co_return;
  }
  if (told->state) {
    f.clock = told->batch.clock;
    co_return;
  }
  if (told->first_change && f.settled.changed_unix_nano == 0) {
    const std::chrono::nanoseconds took = steady_clock::now() - *told->first_change;
    f.settled = {clock_() - took.count(), clock_(), f.machine->running() ? f.run_waited_for : 0};
  }
  co_await take_changes(entry, f, std::move(told->batch));
}

Task<void> TriggersEngine::take_changes(const EntryPtr& entry, Following& f, WatchBatch batch) {
  std::vector<std::string> paths = files_of(batch);
  std::string root;
  std::chrono::nanoseconds settle{};
  bool first = false;
  {
    rt::LockGuard guard(mutex_);
    root = entry->record.spec.watch.path;
    settle = entry->record.spec.watch.settle;
    first = !std::exchange(entry->begun, true);
  }
  const bool there = co_await look_at_root(entry, std::move(root));
  f.clock = std::move(batch.clock);
  const bool decides = there && !f.machine->running();
  const bool may_go_on = first && f.machine->counts(paths);
  if (!decides || may_go_on) {
    f.machine->keep(paths);
    if (f.machine->kept() == 0) f.settled = {};
    if (decides) f.quiet_at = steady_clock::now() + settle;
    rt::LockGuard guard(mutex_);
    entry->pending = f.machine->kept();
    co_return;
  }
  co_await decide(entry, f, std::move(paths), first);
}

Task<void> TriggersEngine::decide(const EntryPtr& entry, Following& f,
                                  std::vector<std::string> paths, bool first) {
  f.quiet_at.reset();
  const bool counts = f.machine->kept() > 0 || f.machine->counts(paths);
  TriggerDecision decision =
      co_await rt::call_blocking([&] { return f.machine->changed(paths, steady_clock::now()); });
  if (decision.action != Action::kWait || counts || first) {
    co_await act(entry, f, std::move(decision), false, nullptr);
    co_return;
  }
  // Nothing that could ever make a run: if it is told again, that costs nothing.
  f.settled = {};
  rt::LockGuard guard(mutex_);
  entry->record.clock = f.clock;
  entry->unsaved = true;
}

Task<bool> TriggersEngine::look_at_root(const EntryPtr& entry, std::string path) {
  const bool there = co_await rt::call_blocking([&path] { return is_directory(path); });
  tell_root(entry, !there);
  co_return there;
}

Task<void> TriggersEngine::end_run(const EntryPtr& entry, Following& f, Change how) {
  const TriggerRecord record = record_of(entry);
  TriggerDecision decision;
  const bool there = !record.watches() || co_await look_at_root(entry, record.spec.watch.path);
  if (there) {
    decision =
        co_await rt::call_blocking([&f] { return f.machine->finished(steady_clock::now()); });
  } else {
    f.machine->end(steady_clock::now());
  }
  co_await act(entry, f, std::move(decision), false, std::move(how));
}

// Writes down what was decided, with `change`. The run itself is begun by who finds it there.
Task<void> TriggersEngine::act(const EntryPtr& entry, Following& f, TriggerDecision decision,
                               bool by_hand, Change change) {
  Permit turn = co_await entry->turn.lock();
  TriggerRecord record;
  bool outdated = false;
  {
    rt::LockGuard guard(mutex_);
    if (entry->removed) co_return;
    record = entry->record;
    outdated = f.revision != entry->revision;
  }
  if (change) change(record);
  // Paused meanwhile, or replaced: it is told again.
  const bool late = decision.action != Action::kWait && !by_hand && !record.watches();
  if (late || outdated) {
    co_await save_surely(entry, std::move(record));
    rebuild(entry, f);
    co_return;
  }
  if (decision.action == Action::kRun) {
    f.quiet_at.reset();
    record.run_follows = false;
    TriggerRun run;
    run.number = record.last.number + 1;
    run.fired_unix_nano = clock_();
    run.by_hand = by_hand;
    run.paths = decision.paths.size();
    run.changed = watching::changed_lines(decision.paths);
    record.last = std::move(run);
    f.launched = by_hand ? Following::Settled() : std::exchange(f.settled, {});
  }
  if (decision.action == Action::kStop)
    record.loop = first_of(decision.paths, kTriggerLoopPathsMax);
  if (f.machine->kept() == 0) {
    record.clock = f.clock;
    f.settled = {};
  }
  record.memory =
      std::make_shared<const watching::Trigger::Memory>(f.machine->memory(kTriggerMemoryPathsMax));
  const std::string name = record.spec.name;
  co_await save_surely(entry, std::move(record));
  {
    rt::LockGuard guard(mutex_);
    entry->pending = f.machine->kept();
  }
  if (decision.action != Action::kStop) co_return;
  events_.append("trigger.stopped", name,
                 {{"paths", absl::StrJoin(first_of(decision.paths, kEventPathsMax), ", ")}});
}

// The task of the newest run: submitted, unless an earlier daemon did that.
Task<void> TriggersEngine::launch(const EntryPtr& entry, Following& f) {
  TriggerRecord record = record_of(entry);
  const uint64_t number = f.run_waited_for = record.last.number;
  std::string task = record.last.task;
  while (task.empty()) {
    std::vector<TaskSpec> specs;
    specs.push_back(task_of(record));
    absl::StatusOr<std::vector<Submitted>> submitted =
        co_await tasks_.submit(std::move(specs), {record.uid, 0});
    if (submitted.ok()) {
      task = submitted->front().id;
    } else if (fault_detail(submitted.status())) {  // a rule, and not the disk
      const std::string why(submitted.status().message());
      events_.append("trigger.refused", record.spec.name, {{"reason", why}});
      co_await end_run(entry, f, [why, now = clock_()](TriggerRecord& changed) {
        changed.last.ended_unix_nano = now;
        changed.last.reason = absl::StrCat("not accepted: ", why);
        ++changed.refused;
        changed.last_refusal = why;
      });
      co_return;
    } else {
      co_await sleep(kStorePause);
    }
  }
  if (record.last.task.empty()) {
    Permit turn = co_await entry->turn.lock();
    {
      rt::LockGuard guard(mutex_);
      if (entry->removed) co_return;
      record = entry->record;
    }
    record.last.task = task;
    const TriggerRun run = record.last;
    const std::string name = record.spec.name;
    std::string traceparent = run.by_hand ? "" : settle_traceparent(record);
    co_await save_surely(entry, std::move(record));
    std::map<std::string, std::string> attributes{
        {"task", task},
        {"run", absl::StrCat(number)},
        {"by", run.by_hand ? "hand" : "change"},
        {"paths", absl::StrJoin(first_of(run.changed, kEventPathsMax), ", ")}};
    if (f.launched.changed_unix_nano != 0) {
      attributes["changed_unix_nano"] = absl::StrCat(f.launched.changed_unix_nano);
      attributes["settled_unix_nano"] = absl::StrCat(f.launched.until_unix_nano);
      attributes["fired_unix_nano"] = absl::StrCat(run.fired_unix_nano);
      if (f.launched.behind != 0) attributes["behind"] = absl::StrCat(f.launched.behind);
    }
    events_.append("trigger.fired", name, std::move(attributes), std::move(traceparent));
  }
  begin(watch_task(entry, number, std::move(task)));
}

Task<void> TriggersEngine::watch_task(EntryPtr entry, uint64_t number, std::string task) {
  absl::StatusOr<std::vector<TaskRecord>> ended = co_await tasks_.wait({task});
  {
    rt::LockGuard guard(mutex_);
    entry->ended = Entry::Ended{number, std::nullopt};
    if (ended.ok()) entry->ended->task = std::move(ended->front());
  }
  entry->news.notify_all();
}

}  // namespace zsync::daemon
