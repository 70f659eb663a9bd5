// Functions between the wire and the engine. For functions_service and tasks_proto only.
#pragma once

#include "absl/status/statusor.h"
#include "daemon/tasks/function_calls.hpp"
#include "zsync/v1/functions.pb.h"

namespace zsync::daemon {

FunctionCall from_proto(v1::FunctionCall proto);
// Without the payload.
void to_proto(const FunctionCall& call, v1::FunctionCall& proto);
FunctionResult from_proto(v1::CallAnswer proto);
void to_proto(const FunctionResult& result, v1::FunctionResult& proto);
v1::Function to_proto(const FunctionRecord& record);
v1::ServeReply to_proto(WorkerNews news);
// Errors: kInvalidArgument naming `field` and the limits.
absl::StatusOr<int64_t> to_ns(const google::protobuf::Duration& duration, const char* field,
                              int64_t min_ns, int64_t max_ns);

}  // namespace zsync::daemon
