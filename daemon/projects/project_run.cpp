#include "daemon/projects/project_run.hpp"

#include <algorithm>
#include <functional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "daemon/config/units.hpp"

namespace zsync::daemon {
namespace {

constexpr int64_t kMs = 1'000'000;

bool has(const std::vector<std::string>& list, const std::string& name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

int64_t backoff_ns(const RestartSpec& restart, uint32_t failures) {
  uint64_t ms = restart.backoff_ms;
  for (uint32_t i = 1; i < failures && ms < restart.backoff_max_ms; ++i) ms *= 2;
  return static_cast<int64_t>(std::min(ms, restart.backoff_max_ms)) * kMs;
}

}  // namespace

const char* unit_state_name(UnitState state) {
  switch (state) {
    case UnitState::kStopped:
      return "stopped";
    case UnitState::kWaiting:
      return "waiting";
    case UnitState::kStarting:
      return "starting";
    case UnitState::kRunning:
      return "running";
    case UnitState::kReady:
      return "ready";
    case UnitState::kDone:
      return "done";
    case UnitState::kRestarting:
      return "restarting";
    case UnitState::kStopping:
      return "stopping";
    case UnitState::kFailed:
      return "failed";
  }
  return "unknown";
}

ProjectRun::Unit* ProjectRun::find(const std::string& name) {
  for (Unit& unit : units_) {
    if (unit.spec.name == name) return &unit;
  }
  return nullptr;
}

const ProjectRun::Unit* ProjectRun::find(const std::string& name) const {
  return const_cast<ProjectRun*>(this)->find(name);
}

ProjectRun::Unit* ProjectRun::process(const std::string& unit, uint64_t generation) {
  Unit* found = find(unit);
  const bool known = found != nullptr && found->row.generation == generation &&
                     found->phase != Phase::kIdle && found->phase != Phase::kLooking;
  return known ? found : nullptr;
}

void ProjectRun::set_spec(const ProjectSpec& spec) {
  std::vector<Unit> units;
  for (const UnitSpec& wanted : spec.units) {
    Unit unit;
    if (Unit* before = find(wanted.name); before != nullptr) unit = std::move(*before);
    unit.changed |= unit.phase == Phase::kLooking;  // at what the file before has named
    unit.print.reset();
    unit.spec = wanted;
    unit.wanted_as = normalized(wanted);
    unit.row.unit = wanted.name;
    unit.removed = false;
    units.push_back(std::move(unit));
  }
  for (Unit& before : units_) {
    if (before.spec.name.empty() || spec.find(before.spec.name) >= 0) continue;
    if (before.phase == Phase::kIdle) continue;
    before.removed = true;
    before.row.wanted = false;
    units.push_back(std::move(before));
  }
  units_ = std::move(units);
}

void ProjectRun::restore(const UnitRow& row) {
  Unit* unit = find(row.unit);
  if (unit == nullptr) {  // its record was written when the file had lost it already
    units_.emplace_back();
    unit = &units_.back();
    unit->spec.name = row.unit;
    unit->removed = true;
  }
  unit->row = row;
  if (!row.live) return;
  unit->phase = Phase::kLaunching;
  unit->submit_again = true;
}

void ProjectRun::adopt(const std::string& name, const std::string& task) {
  Unit* unit = find(name);
  if (unit == nullptr) return;
  unit->task = task;
  unit->submit_again = false;
  unit->phase = Phase::kRunning;
  unit->probed = unit->row.ready;
}

void ProjectRun::show_task(const std::string& name, const std::string& task, int64_t since) {
  Unit* unit = find(name);
  if (unit == nullptr) return;
  unit->task = task;
  unit->since = since;
}

void ProjectRun::want(const std::vector<std::string>& names, int64_t now) {
  std::set<std::string> wanted(names.begin(), names.end());
  for (auto unit = units_.rbegin(); unit != units_.rend(); ++unit) {
    if (unit->removed || (!names.empty() && !wanted.contains(unit->spec.name))) continue;
    wanted.insert(unit->spec.after.begin(), unit->spec.after.end());
    UnitRow& row = unit->row;
    if (!row.wanted || !row.failed.empty() || !row.halted.empty()) {
      row.failures = 0;
      row.restarts = 0;
      unit->not_before = 0;
      unit->since = now;
    }
    // A step that was done before it was not wanted is to be done again.
    if (!row.wanted && unit->phase == Phase::kIdle) row.started_as.clear();
    row.wanted = true;
    row.failed.clear();
    row.halted.clear();
    unit->failed_before.clear();
  }
}

void ProjectRun::unwant(const std::vector<std::string>& names, int64_t now) {
  std::set<std::string> gone(names.begin(), names.end());
  for (Unit& unit : units_) {
    const bool waits = std::any_of(unit.spec.after.begin(), unit.spec.after.end(),
                                   [&](const std::string& name) { return gone.contains(name); });
    if (!names.empty() && !waits && !gone.contains(unit.spec.name)) continue;
    gone.insert(unit.spec.name);
    if (unit.row.wanted) unit.since = now;
    unit.row.wanted = false;
    unit.row.failed.clear();
    unit.row.halted.clear();
  }
}

void ProjectRun::start_anew(const std::string& name, int64_t now) {
  want({name}, now);
  if (Unit* unit = find(name); unit != nullptr) {
    unit->row.started_as.clear();
    unit->row.inputs.clear();  // whatever its inputs are
    unit->row.again = false;
    unit->cause.clear();
    unit->row.failures = 0;
    unit->not_before = 0;
  }
}

void ProjectRun::launched(const std::string& name, uint64_t generation, const std::string& task,
                          int64_t now) {
  Unit* unit = process(name, generation);
  if (unit == nullptr || unit->phase != Phase::kLaunching) return;
  unit->phase = Phase::kRunning;
  unit->task = task;
  unit->since = now;
}

void ProjectRun::launch_failed(const std::string& name, uint64_t generation,
                               const std::string& reason, int64_t now) {
  ended(name, generation, {false, false, reason}, now);
}

void ProjectRun::became_ready(const std::string& name, uint64_t generation, int64_t now) {
  Unit* unit = process(name, generation);
  if (unit == nullptr || unit->phase != Phase::kRunning || !unit->spec.service) return;
  unit->row.ready = true;
  unit->ready_since = now;
  unit->since = now;
}

void ProjectRun::not_ready(const std::string& name, uint64_t generation, const std::string& reason,
                           int64_t now) {
  Unit* unit = process(name, generation);
  if (unit == nullptr || unit->phase != Phase::kRunning) return;
  unit->unready = reason;
  unit->since = now;
}

void ProjectRun::ended(const std::string& name, uint64_t generation, const UnitEnd& end,
                       int64_t now) {
  Unit* found = process(name, generation);
  if (found == nullptr) return;
  Unit& unit = *found;
  const bool asked = unit.phase == Phase::kStopping;
  const std::string unready = std::exchange(unit.unready, "");
  const bool was_healthy =
      unit.row.ready && unit.ready_since != 0 && now - unit.ready_since >= kHealthyNs;
  unit.phase = Phase::kIdle;
  unit.row.live = false;
  unit.row.ready = false;
  unit.ready_since = 0;
  unit.probed = false;
  unit.submit_again = false;
  unit.since = now;
  const bool again = std::exchange(unit.row.again, false) && !end.canceled;
  if (was_healthy) unit.row.failures = 0;
  if (!unready.empty()) return fail_or_again(unit, false, unready, now);
  settle_end(unit, asked, end, now);
  if (again) renew(unit, unit.cause, now);
}

void ProjectRun::settle_end(Unit& unit, bool asked, const UnitEnd& end, int64_t now) {
  if (asked) return;
  if (end.canceled) {
    unit.row.halted = end.reason.empty() ? "its task was canceled" : end.reason;
    return;
  }
  if (unit.spec.service) return fail_or_again(unit, end.ok, end.reason, now);
  if (!end.ok) {
    unit.row.failed = end.reason;
    return;
  }
  unit.row.ready = true;
  restart_dependents(unit, now);
}

// What became of a service that ended by itself.
void ProjectRun::fail_or_again(Unit& unit, bool ok, const std::string& reason, int64_t now) {
  const RestartSpec& restart = unit.spec.restart;
  unit.last_end = reason;
  const bool again =
      restart.when == RestartWhen::kAlways || (restart.when == RestartWhen::kOnFailure && !ok);
  if (!again) {
    (ok ? unit.row.halted : unit.row.failed) = reason;
    return;
  }
  ++unit.row.failures;
  if (unit.row.failures > restart.max) {
    unit.row.failed = absl::StrCat(reason, ", after ", restart.max, " restarts in a row");
    return;
  }
  ++unit.row.restarts;
  unit.not_before = now + backoff_ns(restart, unit.row.failures);
}

// The step has run: who is started again by that.
void ProjectRun::restart_dependents(const Unit& step, int64_t now) {
  const std::set<std::string> by_saves = started_by_saves();
  for (Unit& unit : units_) {
    if (!unit.row.wanted) continue;
    if (has(unit.spec.restart_on, step.spec.name)) {
      unit.cause = step.run_cause;
      unit.row.started_as.clear();
      unit.row.failed.clear();
      unit.row.halted.clear();
      unit.row.failures = 0;
      unit.not_before = 0;
    }
    if (!by_saves.contains(unit.spec.name) || !before(unit).contains(step.spec.name)) continue;
    // It runs, whatever its own files are.
    if (unit.spec.on_save || !unit.row.failed.empty()) unit.row.inputs.clear();
    renew(unit, step.run_cause, now);
  }
}

void ProjectRun::set_port(const std::string& name, uint16_t port) {
  if (Unit* unit = find(name); unit != nullptr) unit->row.port = port;
}

// Whether its process, or what it did, is what the file says now.
bool ProjectRun::fresh(const Unit& unit) {
  return !unit.row.started_as.empty() && unit.row.started_as == unit.wanted_as;
}

bool ProjectRun::satisfied(const std::string& name) const {
  const Unit* unit = find(name);
  return unit != nullptr && unit->row.ready && fresh(*unit);
}

bool ProjectRun::may_start(const Unit& unit) const {
  return std::all_of(unit.spec.after.begin(), unit.spec.after.end(),
                     [this](const std::string& name) { return satisfied(name); });
}

// Invariant 2.
bool ProjectRun::may_stop(const Unit& unit) const {
  return std::none_of(units_.begin(), units_.end(), [&](const Unit& other) {
    return other.phase != Phase::kIdle && has(other.spec.after, unit.spec.name) &&
           (!other.row.wanted || other.removed);
  });
}

std::vector<ProjectAction> ProjectRun::step(int64_t now) {
  using Kind = ProjectAction::Kind;
  std::vector<ProjectAction> actions;
  for (Unit& unit : units_) {
    if (unit.phase != Phase::kRunning) continue;
    const bool unwanted = (!unit.row.wanted || unit.removed) && may_stop(unit);
    const bool replaced = unit.row.wanted && !unit.removed && !fresh(unit) && may_start(unit);
    if (!unwanted && !replaced && unit.unready.empty()) continue;
    if (unwanted) unit.unready.clear();
    unit.phase = Phase::kStopping;
    unit.since = now;
    actions.push_back({Kind::kStop, unit.spec.name, unit.row.generation});
  }
  for (Unit& unit : units_) {
    if (unit.phase == Phase::kLaunching && unit.submit_again) {
      unit.submit_again = false;
      actions.push_back({Kind::kStart, unit.spec.name, unit.row.generation});
      continue;
    }
    if (unit.phase == Phase::kRunning && unit.spec.service && !unit.row.ready && !unit.probed) {
      unit.probed = true;
      actions.push_back({Kind::kProbe, unit.spec.name, unit.row.generation});
      continue;
    }
    const bool over = !unit.row.wanted || unit.removed || unit.phase != Phase::kIdle ||
                      !unit.row.failed.empty() || !unit.row.halted.empty();
    const bool done = !unit.spec.service && unit.row.ready && fresh(unit);
    if (over || done || now < unit.not_before || !may_start(unit)) {
      unit.print.reset();
      continue;
    }
    if (!unit.spec.inputs.empty() && !unit.print) {
      if (!hears_saves_ && starts_on_save()) continue;
      unit.phase = Phase::kLooking;
      actions.push_back({Kind::kLook, unit.spec.name, unit.row.generation});
      continue;
    }
    unit.phase = Phase::kLaunching;
    unit.unchanged = false;
    unit.row.inputs = std::exchange(unit.print, std::nullopt).value_or("");
    unit.row.again = std::exchange(unit.changed, false);
    unit.row.live = true;
    unit.row.ready = false;
    unit.row.started_as = unit.wanted_as;
    ++unit.row.generation;
    unit.since = now;
    unit.run_cause = std::exchange(unit.cause, "");
    actions.push_back({Kind::kStart, unit.spec.name, unit.row.generation, unit.run_cause});
  }
  std::erase_if(units_,
                [](const Unit& unit) { return unit.removed && unit.phase == Phase::kIdle; });
  return actions;
}

std::optional<int64_t> ProjectRun::wakeup() const {
  std::optional<int64_t> at;
  for (const Unit& unit : units_) {
    if (unit.phase != Phase::kIdle || !unit.row.wanted || unit.not_before == 0) continue;
    if (!unit.row.failed.empty() || !unit.row.halted.empty() || !may_start(unit)) continue;
    at = std::min(at.value_or(INT64_MAX), unit.not_before);
  }
  return at;
}

// Those that wait for what will not come by itself: one pass, since what they wait for comes first.
std::set<std::string> ProjectRun::blocked() const {
  std::set<std::string> blocked;
  for (const Unit& unit : units_) {
    const bool is_blocked =
        std::any_of(unit.spec.after.begin(), unit.spec.after.end(), [&](const std::string& name) {
          if (satisfied(name)) return false;
          const Unit* other = find(name);
          if (other == nullptr) return true;
          const UnitState state = state_of(*other);
          return state == UnitState::kFailed || state == UnitState::kStopped ||
                 blocked.contains(name);
        });
    if (is_blocked && unit.phase != Phase::kStopping) blocked.insert(unit.spec.name);
  }
  return blocked;
}

UnitState ProjectRun::state_of(const Unit& unit) const {
  switch (unit.phase) {
    case Phase::kStopping:
      return UnitState::kStopping;
    case Phase::kLaunching:
    case Phase::kRunning:
      if (!unit.spec.service) return UnitState::kRunning;
      return unit.row.ready ? UnitState::kReady : UnitState::kStarting;
    case Phase::kLooking:
    case Phase::kIdle:
      break;
  }
  if (!unit.row.wanted) return UnitState::kStopped;
  if (!unit.row.failed.empty()) return UnitState::kFailed;
  if (!unit.row.halted.empty()) return UnitState::kStopped;
  if (!unit.spec.service && unit.row.ready && fresh(unit)) return UnitState::kDone;
  const bool again = unit.row.failures > 0 && may_start(unit);
  return again ? UnitState::kRestarting : UnitState::kWaiting;
}

std::string ProjectRun::waits_for(const Unit& unit) const {
  std::vector<std::string> names;
  for (const std::string& name : unit.spec.after) {
    const Unit* other = find(name);
    if (other == nullptr || satisfied(name)) continue;
    names.push_back(absl::StrCat(name, " (", unit_state_name(state_of(*other)), ")"));
  }
  return names.empty() ? "" : absl::StrCat("waits for ", absl::StrJoin(names, ", "));
}

std::string ProjectRun::reason_of(const Unit& unit, UnitState state, int64_t now) const {
  switch (state) {
    case UnitState::kFailed:
      return unit.row.failed;
    case UnitState::kStopped:
      return unit.row.halted;
    case UnitState::kWaiting:
      if (unit.phase == Phase::kLooking) return "its inputs are looked at";
      if (!may_start(unit)) return waits_for(unit);
      return unit.spec.inputs.empty() ? "" : "the watch of its directory begins";
    case UnitState::kDone:
      return unit.unchanged ? "nothing to do: its inputs are as they were" : "";
    case UnitState::kRestarting: {
      const int64_t left = std::max<int64_t>(0, unit.not_before - now) / kMs;
      return absl::StrCat(unit.last_end.empty() ? "it failed" : unit.last_end, "; again in ",
                          format_duration(std::chrono::milliseconds(left)));
    }
    case UnitState::kReady: {
      const std::string waits = fresh(unit) ? "" : waits_for(unit);
      return waits.empty() ? "" : absl::StrCat("an earlier version runs: the new one ", waits);
    }
    default:
      return unit.unready;
  }
}

std::vector<UnitView> ProjectRun::views(int64_t now) const {
  std::vector<UnitView> views;
  for (const Unit& unit : units_) {
    const UnitState state = state_of(unit);
    UnitView view{unit.spec.name,
                  unit.spec.service,
                  state,
                  reason_of(unit, state, now),
                  unit.task,
                  0,
                  unit.row.restarts,
                  unit.since,
                  unit.spec.after};
    view.port = unit.spec.port_kind == PortKind::kFixed ? unit.spec.port : unit.row.port;
    views.push_back(std::move(view));
  }
  return views;
}

const UnitSpec* ProjectRun::spec_of(const std::string& name) const {
  const Unit* unit = find(name);
  return unit == nullptr ? nullptr : &unit->spec;
}

const UnitRow* ProjectRun::row_of(const std::string& name) const {
  const Unit* unit = find(name);
  return unit == nullptr ? nullptr : &unit->row;
}

std::vector<UnitRow> ProjectRun::rows() const {
  std::vector<UnitRow> rows;
  for (const Unit& unit : units_) rows.push_back(unit.row);
  return rows;
}

std::string ProjectRun::task_of(const std::string& name) const {
  const Unit* unit = find(name);
  return unit == nullptr ? "" : unit->task;
}

std::vector<std::pair<std::string, uint16_t>> ProjectRun::ports_for(const std::string& name) const {
  std::vector<std::pair<std::string, uint16_t>> ports;
  std::set<std::string> wanted{name};
  for (auto unit = units_.rbegin(); unit != units_.rend(); ++unit) {
    if (!wanted.contains(unit->spec.name)) continue;
    wanted.insert(unit->spec.after.begin(), unit->spec.after.end());
    const uint16_t port =
        unit->spec.port_kind == PortKind::kFixed ? unit->spec.port : unit->row.port;
    if (unit->spec.port_kind != PortKind::kNone && port != 0) {
      ports.emplace_back(port_variable(unit->spec.name), port);
    }
  }
  return ports;
}

bool ProjectRun::settled() const {
  const std::set<std::string> stuck = blocked();
  return std::all_of(units_.begin(), units_.end(), [&](const Unit& unit) {
    switch (state_of(unit)) {
      case UnitState::kStopped:
      case UnitState::kFailed:
      case UnitState::kDone:
        return true;
      case UnitState::kReady:
        return unit.row.wanted && unit.unready.empty() &&
               (fresh(unit) || stuck.contains(unit.spec.name));
      case UnitState::kWaiting:
        return stuck.contains(unit.spec.name);
      default:
        return false;
    }
  });
}

bool ProjectRun::healthy() const {
  return std::all_of(units_.begin(), units_.end(), [](const Unit& unit) {
    return !unit.row.wanted || (unit.row.ready && fresh(unit));
  });
}

bool ProjectRun::active() const {
  const std::set<std::string> stuck = blocked();
  return std::any_of(units_.begin(), units_.end(), [&](const Unit& unit) {
    const UnitState state = state_of(unit);
    const bool ended =
        state == UnitState::kStopped || state == UnitState::kFailed || state == UnitState::kDone;
    return !ended && !(state == UnitState::kWaiting && stuck.contains(unit.spec.name));
  });
}

}  // namespace zsync::daemon
