// The rows of schedules in the store.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "daemon/store/store.hpp"
#include "daemon/tasks/schedule.hpp"

namespace zsync::daemon {

// Version 8 of the schema.
extern const char kScheduleSchemaV8[];

absl::Status put_schedule(Database& db, const ScheduleRecord& record);
absl::Status delete_schedule(Database& db, const std::string& name);
// The first error of `take` ends it.
absl::Status load_schedules(Database& db, const std::function<absl::Status(ScheduleRecord)>& take);

}  // namespace zsync::daemon
