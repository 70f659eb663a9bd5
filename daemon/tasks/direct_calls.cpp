// Calls of functions without a task: no disk sees them, and no task of the runtime waits for them.
// The thread that takes the call hands it to its worker, the one that hears the worker's answer
// gives it to the caller; a wake-up in between would cost more than both.
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/fault/fault.hpp"
#include "daemon/tasks/engine.hpp"

namespace zsync::daemon {

Tidings::~Tidings() {
  for (Settled& settled : settled_) settled.tell(std::move(settled.answer));
  for (const auto& [worker, tell] : links_) tell();
}

void Tidings::news_for(const WorkerLink& link) {
  if (!link.tell) return;  // it looks by itself when it has begun
  for (const auto& [worker, tell] : links_) {
    if (worker == link.worker) return;
  }
  links_.emplace_back(link.worker, link.tell);
}

void Tidings::settle(DirectCall& direct, absl::StatusOr<FunctionResult> answer) {
  settled_.push_back({std::exchange(direct.settled, nullptr), std::move(answer)});
}

absl::StatusOr<DirectPtr> TasksEngine::call_function(
    FunctionCall call, std::string traceparent, int64_t timeout_ns,
    std::function<void(absl::StatusOr<FunctionResult>)> settled) {
  if (absl::Status status = validate(call); !status.ok()) return status;
  auto direct = std::make_shared<DirectCall>();
  direct->what = std::make_shared<const FunctionCall>(std::move(call));
  direct->traceparent = std::move(traceparent);
  direct->until = clock_() + timeout_ns;
  direct->settled = std::move(settled);
  const std::string& name = direct->what->name;
  Tidings tidings;
  rt::LockGuard guard(mutex_);
  if (absl::Status status = check_function(*direct->what); !status.ok()) return status;
  FunctionState::Known& known = functions_.known[name];
  if (known.waiting.size() >= kDirectWaitingMax) {
    return fault(absl::StatusCode::kResourceExhausted,
                 absl::StrCat(kDirectWaitingMax, " calls of \"", name, "\" wait"),
                 {"call",
                  "LIMIT",
                  absl::StrCat("direct_waiting_max = ", kDirectWaitingMax),
                  "add workers, or submit it as a task",
                  {}});
  }
  direct->id = functions_.next_direct++;
  functions_.directs[direct->id] = direct;
  functions_.direct_ends.emplace(direct->until, direct->id);
  known.waiting[direct->id] = direct;
  hand_directs(name, tidings);
  rearm();
  return direct;
}

void TasksEngine::hand_directs(const std::string& function, Tidings& out) {
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
    out.news_for(*link);
  }
}

// False: it was settled or withdrawn already.
bool TasksEngine::forget_direct(const DirectCall& direct) {
  if (functions_.directs.erase(direct.id) == 0) return false;
  functions_.direct_ends.erase({direct.until, direct.id});
  functions_.known[direct.what->name].waiting.erase(direct.id);
  return true;
}

void TasksEngine::settle_direct(const DirectPtr& direct, absl::StatusOr<FunctionResult> answer,
                                Tidings& out) {
  if (forget_direct(*direct)) out.settle(*direct, std::move(answer));
}

void TasksEngine::withdraw_call(const DirectPtr& direct) {
  Tidings tidings;
  rt::LockGuard guard(mutex_);
  if (!forget_direct(*direct)) return;
  direct->settled = nullptr;
  if (direct->call != 0) take_away(direct->what->name, direct->call, tidings);
}

void TasksEngine::end_late_directs(int64_t now, Tidings& out) {
  std::set<std::pair<int64_t, uint64_t>>& ends = functions_.direct_ends;
  while (!ends.empty() && ends.begin()->first <= now) {
    const DirectPtr direct = functions_.directs.at(ends.begin()->second);
    const std::string& name = direct->what->name;
    const uint32_t workers = functions_.pool.counts(name).workers;
    settle_direct(
        direct,
        fault(absl::StatusCode::kDeadlineExceeded,
              direct->call != 0 ? absl::StrCat("the worker of \"", name, "\" took too long")
              : workers == 0    ? absl::StrCat("no worker serves \"", name, "\"")
                                : absl::StrCat("none of the ", workers, " workers of \"", name,
                                               "\" had a free place in time"),
              {"timeout", "DEADLINE", "", "give it more time, or submit it as a task", {}}),
        out);
    if (direct->call != 0) take_away(name, direct->call, out);
  }
}

// Its worker went away: another one gets it, until too many did.
void TasksEngine::lose_direct(uint64_t id, Tidings& out) {
  auto found = functions_.directs.find(id);
  if (found == functions_.directs.end()) return;
  const DirectPtr direct = found->second;
  direct->call = 0;
  if (++direct->lost_workers < kLostWorkersMax) {
    functions_.known[direct->what->name].waiting[direct->id] = direct;
    return;
  }
  settle_direct(direct,
                fault(absl::StatusCode::kAborted,
                      absl::StrCat(kLostWorkersMax, " workers in a row went away with this call"),
                      {"call", "WORKERS_LOST", "", "see what ends them", {}}),
                out);
}

}  // namespace zsync::daemon
