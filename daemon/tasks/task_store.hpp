// The rows of tasks and groups in the store.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "daemon/store/store.hpp"
#include "daemon/tasks/task.hpp"

namespace zsync::daemon {

// What a row holds besides the record.
struct StoredTask {
  TaskRecord record;
  uint64_t order = 0;         // of submission
  uint32_t failures = 0;      // attempts that count against `retries`
  std::string boot_id;        // of the machine when the newest attempt was started
  uint32_t lost_workers = 0;  // in a row, of a function call
};

// Version 1 of the schema, as far as tasks are concerned, and what came later.
extern const char kTaskSchemaV1[];
extern const char kTaskSchemaV4[];
extern const char kTaskSchemaV5[];
extern const char kTaskSchemaV6[];
extern const char kTaskSchemaV9[];
extern const char kTaskSchemaV11[];

absl::Status insert_task(Database& db, const StoredTask& task, const std::string& encoded_spec);
// Everything but the specification and what never changes.
absl::Status update_task(Database& db, const StoredTask& task);
// The attempt that the record tells of, kept when another one follows it.
absl::Status insert_attempt(Database& db, const std::string& id, const TaskAttempt& attempt);
absl::Status delete_task(Database& db, const std::string& id);
// Of a function call that ended.
absl::Status put_result(Database& db, const std::string& id, const FunctionResult& result);
absl::Status delete_result(Database& db, const std::string& id);
// Errors: kNotFound.
absl::StatusOr<std::string> load_result_payload(Database& db, const std::string& id);
// A function that somebody serves.
absl::Status put_function(Database& db, const std::string& name, int64_t served_unix_nano);
absl::Status load_functions(Database& db,
                            const std::function<void(const std::string&, int64_t)>& take);
absl::Status put_group(Database& db, const std::string& name, const GroupSettings& settings);
absl::Status put_resource(Database& db, const std::string& name, uint32_t capacity);

// Calls `take` for every task in the order of submission; equal environments are shared.
absl::Status load_tasks(Database& db, EnvironmentPool& environments,
                        const std::function<void(StoredTask)>& take);
absl::Status load_groups(Database& db,
                         const std::function<void(const std::string&, const GroupSettings&)>& take);
absl::Status load_resources(Database& db,
                            const std::function<void(const std::string&, uint32_t)>& take);
// Errors: kNotFound.
absl::StatusOr<TaskSpec> load_task_spec(Database& db, const std::string& id);

}  // namespace zsync::daemon
