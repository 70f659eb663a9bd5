// Tasks: submit commands, follow their output, wait for them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "zsync/client/options.hpp"
#include "zsync/v1/tasks.pb.h"

namespace zsync::client {

namespace internal {
class Connection;
}

// Feeds stdin of one task that was submitted with stdin_stream, or types on its terminal.
//
// Cancel:   the StopSource it was opened with.
// Threads:  one at a time.
// Lifetime: destroyed without finish(), as when its process dies, it closes the task's stdin; a
//           terminal stays open.
class TaskInput {
 public:
  struct Impl;
  // Use Tasks::input().
  explicit TaskInput(std::unique_ptr<Impl> impl);
  TaskInput(TaskInput&&) noexcept;
  ~TaskInput();

  // Blocks while the task does not read. False: the stream is over, finish() says why.
  [[nodiscard]] bool write(std::string_view data);

  // The terminal of the task is as large from now on; rows and columns are 1 to 1000.
  [[nodiscard]] bool resize(std::uint32_t rows, std::uint32_t columns);

  // Closes the task's stdin with `eof`, else only this stream, and returns how many bytes were
  // taken.
  [[nodiscard]] absl::StatusOr<std::uint64_t> finish(bool eof = true);

 private:
  std::unique_ptr<Impl> impl_;
};

// Errors:   the daemon's code and message; error_detail() reads the rest. An `id` may be a unique
// prefix
//           of an id or a unique name; kNotFound names the closest ones.
// Cancel:   CallOptions::stop ends the call with kCancelled; what the daemon accepted stays
// accepted. Threads:  every member may be called from any thread. Lifetime: a handle onto its
// Client, which outlives it.
class Tasks {
 public:
  // Called once a batch, in order; false ends the call well.
  using OutputCallback = std::function<bool(const v1::TaskOutputBatch&)>;

  // Use Client::tasks().
  explicit Tasks(internal::Connection& connection) : connection_(connection) {}

  // Returns once the tasks are on disk; all specs are accepted, or none.
  [[nodiscard]] absl::StatusOr<v1::SubmitTasksReply> submit(const v1::SubmitTasksRequest& request,
                                                            const CallOptions& options = {});
  // One task; returns its id.
  [[nodiscard]] absl::StatusOr<std::string> submit(v1::TaskSpec spec,
                                                   const CallOptions& options = {});
  // The whole record of one task.
  [[nodiscard]] absl::StatusOr<v1::Task> get(const std::string& id,
                                             const CallOptions& options = {});
  // One page; request.page_token goes on from the one before.
  [[nodiscard]] absl::StatusOr<v1::ListTasksReply> list(const v1::ListTasksRequest& request,
                                                        const CallOptions& options = {});
  // Returns once every named task is in a final state.
  [[nodiscard]] absl::StatusOr<v1::WaitTasksReply> wait(const std::vector<std::string>& ids,
                                                        const CallOptions& options = {});
  // With request.wait it returns once every process of the task is gone, else at once.
  [[nodiscard]] absl::StatusOr<v1::Task> cancel(const v1::CancelTaskRequest& request,
                                                const CallOptions& options = {});
  // Queues another attempt. Errors: kFailedPrecondition unless the task is final.
  [[nodiscard]] absl::StatusOr<v1::Task> retry(const std::string& id,
                                               const CallOptions& options = {});
  // Forgets a task and its output. Errors: kFailedPrecondition unless it is final.
  [[nodiscard]] absl::Status remove(const std::string& id, const CallOptions& options = {});
  // Stops every process of the task; returns once they are told. It keeps its place, its locks, and
  // what is left of its timeout. Errors: kFailedPrecondition unless it runs.
  [[nodiscard]] absl::StatusOr<v1::Task> pause(const std::string& id,
                                               const CallOptions& options = {});
  // Lets the task's processes go on.
  [[nodiscard]] absl::StatusOr<v1::Task> resume(const std::string& id,
                                                const CallOptions& options = {});
  // Sends a signal (1 to 64) to the command's process group. Errors: kFailedPrecondition unless it
  // runs.
  [[nodiscard]] absl::StatusOr<v1::Task> signal(const std::string& id, int number,
                                                const CallOptions& options = {});
  // What the task waits for.
  [[nodiscard]] absl::StatusOr<v1::WhyTaskReply> why(const std::string& id,
                                                     const CallOptions& options = {});

