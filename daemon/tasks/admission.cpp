#include "daemon/tasks/admission.hpp"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "daemon/fault/fault.hpp"
#include "daemon/tasks/deadlines.hpp"

namespace zsync::daemon {
namespace {

absl::Status wrong(const char* field, std::string message, std::string limit, std::string hint) {
  return fault(absl::StatusCode::kInvalidArgument, std::move(message),
               {field, limit.empty() ? "INVALID" : "LIMIT", std::move(limit), std::move(hint), {}});
}

void hold(GroupHold& hold, bool on, const GroupHold& by) {
  if (!on) hold = {};
  if (on && !hold.on()) hold = by;
}

bool overfull(const GroupRecord& group, uint32_t coming, uint32_t wanted) {
  const GroupSettings& settings = group.settings;
  if (settings.queued_max == 0) return false;
  const uint32_t places = settings.paused.on() ? 0 : settings.parallel;
  const uint64_t free = places > group.running ? places - group.running : 0;
  const uint64_t fresh = uint64_t{coming} + wanted;
  return group.queued >= settings.queued_max ||
         group.queued + (fresh > free ? fresh - free : 0) > settings.queued_max;
}

absl::Status check_new_budget(const std::string& group, const GroupChange& change) {
  const uint64_t memory = change.memory_bytes_max.value_or(0);
  if (memory != 0 && (memory < kMemoryBytesMin || memory > kBudgetMemoryBytesMax)) {
    return wrong("memory_bytes_max",
                 absl::StrCat("group \"", group, "\" with a memory of ", memory, " bytes"),
                 absl::StrCat("budget_memory_bytes_max = ", kBudgetMemoryBytesMax),
                 "give 1 MiB to 1 PiB, or 0 for any amount");
  }
  const uint32_t cpu = change.cpu_millis_max.value_or(0);
  if (cpu != 0 && (cpu < kCpuMillisMin || cpu > kCpuMillisMax)) {
    return wrong("cpu_millis_max",
                 absl::StrCat("group \"", group, "\" with ", cpu, " thousandths", " of a CPU"),
                 absl::StrCat("cpu_millis_max = ", kCpuMillisMax),
                 "give 10 (0.01 CPUs) to 4096000, or 0 for any amount");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status check_budget(const TaskSpec& spec, const GroupRecord& group) {
  const auto refused = [&](const char* field, const std::string& wants, const std::string& limit,
                           const std::string& cure) {
    return fault(absl::StatusCode::kFailedPrecondition,
                 absl::StrCat("it may take ", wants, ", and all tasks of group \"", group.name,
                              "\" together ", limit),
                 {field,
                  "BUDGET",
                  absl::StrCat("budget = ", limit),
                  absl::StrCat("lower its limit, or raise the budget: `zsyncctl tasks group set ",
                               group.name, " ", cure, "`"),
                  {}});
  };
  const GroupSettings& budget = group.settings;
  const uint64_t memory = budget_mib(spec.limits.memory_bytes);
  if (budget.memory_bytes_max != 0 && memory > budget.memory_bytes_max >> 20) {
    return refused("spec.limits.memory_bytes", mib_text(memory) + " of memory",
                   mib_text(budget.memory_bytes_max >> 20), "--memory SIZE");
  }
  if (budget.cpu_millis_max != 0 && spec.limits.cpu_millis > budget.cpu_millis_max) {
    return refused("spec.limits.cpu_millis", cpus_text(spec.limits.cpu_millis),
                   cpus_text(budget.cpu_millis_max), "--cpus N");
  }
  return absl::OkStatus();
}

std::string mib_text(uint64_t mib) { return absl::StrCat(mib, " MiB"); }

std::string cpus_text(uint64_t millis) {
  return absl::StrCat(static_cast<double>(millis) / 1000.0, " CPUs");
}

std::string held_by(const GroupHold& hold) {
  return absl::StrCat("uid ", hold.uid, " (pid ", hold.pid, ") since ",
                      utc_text(hold.since_unix_nano));
}

absl::StatusOr<GroupSettings> changed(const std::string& group, GroupSettings settings,
                                      const GroupChange& change, const GroupHold& by) {
  if (group.empty() || group.size() > kNameBytesMax) {
    return wrong("name", absl::StrCat("the name of a group has ", group.size(), " bytes"),
                 absl::StrCat("name_bytes_max = ", kNameBytesMax), "give 1 to 128");
  }
  if (!change.parallel && !change.order && !change.overload && !change.queued_max &&
      !change.memory_bytes_max && !change.cpu_millis_max && !change.paused && !change.drained) {
    return wrong("parallel", absl::StrCat("nothing of group \"", group, "\" is to be changed"), "",
                 "give parallel (1 to 4096), order, overload, queued_max, memory_bytes_max, "
                 "cpu_millis_max, paused or drained");
  }
  if (change.parallel && (*change.parallel == 0 || *change.parallel > kParallelMax)) {
    return wrong("parallel", absl::StrCat("group \"", group, "\" with parallel ", *change.parallel),
                 absl::StrCat("parallel_max = ", kParallelMax), "give 1 to 4096");
  }
  if (change.queued_max && *change.queued_max > kGroupQueuedMax) {
    return wrong("queued_max",
                 absl::StrCat("group \"", group, "\" with queued_max ", *change.queued_max),
                 absl::StrCat("group_queued_max = ", kGroupQueuedMax),
                 "give 1 to 10000000, or 0 for no bound");
  }
  if (absl::Status status = check_new_budget(group, change); !status.ok()) return status;
  settings.parallel = change.parallel.value_or(settings.parallel);
  settings.order = change.order.value_or(settings.order);
  settings.overload = change.overload.value_or(settings.overload);
  settings.queued_max = change.queued_max.value_or(settings.queued_max);
  settings.memory_bytes_max = change.memory_bytes_max.value_or(settings.memory_bytes_max);
  settings.cpu_millis_max = change.cpu_millis_max.value_or(settings.cpu_millis_max);
  if (settings.overload != OverloadPolicy::kQueue && settings.queued_max == 0) {
    return wrong("queued_max",
                 absl::StrCat("group \"", group, "\" is to ",
                              settings.overload == OverloadPolicy::kReject ? "reject" : "shed",
                              " tasks, and queued_max does not say from how many on"),
                 "", "give queued_max as well, or the overload policy queue");
  }
  if (change.paused) hold(settings.paused, *change.paused, by);
  if (change.drained) hold(settings.drained, *change.drained, by);
  return settings;
}

absl::Status Admission::admit(const Wanted& wanted, const TaskQueue& queue) {
  for (const auto& [name, count] : wanted) {
    const GroupRecord group = queue.group(name);
    const GroupSettings& settings = group.settings;
    if (settings.drained.on()) {
      return fault(absl::StatusCode::kFailedPrecondition,
                   absl::StrCat("group \"", name, "\" takes no new tasks: drained by ",
                                held_by(settings.drained)),
                   {"spec.group",
                    "DRAINED",
                    "",
                    absl::StrCat("`zsyncctl tasks group undrain ", name,
                                 "` lets it take tasks again; or name another group"),
                    {}});
    }
    auto coming = coming_.find(name);
    if (settings.overload != OverloadPolicy::kReject ||
        !overfull(group, coming == coming_.end() ? 0 : coming->second, count)) {
      continue;
    }
    overloaded(name);
    return fault(absl::StatusCode::kResourceExhausted,
                 absl::StrCat("group \"", name, "\" has ", group.queued,
                              " queued tasks and refuses ", count, " more"),
                 {"spec.group",
                  "OVERLOADED",
                  absl::StrCat("queued_max = ", settings.queued_max),
                  absl::StrCat("wait until some have run, or raise it: `zsyncctl tasks group set ",
                               name, " --queued-max N`"),
                  {}});
  }
  for (const auto& [name, count] : wanted) coming_[name] += count;
  return absl::OkStatus();
}

void Admission::arrived(const Wanted& wanted) {
  for (const auto& [name, count] : wanted) {
    auto coming = coming_.find(name);
    coming->second -= count;
    if (coming->second == 0) coming_.erase(coming);
  }
}

std::vector<Admission::Overload> Admission::news(const TaskQueue& queue) {
  std::vector<Overload> news;
  for (auto at = overloaded_.begin(); at != overloaded_.end();) {
    const GroupRecord group = queue.group(at->first);
    if (!at->second) {
      at->second = true;
      news.push_back({at->first, true});
    } else if (group.queued < group.settings.queued_max || group.settings.queued_max == 0) {
      news.push_back({at->first, false});
      at = overloaded_.erase(at);
      continue;
    }
    ++at;
  }
  return news;
}

}  // namespace zsync::daemon
