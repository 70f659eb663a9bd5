#include "rt/classes.hpp"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "rt/inheritance.hpp"

namespace zsync {
namespace rt {
namespace {

constexpr int64_t kNever = TimePoint::max().time_since_epoch().count();

// A task is late once its deadline has passed, not at the deadline.
int64_t late_from(TimePoint deadline) {
  const int64_t at = deadline.time_since_epoch().count();
  return at == kNever ? at : at + 1;
}

std::string describe(Duration duration) { return absl::FormatDuration(absl::FromChrono(duration)); }

std::string title(const TaskContext& task, const SpawnOptions& options) {
  return options.name.empty() ? absl::StrCat("task ", task.id)
                              : absl::StrCat("task \"", options.name, "\"");
}

uint64_t job_of(const TaskContext& task) { return reinterpret_cast<uintptr_t>(&task); }

}  // namespace

Lock class_lock;

Classes::Classes(Scheduler& scheduler, size_t workers, DeadlineMissCallback on_miss,
                 OverloadPolicy policy)
    : scheduler_(scheduler),
      on_miss_(std::move(on_miss)),
      policy_(policy),
      ready_(workers),
      demand_(workers),
      pinned_(std::make_unique<std::atomic<size_t>[]>(workers)),
      next_deadline_(kNever) {}

absl::Status Classes::enter(TaskContext& task, const SpawnOptions& options) {
  classes_used.store(true, std::memory_order_relaxed);
  const TimePoint now = options.deadline ? scheduler_.now() : TimePoint{};
  if (options.deadline && *options.deadline < now) {
    return absl::DeadlineExceededError(
        absl::StrCat("spawn(): the deadline of ", title(task, options), " passed ",
                     describe(now - *options.deadline),
                     " ago, so it was not started: give SpawnOptions::deadline a time ahead"));
  }
  Aftermath aftermath;
  absl::Status admitted;
  {
    LockGuard guard(class_lock);
    Standing standing;
    standing.id = task.id;
    standing.name = options.name;
    standing.deadline = options.deadline;
    standing.when_late = urgency_of(options.priority);
    standing.base = standing.when_late;
    if (options.deadline) {
      standing.base = {.rank = Rank::kDeadline, .deadline = *options.deadline};
      if (options.cost) admitted = reserve(task, standing, options, now, aftermath);
    }
    if (admitted.ok()) {
      standing.effective = standing.base;
      standings_[&task] = std::move(standing);
      task.set_standing(true);
      if (options.deadline) watch(*options.deadline, task);
    }
  }
  settle(aftermath);
  return admitted;
}

void Classes::enter_periodic(TaskContext& task, Duration deadline) {
  classes_used.store(true, std::memory_order_relaxed);
  LockGuard guard(class_lock);
  Standing& standing = find_or_make(task);
  standing.base = {.rank = Rank::kPeriodic, .deadline = TimePoint(deadline)};
  standing.effective = standing.base;
}

absl::Status Classes::reserve(TaskContext& task, Standing& standing, const SpawnOptions& options,
                              TimePoint now, Aftermath& aftermath) {
  const TimePoint deadline = *options.deadline;
  const Duration cost = std::max(*options.cost, Duration{0});
  demand_.advance(now);
  while (true) {
    const Duration missing = demand_.missing(deadline, cost);
    if (missing == Duration{0}) break;
    if (policy_ == OverloadPolicy::demote) {
      standing.base = standing.when_late;
      return absl::OkStatus();
    }
    const std::optional<ProcessorDemand::Latest> latest = demand_.latest();
    if (policy_ == OverloadPolicy::reject || !latest || latest->deadline <= deadline) {
      return absl::ResourceExhaustedError(absl::StrCat(
          "spawn(): ", title(task, options), " with a cost of ", describe(cost),
          " was not started: up to its deadline or a later one ", describe(missing),
          " of run time is missing; give it a later deadline, or set Config::overload_policy"));
    }
    aftermath.shed.push_back(shed(latest->job));
  }
  demand_.add(job_of(task), deadline, cost);
  standing.reserves = true;
  return absl::OkStatus();
}

TaskContext* Classes::shed(uint64_t job) {
  demand_.remove(job);
  auto* const task = reinterpret_cast<TaskContext*>(static_cast<uintptr_t>(job));
  task->ref();
  return task;
}

void Classes::ended(TaskContext& task) {
  std::vector<DeadlineMiss> misses;
  {
    LockGuard guard(class_lock);
    const auto found = standings_.find(&task);
    if (found == standings_.end()) return;
    Standing& standing = found->second;
    if (standing.deadline && !standing.missed) {
      unwatch(*standing.deadline, task);
      const TimePoint now = scheduler_.now();
      if (now > *standing.deadline) {
        misses.push_back(
            {task.id, standing.name, *standing.deadline, now - *standing.deadline, true});
      }
    }
    if (standing.reserves) demand_.remove(job_of(task));
    forget_holder(standing.holds);
    standings_.erase(found);
  }
  tell(misses);
}

bool Classes::push(TaskContext& strand, int home) {
  LockGuard guard(class_lock);
  const Standing* const standing = find(*strand.root);
  if (!standing || standing->effective.rank == Rank::kNormal) return false;
  put(strand, standing->effective, home);
  return true;
}

TaskContext* Classes::pop(int worker, Rank least) {
  LockGuard guard(class_lock);
  TaskContext* const strand = ready_.pop(worker, least);
  if (strand) publish_counts(worker);
  return strand;
}

void Classes::put(TaskContext& strand, const Urgency& urgency, int home) {
  ready_.push(&strand, urgency, home);
  publish_counts(home);
}

void Classes::publish_counts(int home) {
  if (home >= 0) {
    const size_t before = pinned_[home].exchange(ready_.pinned(home), std::memory_order_seq_cst);
    pinned_sum_ += ready_.pinned(home) - before;
  }
  shared_.store(ready_.shared(), std::memory_order_seq_cst);
  above_.store(ready_.above_normal(), std::memory_order_relaxed);
  waiting_.store(ready_.shared() + pinned_sum_, std::memory_order_seq_cst);
}

void Classes::expire(TimePoint now) {
  Aftermath aftermath;
  std::vector<DeadlineMiss> misses;
  {
    LockGuard guard(class_lock);
    while (!watched_.empty() && watched_.begin()->first < now) {
      TaskContext& task = *watched_.begin()->second;
      Standing& standing = *find(task);
      unwatch(*standing.deadline, task);
      standing.missed = true;
      standing.base = standing.when_late;
      misses.push_back(
          {task.id, standing.name, *standing.deadline, now - *standing.deadline, false});
      recompute_urgency(task, aftermath);
    }
  }
  settle(aftermath);
  tell(misses);
}

void Classes::watch(TimePoint deadline, TaskContext& task) {
  watched_.emplace(deadline, &task);
  next_deadline_.store(late_from(watched_.begin()->first), std::memory_order_relaxed);
}

void Classes::unwatch(TimePoint deadline, TaskContext& task) {
  watched_.erase({deadline, &task});
  next_deadline_.store(watched_.empty() ? kNever : late_from(watched_.begin()->first),
                       std::memory_order_relaxed);
}

void Classes::tell(const std::vector<DeadlineMiss>& misses) {
  if (!on_miss_) return;
  for (const DeadlineMiss& miss : misses) on_miss_(miss);
}

std::optional<TimePoint> Classes::deadline_of(TaskContext& task) {
  LockGuard guard(class_lock);
  const Standing* const standing = find(task);
  return standing ? standing->deadline : std::nullopt;
}

bool Classes::has_class(TaskContext& strand) {
  LockGuard guard(class_lock);
  const Standing* const standing = find(*strand.root);
  return standing && standing->effective.rank != Rank::kNormal;
}

Standing* Classes::find(TaskContext& task) {
  const auto found = standings_.find(&task);
  return found == standings_.end() ? nullptr : &found->second;
}

Standing& Classes::find_or_make(TaskContext& task) {
  const auto [it, made] = standings_.try_emplace(&task);
  if (made) {
    it->second.id = task.id;
    task.set_standing(true);
  }
  return it->second;
}

void Classes::tidy(TaskContext& task) {
  const Standing* const standing = find(task);
  const Urgency normal;
  if (!standing || standing->deadline || !(standing->base == normal) ||
      !(standing->effective == normal) || !standing->holds.empty() || !standing->waits.empty()) {
    return;
  }
  standings_.erase(&task);
  task.set_standing(false);
}

void Classes::set_effective(TaskContext& task, Standing& standing, const Urgency& urgency,
                            Aftermath& aftermath) {
  const bool was_normal = standing.effective.rank == Rank::kNormal;
  standing.effective = urgency;
  std::vector<std::pair<TaskContext*, int>> strands;
  ready_.extract([&task](const TaskContext* strand) { return strand->root == &task; },
                 [&strands](TaskContext* strand, int home) { strands.emplace_back(strand, home); });
  for (const auto& [strand, home] : strands) {
    if (urgency.rank == Rank::kNormal) {
      strand->next_worker = static_cast<int16_t>(home);
      publish_counts(home);
      aftermath.normal.push_back(strand);
    } else {
      put(*strand, urgency, home);
    }
  }
  if (was_normal) scheduler_.sort_ready();
}

void Classes::settle(Aftermath& aftermath) {
  for (TaskContext* strand : aftermath.normal) strand->schedule();
  for (TaskContext* task : aftermath.shed) {
    task->cancel();
    task->unref();
  }
}

}  // namespace rt

std::optional<std::chrono::steady_clock::time_point> deadline() {
  rt::TaskContext* const strand = rt::current_context();
  if (!strand || !strand->has_standing()) return std::nullopt;
  return strand->scheduler->classes().deadline_of(*strand->root);
}

std::optional<std::chrono::nanoseconds> slack() {
  const std::optional<rt::TimePoint> due = deadline();
  if (!due) return std::nullopt;
  return *due - rt::current_context()->scheduler->now();
}

}  // namespace zsync
