// `zsyncctl tasks groups|group|resources|resource`: where tasks wait, and what they share.
#pragma once

#include <CLI/CLI.hpp>

#include "cli/context.hpp"

namespace zsync::cli {

void add_task_groups(CLI::App& tasks, Context& context);

}  // namespace zsync::cli
