// What saved files mean for a project's steps, and when one has nothing to do.
#include <algorithm>
#include <utility>

#include "daemon/projects/project_run.hpp"

namespace zsync::daemon {

// A step is to be done again; while it runs, after that.
void ProjectRun::renew(Unit& unit, const std::string& cause, int64_t now) {
  unit.cause = cause;
  if (unit.phase == Phase::kLooking) {
    unit.changed = true;
    return;
  }
  if (unit.phase != Phase::kIdle) {
    unit.row.again = true;
    return;
  }
  unit.failed_before = unit.spec.inputs.empty() ? "" : unit.row.failed;
  unit.row.started_as.clear();
  unit.row.failed.clear();
  unit.row.halted.clear();
  unit.print.reset();
  unit.since = now;
}

// What it waits for, directly or not.
std::set<std::string> ProjectRun::before(const Unit& unit) const {
  std::set<std::string> names(unit.spec.after.begin(), unit.spec.after.end());
  for (auto other = units_.rbegin(); other != units_.rend(); ++other) {
    if (!names.contains(other->spec.name)) continue;
    names.insert(other->spec.after.begin(), other->spec.after.end());
  }
  return names;
}

// Steps that saves start, and the steps that those wait for.
std::set<std::string> ProjectRun::started_by_saves() const {
  std::set<std::string> names;
  for (const Unit& unit : units_) {
    if (!unit.spec.on_save || !unit.row.wanted || unit.removed) continue;
    names.merge(before(unit));
    names.insert(unit.spec.name);
  }
  std::erase_if(names, [this](const std::string& name) {
    const Unit* unit = find(name);
    return unit == nullptr || unit->spec.service || !unit->row.wanted;
  });
  return names;
}

void ProjectRun::inputs_changed(const std::set<std::string>& steps, const std::string& cause,
                                int64_t now) {
  for (const std::string& name : started_by_saves()) {
    if (steps.contains(name)) renew(*find(name), cause, now);
  }
}

void ProjectRun::inputs_unsure(const std::set<std::string>& steps, int64_t now) {
  for (const std::string& name : started_by_saves()) {
    Unit& unit = *find(name);
    if (steps.contains(name) && unit.row.halted.empty()) renew(unit, "", now);
  }
}

void ProjectRun::looked(const std::string& name, const std::string& print, bool outputs_there,
                        int64_t now) {
  Unit* unit = find(name);
  if (unit == nullptr || unit->phase != Phase::kLooking) return;
  unit->phase = Phase::kIdle;
  UnitRow& row = unit->row;
  const bool as_before = !print.empty() && row.inputs == print;
  const bool done = as_before && outputs_there && row.ready;
  const bool failed = as_before && !unit->failed_before.empty();
  const bool changed = std::exchange(unit->changed, false);
  // Saved meanwhile: they are looked at once more. Who saves all the time does not hold a run up.
  if (changed && (done || failed || !unit->relooked)) {
    unit->relooked = true;
    return;
  }
  unit->relooked = false;
  const std::string failure = std::exchange(unit->failed_before, "");
  if (!done && !failed) {
    unit->print = print;
    unit->changed = changed;
    return;
  }
  row.started_as = unit->wanted_as;
  if (failed) row.failed = failure;
  unit->unchanged = done;
  unit->cause.clear();
  unit->since = now;
}

bool ProjectRun::starts_on_save() const {
  return std::any_of(units_.begin(), units_.end(), [](const Unit& unit) {
    return unit.spec.on_save && unit.row.wanted && !unit.removed;
  });
}

}  // namespace zsync::daemon
