// What the verbs of `zsyncctl tasks` share.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/command.hpp"
#include "cli/context.hpp"

namespace zsync::cli {

using Ids = std::vector<std::string>;

inline constexpr const char* kIdHelp = "Id, unique prefix of one, or name";

// Connects, then runs `each` on every id; the first error ends it.
absl::StatusOr<int> for_each_id(
    Context& context, const Ids& ids,
    const std::function<absl::Status(client::Tasks, const std::string&,
                                     const client::CallOptions&)>& each);

// Shows what a verb left of a task.
absl::Status show_result(Context& context, const absl::StatusOr<v1::Task>& task);

// pause, resume, signal, attach.
void add_control(Command& tasks, Context& context);

}  // namespace zsync::cli
