// `zsyncctl watch state`: named states of directories, held while a command runs.
#pragma once

#include "cli/command.hpp"
#include "cli/context.hpp"

namespace zsync::cli {

void add_watch_state(Command& watch, Context& context);

}  // namespace zsync::cli
