// `zsyncctl tasks groups|group|resources|resource`: where tasks wait, and what they share.
#pragma once

#include "cli/command.hpp"
#include "cli/context.hpp"

namespace zsync::cli {

void add_task_groups(Command& tasks, Context& context);

}  // namespace zsync::cli
