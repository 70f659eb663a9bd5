// A task's output: `logs` and `tasks output`; what a task waits for: `why` and `tasks why`.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "cli/context.hpp"

namespace zsync::cli {

void add_logs(CLI::App& parent, Context& context, const std::string& name);

absl::StatusOr<int> why(Context& context, const std::string& id);

}  // namespace zsync::cli
