// Tasks as tables and details, shared by `ps`, `top`, `status` and the verbs of `tasks`.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "cli/context.hpp"
#include "cli/render/table.hpp"
#include "zsync/v1/tasks.pb.h"

namespace zsync::cli {

// The command on one line, as one could type it.
std::string command_text(const v1::TaskSpec& spec);

// The state as people see it: a running task may be paused.
std::string shown_state(const v1::Task& task);
Table task_table();
void add_row(Table& table, const v1::Task& task);
std::string task_details(const v1::Task& task, bool color);

struct ListQuery {
  v1::ListTasksRequest request;
  std::uint64_t limit = 100;  // tasks; 0: all
};

// Every page up to the limit; true in `more` when something was left out.
absl::Status for_each_task(Context& context, const ListQuery& query,
                           const std::function<void(const v1::Task&)>& visit, bool* more);

// Prints the tasks of a query in the wanted format.
absl::StatusOr<int> list_tasks(Context& context, const ListQuery& query, const char* when_empty);

// "running" -> TASK_STATE_RUNNING.
//
// Errors: kInvalidArgument with the closest state.
absl::StatusOr<v1::TaskState> parse_state(const std::string& word);

}  // namespace zsync::cli
