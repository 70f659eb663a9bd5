// Whose run a task is: runs of one source replace one another's diagnostics.
#pragma once

#include <string>

#include "daemon/diagnostics/findings.hpp"
#include "daemon/tasks/engine.hpp"

namespace zsync::daemon {

inline constexpr size_t kSourceBytesMax = 512;

// PROJECT/UNIT of a project's unit, "schedule NAME" of a schedule's task, else name or command, and
// the directory: two worktrees are two sources.
std::string source_of(const TaskRecord& task, const std::string& cwd);

// What a go.mod in `cwd` or above says. Blocks on the disk.
MatchContext context_in(const std::string& cwd);

}  // namespace zsync::daemon
