// Projects on the command line: up, down, restart, and what ps, logs and why say of their units.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/command.hpp"
#include "cli/context.hpp"

namespace zsync::cli {

// `given`, or the directory of the nearest zsync.yaml from here upwards; empty: there is none.
std::string project_near(const std::string& given);

// `ps --project`.
absl::StatusOr<int> show_project(Context& context, const std::string& project);

// The unit of the project nearby that is named so; nullopt: there is none. Asks the daemon only
// where a zsync.yaml is found.
std::optional<v1::ProjectUnit> unit_nearby(Context& context, const std::string& name);

// What a unit waits for, or why it is what it is.
absl::StatusOr<int> why_unit(Context& context, const v1::ProjectUnit& unit);

// Output of a project's units, each line behind the unit's name: with `follow` as it comes, else
// the newest lines by their time. No units: all.
absl::StatusOr<int> project_logs(Context& context, const std::string& project,
                                 const std::vector<std::string>& units, bool follow);

}  // namespace zsync::cli
