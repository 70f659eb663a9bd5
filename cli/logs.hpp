// A task's output: `logs` and `tasks output`; what a task waits for: `why` and `tasks why`.
#pragma once

#include <string>

#include "cli/command.hpp"
#include "cli/context.hpp"

namespace zsync::cli {

void add_logs(Command& parent, Context& context, const std::string& name);

absl::StatusOr<int> why(Context& context, const std::string& id);

}  // namespace zsync::cli
