// Between the types of triggers and the wire's. For triggers_service only.
#pragma once

#include "absl/status/statusor.h"
#include "daemon/triggers/engine.hpp"
#include "zsync/v1/triggers.pb.h"

namespace zsync::daemon {

// Errors: kInvalidArgument, naming the field.
absl::StatusOr<TriggerSpec> from_proto(v1::TriggerSpec proto);
v1::Trigger to_proto(const TriggerView& view);

}  // namespace zsync::daemon
