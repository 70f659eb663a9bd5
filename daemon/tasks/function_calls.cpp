// Function calls as tasks: started by the queue, handed to workers, ended by their answers.
//
//   start    `running, attempt N` is on disk, many calls in one commit; then a worker gets it
//   end      the worker's answer is on disk, with its result; then anybody is told
//   lost     the stream of its worker has ended: attempt N is lost, and the call is queued anew
// An answer counts only from the stream that was given the call (worker_pool.hpp), so of two
// attempts that are alive one at most is believed, also over a restart of the daemon.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/store/commit.hpp"
#include "daemon/store/work_span.hpp"
#include "daemon/tasks/deadlines.hpp"
#include "daemon/tasks/engine.hpp"
#include "zsync/flow.hpp"

namespace zsync::daemon {
namespace {

using How = CallEnding::How;

constexpr std::chrono::milliseconds kStorePause{1000};  // before what the disk refused comes again
constexpr int64_t kNanoPerMs = 1'000'000;

std::string failure_text(const FunctionResult& result) {
  return result.error_code.empty() ? result.error_message
                                   : absl::StrCat(result.error_code, ": ", result.error_message);
}

// Its worker went away, or the daemon did: whether another attempt follows.
bool decide_lost(StoredTask& task, const CallEnding& ending) {
  TaskRecord& record = task.record;
  if (record.cancel_requested) {
    record.state = TaskState::kCanceled;
    record.reason = absl::StrCat("canceled; ", ending.reason);
    return false;
  }
  record.state = TaskState::kLost;
  record.reason = ending.reason;
  if (ending.how == How::kLostWorker && ++task.lost_workers >= kLostWorkersMax) {
    record.state = TaskState::kFailed;
    record.reason =
        absl::StrCat(task.lost_workers, " workers in a row went away while they had it; ",
                     "the last one: ", ending.reason);
    return false;
  }
  record.attempts.push_back(*newest_attempt(record));
  record.state = TaskState::kQueued;
  record.not_before_unix_nano = 0;
  return true;
}

// What is kept in memory of a result that is on disk.
std::shared_ptr<const FunctionResult> slim(std::shared_ptr<const FunctionResult> result) {
  if (!result || result->payload.size() <= kResultInMemoryBytesMax) return result;
  auto slimmed = std::make_shared<FunctionResult>(*result);
  slimmed->payload.clear();
  slimmed->payload_here = false;
  return slimmed;
}

}  // namespace

// The record as it will be -> whether another attempt follows.
bool TasksEngine::decide_end(StoredTask& task, const CallEnding& ending) {
  TaskRecord& record = task.record;
  record.pid = 0;
  record.finished_unix_nano = clock_();
  if (ending.how == How::kLostWorker || ending.how == How::kLostDaemon) {
    return decide_lost(task, ending);
  }
  task.lost_workers = 0;
  record.reason = ending.reason;
  record.state = ending.how == How::kCanceled   ? TaskState::kCanceled
                 : ending.how == How::kAnswered ? TaskState::kSucceeded
                                                : TaskState::kTimedOut;
  bool permanent = false;
  if (ending.result) {
    record.result = ending.result;
    record.output_bytes = ending.result->payload_bytes;
    permanent = ending.result->permanent;
    if (ending.result->failed) {
      record.state = TaskState::kFailed;
      record.exit_code = 1;
      record.reason = failure_text(*ending.result);
      if (record.cancel_requested) record.state = TaskState::kCanceled;
    }
  }
  return !permanent && decide_retry(task, record.state, ending.how == How::kDeadline);
}

Task<std::vector<Permit>> TasksEngine::lock_turns(std::vector<EntryPtr> entries) {
  std::vector<Permit> turns;
  turns.reserve(entries.size());
  for (const EntryPtr& entry : entries) turns.push_back(co_await entry->turn.lock());
  co_return turns;
}

// The calls of one batch are in nobody else's: each was taken out of the queue, or out of its
// worker's hands, for this batch. So two batches never hold turns that the other one waits for.
Task<void> TasksEngine::launch_calls(std::vector<EntryPtr> entries, std::vector<uint64_t> behind) {
  std::vector<Permit> turns = co_await lock_turns(entries);
  auto tasks = std::make_shared<std::vector<StoredTask>>();
  {
    rt::LockGuard guard(mutex_);
    for (const EntryPtr& entry : entries) tasks->push_back(entry->task);
  }
  const absl::Status committed = co_await commit(store_, [tasks](Database& db) {
    absl::Status status;
    for (const StoredTask& task : *tasks) {
      status = update_task(db, task);
      if (!status.ok()) break;
    }
    return status;
  });
  co_await until_told(std::move(behind));
  {
    Tidings tidings;
    rt::LockGuard guard(mutex_);
    if (stopping_) co_return;  // the next daemon finds it running, and with no worker
    for (const EntryPtr& entry : entries) {
      if (committed.ok()) {
        hand_over(entry, tidings);
      } else {
        --entry->task.record.attempt;  // nothing of it ever existed
        wait_anew(entry, clock_() + kStorePause.count() * kNanoPerMs);
      }
    }
    dispatch();
  }
  for (const EntryPtr& entry : entries) entry->changed.notify_all();
}

void TasksEngine::wait_anew(const EntryPtr& entry, int64_t not_before) {
  TaskRecord& record = entry->task.record;
  record.state = TaskState::kQueued;
  record.not_before_unix_nano = not_before;
  queue_.finished(entry->task.order, clock_());
  enqueue(entry);
}

void TasksEngine::hand_over(const EntryPtr& entry, Tidings& out) {
  TaskRecord& record = entry->task.record;
  const int64_t due = deadlines_of(record).end;
  int64_t until = due;
  if (record.spec->timeout_ms > 0) {
    const int64_t limit = clock_() + static_cast<int64_t>(record.spec->timeout_ms) * kNanoPerMs;
    until = due == 0 ? limit : std::min(due, limit);
  }
  const std::optional<WorkerPool::Handed> handed =
      functions_.pool.hand(record.spec->function->name, Lane::kTask, entry->task.order, until);
  if (!handed) return wait_anew(entry, 0);  // its worker has left meanwhile
  const WorkerLinkPtr& link = functions_.links.at(handed->worker);
  entry->call = handed->call;
  record.pid = link->pid;
  const trace::SpanContext caused = work_span(record.id, record.spec->traceparent);
  link->calls.push_back({handed->call, record.id, record.attempt, record.spec->function, until,
                         attempt_span(caused, record.attempt).to_traceparent()});
  out.news_for(*link);
  announce("task.started", record, entry->take_waits());
}

void TasksEngine::end_soon(std::vector<CallEnding> endings) {
  if (stopping_ || endings.empty()) return;
  for (const CallEnding& ending : endings) ending.entry->call = 0;
  runners_.spawn(end_calls(std::move(endings)));
}

// The ends are on disk before anybody is told; a full disk delays the news, never changes it.
Task<void> TasksEngine::end_calls(std::vector<CallEnding> endings) {
  struct Decided {
    StoredTask task;
    bool again = false;
  };
  std::vector<EntryPtr> entries;
  for (const CallEnding& ending : endings) entries.push_back(ending.entry);
  while (true) {
    std::vector<Permit> turns = co_await lock_turns(entries);
    auto decided = std::make_shared<std::vector<Decided>>();
    {
      rt::LockGuard guard(mutex_);
      for (const EntryPtr& entry : entries) decided->push_back({entry->task, false});
    }
    for (size_t i = 0; i < endings.size(); ++i) {
      (*decided)[i].again = decide_end((*decided)[i].task, endings[i]);
    }
    const absl::Status committed = co_await commit(store_, [decided](Database& db) {
      absl::Status status;
      for (const Decided& one : *decided) {
        const TaskRecord& record = one.task.record;
        status = update_task(db, one.task);
        if (status.ok() && one.again)
          status = insert_attempt(db, record.id, record.attempts.back());
        if (status.ok() && !one.again && record.result) {
          status = put_result(db, record.id, *record.result);
        }
        if (!status.ok()) break;
      }
      return status;
    });
    if (!committed.ok()) {
      turns.clear();
      co_await sleep(kStorePause);
      continue;
    }
    {
      rt::LockGuard guard(mutex_);
      for (size_t i = 0; i < entries.size(); ++i) {
        apply_end(entries[i], std::move((*decided)[i].task), (*decided)[i].again, endings[i].how);
      }
      dispatch();
    }
    break;
  }
  for (const EntryPtr& entry : entries) entry->changed.notify_all();
  co_await keep_retention();
}

void TasksEngine::apply_end(const EntryPtr& entry, StoredTask task, bool again, How how) {
  TaskRecord& record = task.record;
  if (again) {
    record.result.reset();
  } else {
    auto spec = std::make_shared<TaskSpec>(*record.spec);
    auto call = std::make_shared<FunctionCall>(*spec->function);
    call->payload.clear();
    spec->function = std::move(call);
    spec->env = Environment();
    record.spec = std::move(spec);
    record.result = slim(record.result);
  }
  if (how == How::kDeadline) announce("task.deadline_missed", record);
  announce(again ? "task.retrying" : "task.finished", record);
  const int64_t now = clock_();
  queue_.finished(task.order, now);
  if (!again) {
    queue_.ended(task.order, record.state == TaskState::kSucceeded, now);
    retain(record);
  }
  entry->task = std::move(task);
  if (again) enqueue(entry);
}

// A running call that is to be canceled: its worker is told, and has until the end of the grace.
void TasksEngine::cancel_call(const EntryPtr& entry, Tidings& out) {
  const std::optional<uint64_t> worker = functions_.pool.holder(entry->call);
  if (!worker) return;
  const TaskSpec& spec = *entry->task.record.spec;
  const uint64_t grace =
      entry->cancel_grace_ms.value_or(spec.kill_grace_ms.value_or(options_.kill_grace_ms));
  functions_.pool.limit(entry->call, clock_() + static_cast<int64_t>(grace) * kNanoPerMs);
  const WorkerLinkPtr& link = functions_.links.at(*worker);
  link->news.canceled.push_back(entry->call);
  out.news_for(*link);
  rearm();
}

// Takes the call out of its worker's hands: what it answers from now on is refused.
void TasksEngine::take_away(const std::string& function, uint64_t call, Tidings& out) {
  const std::optional<uint64_t> worker = functions_.pool.give_up(call);
  if (!worker) return;
  const WorkerLinkPtr& link = functions_.links.at(*worker);
  link->news.canceled.push_back(call);
  out.news_for(*link);
  share_places(function);
}

// Ends what took too long, and lets go of workers that are silent.
void TasksEngine::look_at_calls(Tidings& out) {
  const int64_t now = clock_();
  end_late_directs(now, out);
  std::vector<CallEnding> endings;
  for (const WorkerPool::Call& call : functions_.pool.expired(now)) {
    const EntryPtr entry = at_order(call.subject);
    const TaskRecord& record = entry->task.record;
    const int64_t due = deadlines_of(record).end;
    CallEnding ending{entry, How::kTimedOut, "", nullptr};
    if (record.cancel_requested) {
      ending.how = How::kCanceled;
      ending.reason = "canceled; its worker did not answer within the grace";
    } else if (due > 0 && due <= now) {
      ending.how = How::kDeadline;
      ending.reason = kMissedDeadline;
    } else {
      ending.reason = absl::StrCat("ran longer than ", record.spec->timeout_ms, " ms");
    }
    take_away(record.spec->function->name, call.call, out);
    endings.push_back(std::move(ending));
  }
  end_soon(std::move(endings));
  for (uint64_t worker : functions_.pool.silent(now)) {
    const WorkerLinkPtr link = functions_.links.at(worker);
    link->news.gone_reason = "this worker was silent for longer than it had said";
    lose_worker(link, absl::StrCat("its worker (pid ", link->pid, ") was silent for too long"),
                out);
  }
}

// After a restart: workers had these, and their streams are gone.
void TasksEngine::resume_calls(std::vector<EntryPtr> entries) {
  std::vector<CallEnding> endings;
  for (EntryPtr& entry : entries) {
    endings.push_back(
        {std::move(entry), How::kLostDaemon, "zsyncd ended while a worker had it", nullptr});
  }
  end_soon(std::move(endings));
}

}  // namespace zsync::daemon
