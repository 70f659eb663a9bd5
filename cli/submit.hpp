// `zsyncctl tasks submit`.
#pragma once

#include <CLI/CLI.hpp>

#include "cli/context.hpp"

namespace zsync::cli {

void add_submit(CLI::App& tasks, Context& context);

}  // namespace zsync::cli
