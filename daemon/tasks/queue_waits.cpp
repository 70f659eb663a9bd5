// TaskQueue: what a task has waited for, and how long.
#include "absl/strings/str_cat.h"
#include "daemon/tasks/task_queue.hpp"

namespace zsync::daemon {
namespace {

using Cause = QueueWait::Cause;

bool of_resource(Cause cause) {
  return cause == Cause::kLock || cause == Cause::kResource || cause == Cause::kBudget;
}

std::string text_of(const QueueWait& wait, const std::string& group) {
  switch (wait.cause) {
    case Cause::kNothing:
      return "";
    case Cause::kTime:
      return "its time";
    case Cause::kTasks:
      return "other tasks";
    case Cause::kPlace:
      return absl::StrCat("a place in group ", group);
    case Cause::kLock:
      return absl::StrCat("lock ", wait.name);
    case Cause::kResource:
      return absl::StrCat("resource ", wait.name);
    case Cause::kBudget:
      return absl::StrCat(wait.name, " of the budget of group ", group);
  }
  return "";
}

}  // namespace

// What it waited for until now is over. One that was woken for a moment, and found it taken again,
// has waited on.
void TaskQueue::begin_wait(Task& task, Cause cause, int64_t now) {
  const Cause was = task.waits;
  const int64_t since = task.waits_since;
  task.waits = cause;
  if (now < since) return;
  task.waits_since = now;
  if (was == Cause::kNothing || now - since < kQueueWaitToldNs) return;
  const std::string name = of_resource(was) ? task.waits_for->name : "";
  if (!task.waited) task.waited = std::make_unique<std::vector<QueueWait>>();
  std::vector<QueueWait>& waited = *task.waited;
  if (!waited.empty()) {
    QueueWait& last = waited.back();
    const bool goes_on = last.cause == was && last.name == name;
    if (goes_on && since - last.until_unix_nano < kQueueWaitToldNs) {
      last.until_unix_nano = now;
      return;
    }
  }
  if (waited.size() < kQueueWaitsToldMax) waited.push_back({was, name, since, now});
}

std::string queue_waits_text(const std::vector<QueueWait>& waits, const std::string& group) {
  std::string text;
  for (const QueueWait& wait : waits) {
    absl::StrAppend(&text, text.empty() ? "" : "\n", wait.from_unix_nano, " ", wait.until_unix_nano,
                    " ", text_of(wait, group));
  }
  return text;
}

}  // namespace zsync::daemon
