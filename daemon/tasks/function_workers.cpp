// Functions and those who serve them: workers that join, answer and leave, and direct calls.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "daemon/config/closest.hpp"
#include "daemon/fault/fault.hpp"
#include "daemon/store/commit.hpp"
#include "daemon/tasks/engine.hpp"
#include "zsync/flow.hpp"
#include "zsync/timeout.hpp"

namespace zsync::daemon {
namespace {

using How = CallEnding::How;

constexpr size_t kNamesShown = 10;          // of functions, in an error
constexpr size_t kFrameBytesMax = 2 << 20;  // of payloads in one message to a worker
constexpr size_t kFrameCallsMax = kWindowMax;
constexpr size_t kRefusedMax = 4096;  // that a worker has not read; it is told of no more
constexpr int64_t kServedStaleNs = 3600ll * 1'000'000'000;  // of what is on disk about a name

// The queue's name of a function's places; no resource of a user has a slash.
std::string places_of(const std::string& function) { return absl::StrCat("function/", function); }

absl::Status too_many(const char* field, std::string message, std::string limit, std::string hint) {
  return fault(absl::StatusCode::kResourceExhausted, std::move(message),
               {field, "LIMIT", std::move(limit), std::move(hint), {}});
}

Task<void> wait_for_answer(DirectPtr direct) {
  while (true) {
    const uint64_t seen = direct->answered.epoch();
    if (direct->settled) co_return;
    co_await direct->answered.changed(seen);
  }
}

}  // namespace

std::pair<std::string, uint32_t> TasksEngine::place_needed(const TaskSpec& spec) {
  return {places_of(spec.function->name), 1};
}

// From here on calls of it may wait.
void TasksEngine::know_function(const std::string& name) {
  if (!functions_.known.try_emplace(name).second) return;
  queue_.set_capacity(places_of(name), 0, clock_());
  if (std::exchange(functions_.group_made, true)) return;
  for (const GroupRecord& group : queue_.groups()) {
    if (group.name == kFunctionsGroup) return;
  }
  // How many run at once is what workers take, unless somebody sets the group.
  GroupSettings settings;
  settings.parallel = kParallelMax;
  queue_.set_group(kFunctionsGroup, settings, clock_());
}

void TasksEngine::share_places(const std::string& function) {
  queue_.set_capacity(places_of(function), functions_.pool.places(function, Lane::kTask), clock_());
}

absl::Status TasksEngine::check_function(const FunctionCall& call) {
  if (functions_.known.contains(call.name)) return absl::OkStatus();
  std::vector<std::string> names;
  for (const auto& [name, known] : functions_.known) names.push_back(name);
  if (call.wait_for_worker) {
    if (names.size() < kFunctionsMax) {
      know_function(call.name);
      return absl::OkStatus();
    }
    return too_many("function.name", absl::StrCat(names.size(), " functions are known"),
                    absl::StrCat("functions_max = ", kFunctionsMax),
                    "use one function with the kind of work in its payload");
  }
  FaultDetail detail{"function.name", "NOT_FOUND", "", "", {}};
  const std::optional<std::string> closest = closest_match(call.name, names);
  if (closest) detail.closest.push_back(*closest);
  const bool more = names.size() > kNamesShown;
  if (more) names.resize(kNamesShown);
  detail.hint = absl::StrCat(
      closest ? absl::StrCat("did you mean ", *closest, "? ") : "",
      names.empty() ? "nobody has served any yet"
                    : absl::StrCat("there are: ", absl::StrJoin(names, ", "), more ? ", ..." : ""),
      "; `zsyncctl functions serve ", call.name,
      " -- COMMAND` serves it, and wait_for_worker takes calls before that");
  return fault(absl::StatusCode::kNotFound, absl::StrCat("no function \"", call.name, "\""),
               std::move(detail));
}

absl::Status TasksEngine::load_known_functions(Database& db) {
  return load_functions(db, [this](const std::string& name, int64_t served) {
    mutex_.assert_held();
    if (served < clock_() - kFunctionForgottenNs) return;
    know_function(name);
    functions_.known[name].served_unix_nano = served;
  });
}

absl::StatusOr<TaskRecord> TasksEngine::with_result(TaskRecord record) {
  if (!record.result || record.result->payload_here) return record;
  auto whole = std::make_shared<FunctionResult>(*record.result);
  absl::Status loaded = store_.read([&](Database& db) -> absl::Status {
    absl::StatusOr<std::string> payload = load_result_payload(db, record.id);
    if (payload.ok()) whole->payload = std::move(*payload);
    return payload.status();
  });
  if (!loaded.ok()) return loaded;
  whole->payload_here = true;
  record.result = std::move(whole);
  return record;
}

Task<absl::StatusOr<WorkerLinkPtr>> TasksEngine::join_worker(WorkerHello hello) {
  FunctionCall named;
  named.name = hello.function;
  if (absl::Status status = validate(named); !status.ok()) co_return status;
  if (hello.window == 0 || hello.window > kWindowMax) {
    co_return fault(absl::StatusCode::kInvalidArgument,
                    absl::StrCat("a window of ", hello.window, " calls"),
                    {"open.window",
                     "LIMIT",
                     absl::StrCat("window_max = ", kWindowMax),
                     absl::StrCat("give 1 to ", kWindowMax),
                     {}});
  }
  const int64_t now = clock_();
  bool fresh = false;
  {
    rt::LockGuard guard(mutex_);
    auto known = functions_.known.find(hello.function);
    if (known == functions_.known.end() && functions_.known.size() >= kFunctionsMax) {
      co_return too_many("open.name", absl::StrCat(functions_.known.size(), " functions are known"),
                         absl::StrCat("functions_max = ", kFunctionsMax),
                         "serve one function with the kind of work in its payload");
    }
    if (functions_.pool.workers() >= kWorkersMax) {
      co_return too_many("open.name", absl::StrCat(kWorkersMax, " workers serve already"),
                         absl::StrCat("workers_max = ", kWorkersMax),
                         "give fewer workers a larger window");
    }
    fresh =
        known == functions_.known.end() || now - known->second.served_unix_nano > kServedStaleNs;
  }
  if (fresh) {
    const std::string name = hello.function;
    absl::Status stored =
        co_await commit(store_, [name, now](Database& db) { return put_function(db, name, now); });
    if (!stored.ok()) co_return stored;
  }
  auto link = std::make_shared<WorkerLink>();
  link->function = hello.function;
  link->pid = hello.pid;
  rt::LockGuard guard(mutex_);
  if (stopping_ || functions_.closing) {
    co_return absl::UnavailableError("zsyncd is stopping: come back in a moment");
  }
  know_function(link->function);
  functions_.known[link->function].served_unix_nano = now;
  link->worker = functions_.pool.join(link->function, hello.window, hello.silence_ns, now);
  functions_.links[link->worker] = link;
  events_.append("function.worker_joined", link->function, {{"pid", absl::StrCat(link->pid)}});
  share_places(link->function);
  hand_directs(link->function);
  dispatch();
  rearm();
  co_return link;
}

void TasksEngine::drain_worker(const WorkerLinkPtr& link) {
  rt::LockGuard guard(mutex_);
  functions_.pool.drain(link->worker);
  share_places(link->function);
  link->news.drained = true;
  link->changed.notify_all();
}

void TasksEngine::leave_worker(const WorkerLinkPtr& link) {
  rt::LockGuard guard(mutex_);
  lose_worker(link, absl::StrCat("its worker (pid ", link->pid, ") went away"));
}

// What it had goes to others. Idempotent.
void TasksEngine::lose_worker(const WorkerLinkPtr& link, const std::string& reason) {
  if (functions_.links.erase(link->worker) == 0) return;
  std::vector<CallEnding> endings;
  for (const WorkerPool::Call& call : functions_.pool.leave(link->worker)) {
    if (call.lane == Lane::kTask) {
      endings.push_back({by_order_.at(call.subject), How::kLostWorker, reason, nullptr});
      continue;
    }
    auto found = functions_.directs.find(call.subject);
    if (found == functions_.directs.end()) continue;
    const DirectPtr direct = found->second;
    direct->call = 0;
    if (++direct->lost_workers < kLostWorkersMax) {
      functions_.known[link->function].waiting[direct->id] = direct;
      continue;
    }
    settle_direct(direct,
                  fault(absl::StatusCode::kAborted,
                        absl::StrCat(kLostWorkersMax, " workers in a row went away with this call"),
                        {"call", "WORKERS_LOST", "", "see what ends them", {}}));
  }
  link->calls.clear();
  link->news.gone = true;
  link->changed.notify_all();
  functions_.known[link->function].served_unix_nano = clock_();
  share_places(link->function);
  if (functions_.closing || stopping_) return;  // the next daemon gives them back
  events_.append("function.worker_left", link->function, {{"pid", absl::StrCat(link->pid)}});
  hand_directs(link->function);
  end_soon(std::move(endings));
}

void TasksEngine::close_functions() {
  rt::LockGuard guard(mutex_);
  functions_.closing = true;
}

void TasksEngine::hear_worker(const WorkerLinkPtr& link, std::vector<AnsweredCall> answers) {
  rt::LockGuard guard(mutex_);
  if (!functions_.links.contains(link->worker)) return;
  functions_.pool.heard(link->worker, clock_());
  if (answers.empty()) return;
  std::vector<CallEnding> endings;
  bool freed = false;
  for (AnsweredCall& answer : answers) {
    const std::optional<WorkerPool::Call> call =
        functions_.pool.answered(link->worker, answer.call);
    if (!call) {
      freed = true;
      if (link->news.refused.size() < kRefusedMax) {
        link->news.refused.push_back(
            {answer.call,
             "too late: the call was canceled, timed out, or never was this worker's"});
        link->changed.notify_all();
      }
      continue;
    }
    FunctionResult result = limited(std::move(answer.result));
    if (call->lane == Lane::kTask) {
      endings.push_back({by_order_.at(call->subject), How::kAnswered, "",
                         std::make_shared<const FunctionResult>(std::move(result))});
    } else if (auto direct = functions_.directs.find(call->subject);
               direct != functions_.directs.end()) {
      settle_direct(direct->second, std::move(result));
    }
  }
  if (freed) share_places(link->function);
  end_soon(std::move(endings));
  hand_directs(link->function);
  if (freed) dispatch();
}

Task<WorkerNews> TasksEngine::worker_news(WorkerLinkPtr link) {
  while (true) {
    const uint64_t seen = link->changed.epoch();
    {
      rt::LockGuard guard(mutex_);
      WorkerNews& news = link->news;
      if (!link->calls.empty() || !news.canceled.empty() || !news.refused.empty() || news.drained ||
          news.gone) {
        WorkerNews next = std::exchange(news, WorkerNews());
        size_t bytes = 0;
        while (!link->calls.empty() && next.calls.size() < kFrameCallsMax) {
          bytes += link->calls.front().what->payload.size();
          if (!next.calls.empty() && bytes > kFrameBytesMax) break;
          next.calls.push_back(std::move(link->calls.front()));
          link->calls.pop_front();
        }
        if (!link->calls.empty()) news.drained = std::exchange(next.drained, false);
        co_return next;
      }
    }
    co_await link->changed.changed(seen);
  }
}

std::vector<FunctionRecord> TasksEngine::functions() {
  rt::LockGuard guard(mutex_);
  std::vector<FunctionRecord> records;
  for (const auto& [name, known] : functions_.known) {
    records.push_back({name, functions_.pool.counts(name), queue_.waiting_for(places_of(name)),
                       static_cast<uint32_t>(known.waiting.size()), known.served_unix_nano});
  }
  return records;
}

void TasksEngine::hand_directs(const std::string& function) {
  auto known = functions_.known.find(function);
  if (known == functions_.known.end()) return;
  std::map<uint64_t, DirectPtr>& waiting = known->second.waiting;
  while (!waiting.empty()) {
    const DirectPtr direct = waiting.begin()->second;
    const std::optional<WorkerPool::Handed> handed =
        functions_.pool.hand(function, Lane::kDirect, direct->id, 0);
    if (!handed) return;
    waiting.erase(waiting.begin());
    direct->call = handed->call;
    const WorkerLinkPtr& link = functions_.links.at(handed->worker);
    link->calls.push_back({handed->call, "", 0, direct->what, direct->until, direct->traceparent});
    link->changed.notify_all();
  }
}

void TasksEngine::settle_direct(DirectPtr direct, absl::StatusOr<FunctionResult> answer) {
  functions_.directs.erase(direct->id);
  direct->answer = std::move(answer);
  direct->settled = true;
  direct->answered.notify_all();
}

// Nobody wants its answer any more.
void TasksEngine::withdraw_direct(const DirectPtr& direct) {
  rt::LockGuard guard(mutex_);
  if (functions_.directs.erase(direct->id) == 0) return;
  functions_.known[direct->what->name].waiting.erase(direct->id);
  if (direct->call != 0) take_away(direct->what->name, direct->call);
}

Task<absl::StatusOr<FunctionResult>> TasksEngine::call_function(FunctionCall call,
                                                                std::string traceparent,
                                                                int64_t timeout_ns) {
  if (absl::Status status = validate(call); !status.ok()) co_return status;
  auto direct = std::make_shared<DirectCall>();
  direct->what = std::make_shared<const FunctionCall>(std::move(call));
  direct->traceparent = std::move(traceparent);
  direct->until = clock_() + timeout_ns;
  const std::string& name = direct->what->name;
  {
    rt::LockGuard guard(mutex_);
    if (absl::Status status = check_function(*direct->what); !status.ok()) co_return status;
    FunctionState::Known& known = functions_.known[name];
    if (known.waiting.size() >= kDirectWaitingMax) {
      co_return too_many("call", absl::StrCat(kDirectWaitingMax, " calls of \"", name, "\" wait"),
                         absl::StrCat("direct_waiting_max = ", kDirectWaitingMax),
                         "add workers, or submit it as a task");
    }
    direct->id = functions_.next_direct++;
    functions_.directs[direct->id] = direct;
    known.waiting[direct->id] = direct;
    hand_directs(name);
  }
  struct Ending {
    TasksEngine& engine;
    const DirectPtr& direct;
    ~Ending() { engine.withdraw_direct(direct); }
  } ending{*this, direct};
  const absl::Status waited =
      co_await timeout(wait_for_answer(direct), std::chrono::nanoseconds(timeout_ns));
  rt::LockGuard guard(mutex_);
  if (direct->answer) co_return std::move(*direct->answer);
  if (!absl::IsDeadlineExceeded(waited)) co_return absl::CancelledError("the call was cancelled");
  const uint32_t workers = functions_.pool.counts(name).workers;
  co_return fault(absl::StatusCode::kDeadlineExceeded,
                  direct->call != 0 ? absl::StrCat("the worker of \"", name, "\" took too long")
                  : workers == 0    ? absl::StrCat("no worker serves \"", name, "\"")
                                    : absl::StrCat("none of the ", workers, " workers of \"", name,
                                                   "\" had a free place in time"),
                  {"timeout", "DEADLINE", "", "give it more time, or submit it as a task", {}});
}

void TasksEngine::explain_places(const std::string& need, std::vector<std::string>& reasons) {
  const std::string name = need.substr(places_of("").size());
  const WorkerPool::Counts counts = functions_.pool.counts(name);
  const uint32_t waiting = queue_.waiting_for(need);
  if (counts.workers == 0) {
    reasons.push_back(absl::StrCat("no worker serves \"", name, "\"; ", waiting,
                                   " calls wait: `zsyncctl functions serve ", name,
                                   " -- COMMAND` is one"));
  } else {
    reasons.push_back(absl::StrCat("all ", counts.places, " places of the ", counts.workers,
                                   " workers of \"", name, "\" are taken; ", waiting,
                                   " calls wait"));
  }
}

}  // namespace zsync::daemon
