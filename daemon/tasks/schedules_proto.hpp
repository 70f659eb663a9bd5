// Between the types of schedules and the wire's. For tasks_service only.
#pragma once

#include "absl/status/statusor.h"
#include "daemon/tasks/schedules.hpp"
#include "zsync/v1/tasks.pb.h"

namespace zsync::daemon {

// Errors: kInvalidArgument, naming the field.
absl::StatusOr<ScheduleSpec> from_proto(v1::ScheduleSpec proto);
v1::Schedule to_proto(const ScheduleView& view);

}  // namespace zsync::daemon
