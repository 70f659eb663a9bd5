// `zsyncctl tasks submit`.
#pragma once

#include "cli/command.hpp"
#include "cli/context.hpp"

namespace zsync::cli {

void add_submit(Command& tasks, Context& context);

}  // namespace zsync::cli
