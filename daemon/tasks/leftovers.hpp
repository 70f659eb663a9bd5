// What a task leaves behind on the machine when its supervisor was killed.
#pragma once

#include <cstddef>
#include <string>

namespace zsync::daemon {

// Kills every process whose environment says ZSYNC_TASK_ID=`task_id`, again and again until none is
// left (at most `kLeftoverRounds` times) -> how many were killed. Reads /proc; may block briefly.
size_t kill_leftovers(const std::string& task_id);

inline constexpr int kLeftoverRounds = 20;

}  // namespace zsync::daemon
