// `zsyncctl watch state`: named states of directories, held while a command runs.
#pragma once

#include <CLI/CLI.hpp>

#include "cli/context.hpp"

namespace zsync::cli {

void add_watch_state(CLI::App& watch, Context& context);

}  // namespace zsync::cli
