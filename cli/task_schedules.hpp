// `zsyncctl tasks schedule`: tasks that come again.
#pragma once

#include "cli/command.hpp"
#include "cli/context.hpp"

namespace zsync::cli {

void add_task_schedules(Command& tasks, Context& context);

}  // namespace zsync::cli