  // Reads output from a cursor; with `follow`, until the task has ended and all of it was
  // delivered. With Options::resume it goes on after a restart of the daemon, at the record after
  // the last one, through every later attempt when request.attempt is 0.
  [[nodiscard]] absl::Status output(const v1::TaskOutputRequest& request,
                                    const OutputCallback& callback,
                                    const CallOptions& options = {});
  // The same for the newest attempt, by id.
  [[nodiscard]] absl::Status output(const std::string& id, std::uint64_t from_seq, bool follow,
                                    const OutputCallback& callback,
                                    const CallOptions& options = {});

  // Opens a stream into the task's stdin.
  [[nodiscard]] TaskInput input(const std::string& id, const CallOptions& options = {});

  // The groups, and what runs and waits in each.
  [[nodiscard]] absl::StatusOr<v1::ListGroupsReply> list_groups(const CallOptions& options = {});
  // How many tasks of the group run at once: 1 to 4096.
  [[nodiscard]] absl::StatusOr<v1::TaskGroup> set_group(const std::string& name,
                                                        std::uint32_t parallel,
                                                        const CallOptions& options = {});
  // Changes what the request names: how many run at once, in which order, how many may wait, and
  // whether the group is paused (nothing starts) or drained (nothing is submitted).
  [[nodiscard]] absl::StatusOr<v1::TaskGroup> set_group(const v1::SetGroupRequest& request,
                                                        const CallOptions& options = {});

  // Counted resources, and the locks that tasks hold or wait for.
  [[nodiscard]] absl::StatusOr<v1::ListResourcesReply> list_resources(
      const CallOptions& options = {});
  // How much of a resource there is: 0 to 1,000,000. What runs keeps what it has.
  [[nodiscard]] absl::StatusOr<v1::TaskResource> set_resource(const std::string& name,
                                                              std::uint32_t capacity,
                                                              const CallOptions& options = {});

  // Cancels every task of an array, by SubmitTasksReply::array_ids.
  [[nodiscard]] absl::StatusOr<v1::CancelArrayReply> cancel_array(
      const v1::CancelArrayRequest& request, const CallOptions& options = {});

  // Submits a task again and again. Errors: kAlreadyExists unless request.replace.
  [[nodiscard]] absl::StatusOr<v1::Schedule> create_schedule(
      const v1::CreateScheduleRequest& request, const CallOptions& options = {});
  // One schedule: when it comes next, and what became of the times that have passed.
  [[nodiscard]] absl::StatusOr<v1::Schedule> get_schedule(const std::string& name,
                                                          const CallOptions& options = {});
  // All schedules, by name.
  [[nodiscard]] absl::StatusOr<v1::ListSchedulesReply> list_schedules(
      const CallOptions& options = {});
  // Pauses a schedule, or lets it go on from now on.
  [[nodiscard]] absl::StatusOr<v1::Schedule> pause_schedule(const std::string& name, bool paused,
                                                            const CallOptions& options = {});
  // Forgets a schedule; its tasks stay.
  [[nodiscard]] absl::Status remove_schedule(const std::string& name,
                                             const CallOptions& options = {});
  // The next times of a schedule; `count` 0: five.
  [[nodiscard]] absl::StatusOr<v1::UpcomingRunsReply> upcoming_runs(
      const std::string& name, std::uint32_t count = 0, const CallOptions& options = {});

 private:
  absl::Status follow_attempts(v1::TaskOutputRequest request, const OutputCallback& callback,
                               const CallOptions& options);

  internal::Connection& connection_;
};

// No later attempt and no later state will come.
[[nodiscard]] bool is_final(v1::TaskState state);

}  // namespace zsync::client
