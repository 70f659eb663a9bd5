// Admission: which tasks a group takes, and when it has too many. Pure.
//
// A drained group takes none. One with a bound on what waits in it is overloaded once more are
// given to it: they wait as well, are refused, or push others out, as its policy says.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/tasks/task_queue.hpp"

namespace zsync::daemon {

inline constexpr uint32_t kGroupQueuedMax = 10'000'000;

// What a caller wants to be otherwise.
struct GroupChange {
  std::optional<uint32_t> parallel;
  std::optional<StartOrder> order;
  std::optional<OverloadPolicy> overload;
  std::optional<uint32_t> queued_max;
  std::optional<uint64_t> memory_bytes_max;
  std::optional<uint32_t> cpu_millis_max;
  std::optional<bool> paused;
  std::optional<bool> drained;
};

// `by` is who asks, and when. One that is paused or drained already stays so since it was.
//
// Errors: kInvalidArgument with the field, the limit and the cure.
absl::StatusOr<GroupSettings> changed(const std::string& group, GroupSettings settings,
                                      const GroupChange& change, const GroupHold& by);

// Whether the limits of `spec` fit into the budget of its group at all.
//
// Errors: kFailedPrecondition with the field, the budget and the cure.
absl::Status check_budget(const TaskSpec& spec, const GroupRecord& group);

// "512 MiB", "1.5 CPUs"
std::string mib_text(uint64_t mib);
std::string cpus_text(uint64_t millis);

// "uid 1000 (pid 42) since 2026-12-24T18:00:00Z"
std::string held_by(const GroupHold& hold);

class Admission {
 public:
  using Wanted = std::map<std::string, uint32_t>;  // tasks, by group
  struct Overload {
    std::string group;
    bool begins = false;
  };

  // What is let in counts as on its way until `arrived`.
  //
  // Errors: kFailedPrecondition for a drained group, kResourceExhausted for a full one that
  // refuses; then nothing is on its way.
  absl::Status admit(const Wanted& wanted, const TaskQueue& queue);
  // It is in the queue, or will not come.
  void arrived(const Wanted& wanted);
  // More than its bound came to the group.
  void overloaded(const std::string& group) { overloaded_.try_emplace(group, false); }
  // What began and what is over, each told once.
  std::vector<Overload> news(const TaskQueue& queue);

 private:
  std::map<std::string, uint32_t> coming_;
  std::map<std::string, bool> overloaded_;  // whether that was told
};

}  // namespace zsync::daemon
