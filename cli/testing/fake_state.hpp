// What the fake daemon remembers and how a test bends its answers. No gRPC here.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "zsync/v1/channels.pb.h"
#include "zsync/v1/daemon.pb.h"
#include "zsync/v1/events.pb.h"
#include "zsync/v1/tasks.pb.h"
#include "zsync/v1/watch.pb.h"

namespace zsync::cli::testing {

struct Failure {
  int code;
  std::string message;
  v1::ErrorDetail detail;
};
using Outcome = std::optional<Failure>;  // nullopt: OK
using Cancelled = std::function<bool()>;
template <typename Message>
using Emit = std::function<bool(const Message&)>;
template <typename Request, typename Message>
using Script = std::function<Outcome(const Request&, const Emit<Message>&, const Cancelled&)>;

Failure failure(int code, const std::string& message);
v1::Record record(std::uint64_t seq, const std::string& data,
                  v1::Stream stream = v1::STREAM_STDOUT);

// Threads: members are set before calls are made, or read and written under `mutex`.
struct FakeState {
  std::mutex mutex;
  std::map<std::string, v1::Task> tasks;  // by id
  std::vector<v1::SubmitTasksRequest> submits;
  std::vector<v1::CancelTaskRequest> cancels;
  std::vector<v1::TaskOutputRequest> outputs;
  std::vector<v1::ListTasksRequest> lists;
  std::vector<std::string> inputs;  // stdin of each Input stream
  std::vector<std::string> calls;   // "retry task_1", "remove task_1", ...
  v1::SetGroupRequest set_group;
  v1::CreateScheduleRequest create_schedule;
  v1::CreateChannelRequest create;
  v1::CreateGroupRequest create_group;
  v1::UpdateChannelRequest update;
  std::vector<std::string> sent;
  int send_batches = 0;
  std::vector<v1::RecvRequest> recvs;
  std::vector<v1::FollowChannelRequest> channel_follows;
  std::vector<v1::SubscribeWatchRequest> subscribes;
  std::vector<v1::QueryWatchRequest> queries;
  std::vector<v1::HoldStateRequest> holds;
  int holds_ended = 0;
  std::vector<v1::FollowEventsRequest> event_follows;

  // The end of a task that was submitted, and what Output sends.
  v1::TaskState end_state = v1::TASK_STATE_SUCCEEDED;
  int end_exit_code = 0;
  int end_signal = 0;
  std::string end_reason;
  Script<v1::TaskOutputRequest, v1::TaskOutputBatch> output;
  std::function<Outcome(const v1::SubmitTasksRequest&)> submit_check;
  Outcome send_failure;               // of the Send stream, at its first batch
  std::vector<std::string> messages;  // Recv gives them and then says closed
  Script<v1::FollowChannelRequest, v1::RecvBatch> channel_follow;
  Script<v1::SubscribeWatchRequest, v1::WatchBatch> subscribe;
  Script<v1::QueryWatchRequest, v1::WatchBatch> query;
  Script<v1::FollowEventsRequest, v1::EventBatch> events;
  v1::DoctorReply doctor;
  std::function<void()> on_shutdown;
  std::atomic<bool> stopping{false};
};

// The final record of the newest state of `task`.
v1::Task finish(const FakeState& state, v1::Task task);

}  // namespace zsync::cli::testing
