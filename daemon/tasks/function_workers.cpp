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
  Tidings tidings;
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
  hand_directs(link->function, tidings);
  dispatch();
  rearm();
  co_return link;
}

void TasksEngine::drain_worker(const WorkerLinkPtr& link) {
  Tidings tidings;
  rt::LockGuard guard(mutex_);
  functions_.pool.drain(link->worker);
  share_places(link->function);
  link->news.drained = true;
  tidings.news_for(*link);
}

void TasksEngine::leave_worker(const WorkerLinkPtr& link) {
  Tidings tidings;
  rt::LockGuard guard(mutex_);
  lose_worker(link, absl::StrCat("its worker (pid ", link->pid, ") went away"), tidings);
}

// What it had goes to others. Idempotent.
void TasksEngine::lose_worker(const WorkerLinkPtr& link, const std::string& reason, Tidings& out) {
  if (functions_.links.erase(link->worker) == 0) return;
  std::vector<CallEnding> endings;
  for (const WorkerPool::Call& call : functions_.pool.leave(link->worker)) {
    if (call.lane == Lane::kTask) {
      endings.push_back({at_order(call.subject), How::kLostWorker, reason, nullptr});
    } else {
      lose_direct(call.subject, out);
    }
  }
  link->calls.clear();
  link->news.gone = true;
  link->ended.notify_all();
  functions_.known[link->function].served_unix_nano = clock_();
  share_places(link->function);
  if (functions_.closing || stopping_) return;  // the next daemon gives them back
  events_.append("function.worker_left", link->function, {{"pid", absl::StrCat(link->pid)}});
  hand_directs(link->function, out);
  end_soon(std::move(endings));
}

void TasksEngine::close_functions() {
  rt::LockGuard guard(mutex_);
  functions_.closing = true;
}

void TasksEngine::hear_worker(const WorkerLinkPtr& link, std::vector<AnsweredCall> answers) {
  Tidings tidings;
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
        tidings.news_for(*link);
      }
      continue;
    }
    FunctionResult result = limited(std::move(answer.result));
    if (call->lane == Lane::kTask) {
      endings.push_back({at_order(call->subject), How::kAnswered, "",
                         std::make_shared<const FunctionResult>(std::move(result))});
    } else if (auto direct = functions_.directs.find(call->subject);
               direct != functions_.directs.end()) {
      settle_direct(DirectPtr(direct->second), std::move(result), tidings);
    }
  }
  if (freed) share_places(link->function);
  end_soon(std::move(endings));
  hand_directs(link->function, tidings);
  if (freed) dispatch();
}

void TasksEngine::tell_worker(const WorkerLinkPtr& link, std::function<void()> tell) {
  Tidings tidings;
  rt::LockGuard guard(mutex_);
  link->tell = std::move(tell);
  tidings.news_for(*link);
}

bool TasksEngine::take_news(const WorkerLinkPtr& link, WorkerNews& next) {
  rt::LockGuard guard(mutex_);
  WorkerNews& news = link->news;
  if (link->calls.empty() && news.canceled.empty() && news.refused.empty() && !news.drained) {
    return false;
  }
  next = std::exchange(news, WorkerNews());
  news.gone = next.gone;
  news.gone_reason = next.gone_reason;
  size_t bytes = 0;
  while (!link->calls.empty() && next.calls.size() < kFrameCallsMax) {
    bytes += link->calls.front().what->payload.size();
    if (!next.calls.empty() && bytes > kFrameBytesMax) break;
    next.calls.push_back(std::move(link->calls.front()));
    link->calls.pop_front();
  }
  if (!link->calls.empty()) news.drained = std::exchange(next.drained, false);
  return true;
}

Task<std::string> TasksEngine::worker_gone(WorkerLinkPtr link) {
  while (true) {
    const uint64_t seen = link->ended.epoch();
    {
      rt::LockGuard guard(mutex_);
      if (link->news.gone) co_return link->news.gone_reason;
    }
    co_await link->ended.changed(seen);
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
