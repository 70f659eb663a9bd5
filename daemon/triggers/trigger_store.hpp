// The rows of triggers in the store.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "daemon/store/store.hpp"
#include "daemon/triggers/trigger.hpp"

namespace zsync::daemon {

// Version 12 of the schema.
extern const char kTriggerSchemaV12[];

absl::Status put_trigger(Database& db, const TriggerRecord& record);
absl::Status delete_trigger(Database& db, const std::string& name);
// The first error of `take` ends it.
absl::Status load_triggers(Database& db, const std::function<absl::Status(TriggerRecord)>& take);

}  // namespace zsync::daemon
