#include "zsync/periodic.hpp"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "rt/classes.hpp"
#include "zsync/assert.hpp"

namespace zsync {
namespace {

rt::Duration deadline_of(const PeriodicOptions& task) {
  return task.deadline == rt::Duration{0} ? task.period : task.deadline;
}

std::string describe(rt::Duration duration) {
  return absl::FormatDuration(absl::FromChrono(duration));
}

// What is wrong with a task's values, or nothing.
std::string bad_value(const PeriodicOptions& task) {
  const std::string who = absl::StrCat("periodic task \"", task.name, "\": ");
  if (task.period <= rt::Duration{0}) {
    return absl::StrCat(who, "a period of ", describe(task.period), "; it has to be above zero");
  }
  if (task.period > PeriodicSet::kPeriodMax) {
    return absl::StrCat(who, "a period of ", describe(task.period), "; it has to be at most ",
                        describe(PeriodicSet::kPeriodMax));
  }
  if (task.cost <= rt::Duration{0} || task.cost > task.period) {
    return absl::StrCat(who, "a cost of ", describe(task.cost),
                        "; say what one job runs for at most, within the period");
  }
  if (task.deadline < rt::Duration{0} || task.deadline > task.period) {
    return absl::StrCat(who, "a deadline of ", describe(task.deadline),
                        "; it has to be at most the period of ", describe(task.period));
  }
  return {};
}

double utilization_of(const PeriodicOptions& task) {
  return static_cast<double>(task.cost.count()) / static_cast<double>(task.period.count());
}

// The smallest R = blocking + cost + the sum of ceil(R / period) * cost over the others that are
// not lower (equal ones run in turns); a value above the deadline where there is none up to it.
//
// R is at least (blocking + cost) / (1 - their utilization), so the search may begin there (Sjodin,
// Hansson: Improved Response-Time Analysis Calculations, 1998).
rt::Duration response_time(const std::vector<PeriodicOptions>& tasks, size_t index,
                           rt::Duration blocking) {
  const rt::Duration deadline = deadline_of(tasks[index]);
  const rt::Duration own = blocking + tasks[index].cost;
  const auto delays = [&](size_t i) { return i != index && deadline_of(tasks[i]) <= deadline; };
  double free = 1;
  for (size_t i = 0; i < tasks.size(); ++i) free -= delays(i) ? utilization_of(tasks[i]) : 0;
  const double least = static_cast<double>(own.count()) / std::max(free, 1e-12) * (1 - 1e-9);
  if (own > deadline) return own;
  if (least > static_cast<double>(deadline.count())) return deadline + rt::Duration{1};
  rt::Duration response = std::max(own, rt::Duration{static_cast<int64_t>(least)});
  while (true) {
    rt::Duration next = own;
    for (size_t i = 0; i < tasks.size() && next <= deadline; ++i) {
      if (!delays(i)) continue;
      const auto releases = (response - rt::Duration{1}) / tasks[i].period + 1;
      next += releases * tasks[i].cost;
    }
    if (next == response || next > deadline) return next;
    response = next;
  }
}

Admission analyse_set(const std::vector<PeriodicOptions>& tasks, rt::Duration blocking) {
  Admission answer;
  bool implicit_deadlines = blocking == rt::Duration{0};
  for (const PeriodicOptions& task : tasks) {
    answer.utilization += utilization_of(task);
    implicit_deadlines = implicit_deadlines && deadline_of(task) == task.period;
  }
  const auto count = static_cast<double>(std::max<size_t>(tasks.size(), 1));
  answer.bound = count * (std::exp2(1 / count) - 1);
  answer.admitted = true;
  for (size_t i = 0; i < tasks.size(); ++i) {
    const rt::Duration deadline = deadline_of(tasks[i]);
    const rt::Duration response = response_time(tasks, i, blocking);
    answer.response_times.push_back({tasks[i].name, response, deadline});
    if (response <= deadline || !answer.admitted) continue;
    answer.admitted = false;
    answer.reason = absl::StrCat(
        "periodic task \"", tasks[i].name, "\" would end ", describe(response),
        " after its release or later, its deadline is after ", describe(deadline),
        "; lower the cost or lengthen the period of it or of a task with a shorter deadline");
  }
  if (answer.admitted) {
    answer.by = implicit_deadlines && answer.utilization <= answer.bound
                    ? Admission::Test::liu_layland
                    : Admission::Test::response_time;
  }
  return answer;
}

}  // namespace

PeriodicSet::PeriodicSet(rt::Duration blocking_max) : blocking_(blocking_max) {
  ZS_ASSERT(blocking_max >= rt::Duration{0} && blocking_max <= kPeriodMax,
            "PeriodicSet(blocking_max) below zero or above PeriodicSet::kPeriodMax");
}

Admission PeriodicSet::admit(PeriodicOptions task) {
  Admission answer;
  answer.reason = bad_value(task);
  if (!answer.reason.empty()) return answer;
  const auto same = [&task](const PeriodicOptions& other) { return other.name == task.name; };
  if (std::any_of(tasks_.begin(), tasks_.end(), same)) {
    answer.reason = absl::StrCat("periodic task \"", task.name,
                                 "\": there is one of that name; remove() it first");
    return answer;
  }
  if (tasks_.size() == kTasksMax) {
    answer.reason = absl::StrCat("periodic task \"", task.name, "\": the set has ", kTasksMax,
                                 " tasks, PeriodicSet::kTasksMax; use another worker and set");
    return answer;
  }
  std::vector<PeriodicOptions> tasks = tasks_;
  const auto place = std::upper_bound(
      tasks.begin(), tasks.end(), task,
      [](const auto& a, const auto& b) { return deadline_of(a) < deadline_of(b); });
  tasks.insert(place, std::move(task));
  answer = analyse_set(tasks, blocking_);
  if (answer.admitted) tasks_ = std::move(tasks);
  return answer;
}

bool PeriodicSet::remove(const std::string& name) {
  return std::erase_if(tasks_, [&name](const auto& task) { return task.name == name; }) > 0;
}

Admission PeriodicSet::analyse() const { return analyse_set(tasks_, blocking_); }

namespace rt {

void assert_periodic(const PeriodicOptions& options) {
  ZS_ASSERT(options.period > Duration{0},
            "spawn_periodic() with a period that is not above zero: set PeriodicOptions::period");
  ZS_ASSERT(options.deadline >= Duration{0} && options.deadline <= options.period,
            "spawn_periodic() with a deadline beyond the period: jobs of a task do not overlap");
}

void launch_periodic(Scheduler& scheduler, TaskContext& context, const PeriodicOptions& options) {
  context.scheduler = &scheduler;
  if (!options.name.empty()) context.set_name(options.name);
  scheduler.strand_started(context);
  scheduler.classes().enter_periodic(context, deadline_of(options));
  context.schedule();
}

Release after_job(const Release& release, const PeriodicOptions& options, TimePoint now,
                  PeriodicCounts& counts) {
  counts.jobs.fetch_add(1, std::memory_order_relaxed);
  if (now - release.time > deadline_of(options)) {
    counts.overruns.fetch_add(1, std::memory_order_relaxed);
  }
  // A release at this very moment is still to come.
  const Duration past = now - release.time;
  const auto passed = std::max<int64_t>((past - Duration{1}) / options.period, 0);
  const auto missed = static_cast<uint64_t>(passed);
  counts.missed.fetch_add(missed, std::memory_order_relaxed);
  return {.number = release.number + missed + 1,
          .time = release.time + (passed + 1) * options.period,
          .missed = missed};
}

}  // namespace rt
}  // namespace zsync
