// Finding out whether a service that was started is ready.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "daemon/projects/project.hpp"
#include "daemon/tasks/engine.hpp"
#include "zsync/task.hpp"

namespace zsync::daemon {

struct ReadinessProbe {
  ReadySpec ready;
  std::string task;    // that runs the service
  uint16_t port = 0;   // the service's own
  TaskSpec exec_task;  // kExec: what each try submits
  Submitter by;        // in whose name
};

// Completes with ok once the service is ready; its time begins when its process runs.
//
// Errors: kDeadlineExceeded "not ready within 60s: ..." with what the last try met; kAborted when
//         the task has ended.
// Cancel: throws Cancelled.
Task<absl::Status> wait_until_ready(TasksEngine* tasks, ReadinessProbe probe);

}  // namespace zsync::daemon
