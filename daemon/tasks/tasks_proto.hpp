// Between the engine's types and the wire's. For tasks_service only.
#pragma once

#include "absl/status/statusor.h"
#include "daemon/tasks/engine.hpp"
#include "daemon/tasks/live_usage.hpp"
#include "zsync/v1/tasks.pb.h"

namespace zsync::daemon {

// Errors: kInvalidArgument, naming `field`.
absl::StatusOr<shim::TerminalSize> to_terminal_size(const v1::TerminalSize& size,
                                                    const char* field);
// Shares the variables of `likely`, where they are the same ones.
//
// Errors: kInvalidArgument for a negative or oversized duration.
absl::StatusOr<TaskSpec> from_proto(v1::TaskSpec proto, const Environment& likely = {});
// Of a spec that is an array, what it says about that.
ArraySpec array_from_proto(const v1::ArraySpec& proto);
v1::TaskSpec spec_to_proto(const TaskSpec& spec);
v1::Task to_proto(const TaskRecord& record);
// With every attempt, and the result.
v1::Task to_full_proto(const TaskRecord& record);
void add_live_usage(v1::Task& proto, const LiveUsage& usage);
// Only if there is one, and all of it is here.
void add_result(v1::Task& proto, const TaskRecord& record);
v1::TaskGroup to_proto(const GroupRecord& group);
GroupChange from_proto(const v1::SetGroupRequest& proto);
// Milliseconds of a proto duration. Errors: kInvalidArgument naming `field`.
absl::StatusOr<uint64_t> to_ms(const google::protobuf::Duration& duration, const char* field);

}  // namespace zsync::daemon
