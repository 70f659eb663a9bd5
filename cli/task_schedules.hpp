// `zsyncctl tasks schedule`: tasks that come again.
#pragma once

#include <CLI/CLI.hpp>

#include "cli/context.hpp"

namespace zsync::cli {

void add_task_schedules(CLI::App& tasks, Context& context);

}  // namespace zsync::cli
