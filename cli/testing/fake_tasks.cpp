#include <grpcpp/grpcpp.h>

#include "cli/testing/cli_run.hpp"
#include "zsync/v1/tasks.grpc.pb.h"

namespace zsync::cli::testing {
namespace {

class FakeTasks final : public v1::Tasks::Service {
 public:
  explicit FakeTasks(FakeState& state) : state_(state) {}

  grpc::Status Submit(grpc::ServerContext* context, const v1::SubmitTasksRequest* request,
                      v1::SubmitTasksReply* reply) override {
    if (state_.submit_check) {
      if (Outcome outcome = state_.submit_check(*request)) return to_grpc(*context, outcome);
    }
    const std::lock_guard<std::mutex> lock(state_.mutex);
    state_.submits.push_back(*request);
    for (const v1::TaskSpec& spec : request->specs()) {
      v1::Task task;
      task.set_id("task_" + std::to_string(state_.tasks.size() + 1));
      *task.mutable_spec() = spec;
      task.set_attempt(1);
      task.set_state(v1::TASK_STATE_RUNNING);
      reply->add_ids(task.id());
      reply->add_existing(false);
      state_.tasks[task.id()] = task;
    }
    return grpc::Status::OK;
  }
  grpc::Status Get(grpc::ServerContext* context, const v1::GetTaskRequest* request,
                   v1::Task* reply) override {
    return find(*context, request->id(), reply);
  }
  grpc::Status List(grpc::ServerContext*, const v1::ListTasksRequest* request,
                    v1::ListTasksReply* reply) override {
    const std::lock_guard<std::mutex> lock(state_.mutex);
    state_.lists.push_back(*request);
    auto task = request->page_token().empty() ? state_.tasks.begin()
                                              : state_.tasks.find(request->page_token());
    for (; task != state_.tasks.end(); ++task) {
      if (reply->tasks_size() == static_cast<int>(request->page_size())) {
        reply->set_next_page_token(task->first);
        break;
      }
      *reply->add_tasks() = task->second;
    }
    return grpc::Status::OK;
  }
  grpc::Status Wait(grpc::ServerContext* context, const v1::WaitTasksRequest* request,
                    v1::WaitTasksReply* reply) override {
    for (const std::string& id : request->ids()) {
      if (id == "never") eventually([&] { return context->IsCancelled() || state_.stopping; });
      v1::Task task;
      grpc::Status status = find(*context, id, &task);
      if (!status.ok()) return status;
      *reply->add_tasks() = finish(state_, task);
    }
    return grpc::Status::OK;
  }
  grpc::Status Cancel(grpc::ServerContext* context, const v1::CancelTaskRequest* request,
                      v1::Task* reply) override {
    {
      const std::lock_guard<std::mutex> lock(state_.mutex);
      state_.cancels.push_back(*request);
      const auto task = state_.tasks.find(request->id());
      if (task != state_.tasks.end()) task->second.set_cancel_requested(true);
    }
    return find(*context, request->id(), reply);
  }
  grpc::Status Retry(grpc::ServerContext* context, const v1::RetryTaskRequest* request,
                     v1::Task* reply) override {
    note("retry " + request->id());
    return find(*context, request->id(), reply);
  }
  grpc::Status Pause(grpc::ServerContext* context, const v1::PauseTaskRequest* request,
                     v1::Task* reply) override {
    return set_paused(*context, request->id(), 1'000, reply);
  }
  grpc::Status Resume(grpc::ServerContext* context, const v1::ResumeTaskRequest* request,
                      v1::Task* reply) override {
    return set_paused(*context, request->id(), 0, reply);
  }
  grpc::Status Signal(grpc::ServerContext* context, const v1::SignalTaskRequest* request,
                      v1::Task* reply) override {
    note("signal " + std::to_string(request->signal()) + " " + request->id());
    return find(*context, request->id(), reply);
  }
  grpc::Status Remove(grpc::ServerContext* context, const v1::RemoveTaskRequest* request,
                      v1::RemoveTaskReply*) override {
    note("remove " + request->id());
    v1::Task task;
    return find(*context, request->id(), &task);
  }
  grpc::Status Output(grpc::ServerContext* context, const v1::TaskOutputRequest* request,
                      grpc::ServerWriter<v1::TaskOutputBatch>* writer) override {
    {
      const std::lock_guard<std::mutex> lock(state_.mutex);
      state_.outputs.push_back(*request);
    }
    if (state_.output) {
      return to_grpc(*context,
                     state_.output(
                         *request, [&](const auto& batch) { return writer->Write(batch); },
                         [&] { return context->IsCancelled() || state_.stopping; }));
    }
    v1::Task task;
    grpc::Status status = find(*context, request->id(), &task);
    if (!status.ok()) return status;
    v1::TaskOutputBatch last;
    *last.mutable_finished() = finish(state_, task);
    writer->Write(last);
    return grpc::Status::OK;
  }
  grpc::Status Input(grpc::ServerContext*, grpc::ServerReader<v1::TaskInputChunk>* reader,
                     v1::TaskInputReply* reply) override {
    v1::TaskInputChunk chunk;
    std::string all;
    while (reader->Read(&chunk)) {
      if (!chunk.id().empty()) note("input " + chunk.id());
      all += chunk.data();
      if (chunk.eof()) all += "<eof>";
    }
    reply->set_bytes(all.size());
    const std::lock_guard<std::mutex> lock(state_.mutex);
    state_.inputs.push_back(all);
    return grpc::Status::OK;
  }
  grpc::Status Why(grpc::ServerContext* context, const v1::WhyTaskRequest* request,
                   v1::WhyTaskReply* reply) override {
    reply->add_reasons("group default runs 2 of 2");
    return find(*context, request->id(), reply->mutable_task());
  }
  grpc::Status ListGroups(grpc::ServerContext*, const v1::ListGroupsRequest*,
                          v1::ListGroupsReply* reply) override {
    v1::TaskGroup* group = reply->add_groups();
    group->set_name("default");
    group->set_parallel(2);
    return grpc::Status::OK;
  }
  grpc::Status SetGroup(grpc::ServerContext*, const v1::SetGroupRequest* request,
                        v1::TaskGroup* reply) override {
    const std::lock_guard<std::mutex> lock(state_.mutex);
    state_.set_group = *request;
    reply->set_name(request->name());
    reply->set_parallel(request->parallel());
    return grpc::Status::OK;
  }
  grpc::Status CancelArray(grpc::ServerContext*, const v1::CancelArrayRequest* request,
                           v1::CancelArrayReply* reply) override {
    note("cancel " + request->id() + (request->wait() ? " and wait" : ""));
    reply->add_tasks()->set_id("task_1");
    reply->add_tasks()->set_id("task_2");
    return grpc::Status::OK;
  }
  grpc::Status CreateSchedule(grpc::ServerContext*, const v1::CreateScheduleRequest* request,
                              v1::Schedule* reply) override {
    const std::lock_guard<std::mutex> lock(state_.mutex);
    state_.create_schedule = *request;
    *reply->mutable_spec() = request->spec();
    return grpc::Status::OK;
  }
  grpc::Status GetSchedule(grpc::ServerContext*, const v1::GetScheduleRequest* request,
                           v1::Schedule* reply) override {
    reply->mutable_spec()->set_name(request->name());
    reply->mutable_spec()->set_cron("@daily");
    return grpc::Status::OK;
  }
  grpc::Status ListSchedules(grpc::ServerContext*, const v1::ListSchedulesRequest*,
                             v1::ListSchedulesReply* reply) override {
    v1::Schedule* schedule = reply->add_schedules();
    schedule->mutable_spec()->set_name("nightly");
    schedule->mutable_spec()->mutable_every()->set_seconds(90);
    schedule->set_next_unix_nano(1);
    return grpc::Status::OK;
  }
  grpc::Status PauseSchedule(grpc::ServerContext*, const v1::PauseScheduleRequest* request,
                             v1::Schedule* reply) override {
    note((request->paused() ? "pause " : "resume ") + request->name());
    reply->mutable_spec()->set_name(request->name());
    return grpc::Status::OK;
  }
  grpc::Status RemoveSchedule(grpc::ServerContext*, const v1::RemoveScheduleRequest* request,
                              v1::RemoveScheduleReply*) override {
    note("remove schedule " + request->name());
    return grpc::Status::OK;
  }
  grpc::Status UpcomingRuns(grpc::ServerContext*, const v1::UpcomingRunsRequest* request,
                            v1::UpcomingRunsReply* reply) override {
    for (std::uint32_t i = 0; i < request->count(); ++i) reply->add_times_unix_nano(i);
    return grpc::Status::OK;
  }
  grpc::Status ListResources(grpc::ServerContext*, const v1::ListResourcesRequest*,
                             v1::ListResourcesReply* reply) override {
    v1::TaskResource* resource = reply->add_resources();
    resource->set_name("gpu");
    resource->add_holders("task_1");
    return grpc::Status::OK;
  }
  grpc::Status SetResource(grpc::ServerContext*, const v1::SetResourceRequest* request,
                           v1::TaskResource* reply) override {
    reply->set_name(request->name());
    reply->set_capacity(request->capacity());
    return grpc::Status::OK;
  }

 private:
  grpc::Status set_paused(grpc::ServerContext& context, const std::string& id, std::int64_t since,
                          v1::Task* reply) {
    {
      const std::lock_guard<std::mutex> lock(state_.mutex);
      const auto task = state_.tasks.find(id);
      if (task != state_.tasks.end()) task->second.set_paused_unix_nano(since);
    }
    return find(context, id, reply);
  }
  void note(const std::string& call) {
    const std::lock_guard<std::mutex> lock(state_.mutex);
    state_.calls.push_back(call);
  }
  grpc::Status find(grpc::ServerContext& context, const std::string& id, v1::Task* reply) {
    const std::lock_guard<std::mutex> lock(state_.mutex);
    const auto task = state_.tasks.find(id);
    if (task != state_.tasks.end()) {
      *reply = task->second;
      return grpc::Status::OK;
    }
    Failure missing = failure(grpc::StatusCode::NOT_FOUND, "no task \"" + id + "\"");
    missing.detail.set_reason("NOT_FOUND");
    missing.detail.set_hint("list them with `zsyncctl tasks list`");
    missing.detail.add_closest("task_1");
    return to_grpc(context, missing);
  }

  FakeState& state_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_fake_tasks(FakeState& state) {
  return std::make_unique<FakeTasks>(state);
}

}  // namespace zsync::cli::testing
