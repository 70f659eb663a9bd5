#include "daemon/ops/daemon_service.hpp"

#include <unistd.h>

#include <ctime>
#include <fstream>
#include <utility>

#include "daemon/rpc/bridge.hpp"
#include "daemon/rpc/server.hpp"
#include "daemon/rpc/unbuilt.hpp"
#include "daemon/tasks/task.hpp"
#include "zsync/v1/daemon.grpc.pb.h"

namespace zsync::daemon {
namespace {

using Context = grpc::CallbackServerContext;

int64_t unix_nano_now() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec * 1'000'000'000ll + now.tv_nsec;
}

uint64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  uint64_t total = 0;
  uint64_t resident = 0;
  file >> total >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

v1::Capability::Availability to_proto(Availability availability) {
  switch (availability) {
    case Availability::kAvailable:
      return v1::Capability::AVAILABILITY_AVAILABLE;
    case Availability::kNotBuiltYet:
      return v1::Capability::AVAILABILITY_NOT_BUILT_YET;
    case Availability::kNeedsPrivilege:
      return v1::Capability::AVAILABILITY_NEEDS_PRIVILEGE;
  }
  return v1::Capability::AVAILABILITY_UNSPECIFIED;
}

void add_limits(v1::DaemonInfo& info, const Config& config) {
  auto add = [&info](const char* name, uint64_t value, const char* unit) {
    v1::Limit& limit = *info.add_limits();
    limit.set_name(name);
    limit.set_value(value);
    limit.set_unit(unit);
  };
  add("message_bytes_max", kMessageBytesMax, "bytes");
  add("environment_bytes_max", kEnvironmentBytesMax, "bytes");
  add("environment_string_bytes_max", kEnvironmentStringBytesMax, "bytes");
  add("arguments_bytes_max", kArgumentsBytesMax, "bytes");
  add("stdin_bytes_max", kStdinBytesMax, "bytes");
  add("name_bytes_max", kNameBytesMax, "bytes");
  add("labels_max", kLabelsMax, "labels");
  add("priority_max", kPriorityMax, "levels");
  add("retries_max", kRetriesMax, "attempts");
  add("submit_batch_max", kSubmitBatchMax, "tasks");
  add("tasks.queued_max", static_cast<uint64_t>(config.tasks.queued_max), "tasks");
  add("tasks.output_bytes_max", static_cast<uint64_t>(config.tasks.output_bytes_max), "bytes");
  add("tasks.output_retention_bytes_max",
      static_cast<uint64_t>(config.tasks.output_retention_bytes_max), "bytes");
  add("channels.max", static_cast<uint64_t>(config.channels.max), "channels");
  add("channels.bytes_max", static_cast<uint64_t>(config.channels.bytes_max), "bytes");
  add("channels.message_bytes_max", static_cast<uint64_t>(config.channels.message_bytes_max),
      "bytes");
  add("watch.roots_max", static_cast<uint64_t>(config.watch.roots_max), "roots");
  add("connections_max", static_cast<uint64_t>(config.connections_max), "connections");
  add("connections_per_uid_max", static_cast<uint64_t>(config.connections_per_uid_max),
      "connections");
  add("calls_per_uid_max", static_cast<uint64_t>(config.calls_per_uid_max), "calls");
}

class Service final : public v1::Daemon::CallbackService {
 public:
  Service(CallGate& gate, DaemonFacts facts) : gate_(gate), facts_(std::move(facts)) {}

  grpc::ServerUnaryReactor* Info(Context* context, const v1::DaemonInfoRequest* request,
                                 v1::DaemonInfo* reply) override {
    // The caller is part of the answer, so this one looks at the call.
    return unary_call(gate_, context, request, reply,
                      [this](CallContext call, v1::DaemonInfoRequest) { return info(call); });
  }
  grpc::ServerUnaryReactor* Stats(Context* context, const v1::DaemonStatsRequest* request,
                                  v1::DaemonStats* reply) override {
    return immediate_call(gate_, context, request, reply,
                          [this](const v1::DaemonStatsRequest&) -> absl::StatusOr<v1::DaemonStats> {
                            return stats();
                          });
  }
  grpc::ServerUnaryReactor* Config(Context* context, const v1::DaemonConfigRequest* request,
                                   v1::DaemonConfig* reply) override {
    return immediate_call(
        gate_, context, request, reply,
        [this](const v1::DaemonConfigRequest&) -> absl::StatusOr<v1::DaemonConfig> {
          v1::DaemonConfig config;
          for (ConfigValue& value : facts_.config().values) {
            v1::ConfigValue& proto = *config.add_values();
            proto.set_key(std::move(value.key));
            proto.set_value(std::move(value.value));
            proto.set_origin(std::move(value.origin));
          }
          return config;
        });
  }
  grpc::ServerUnaryReactor* Doctor(Context* context, const v1::DoctorRequest* request,
                                   v1::DoctorReply* reply) override {
    return unary_call(gate_, context, request, reply,
                      [this](CallContext, v1::DoctorRequest) { return doctor(); });
  }
  grpc::ServerUnaryReactor* Shutdown(Context* context, const v1::ShutdownRequest* request,
                                     v1::ShutdownReply* reply) override {
    return immediate_call(gate_, context, request, reply,
                          [this](const v1::ShutdownRequest&) -> absl::StatusOr<v1::ShutdownReply> {
                            facts_.shut_down();
                            return v1::ShutdownReply();
                          });
  }
  grpc::ServerUnaryReactor* Upgrade(Context* context, const v1::UpgradeRequest* request,
                                    v1::UpgradeReply* reply) override {
    return unary_call(
        gate_, context, request, reply,
        [this](CallContext, v1::UpgradeRequest asked) { return upgrade(std::move(asked)); });
  }

 private:
  Task<absl::StatusOr<v1::UpgradeReply>> upgrade(v1::UpgradeRequest request) {
    absl::StatusOr<Candidate> next =
        co_await facts_.upgrade(request.program(), request.check_only());
    if (!next.ok()) co_return next.status();
    v1::UpgradeReply reply;
    reply.set_program(next->program);
    reply.set_version(next->version);
    reply.set_instance(facts_.instance);
    co_return reply;
  }

  Task<absl::StatusOr<v1::DaemonInfo>> info(CallContext call) {
    v1::DaemonInfo info;
    info.set_version(ZSYNC_VERSION);
    info.set_instance(facts_.instance);
    info.set_pid(getpid());
    info.set_uid(getuid());
    info.set_socket(facts_.socket);
    info.set_state_dir(facts_.state_dir);
    info.set_backend(name_of(gate_.runtime().backend()));
    info.set_workers(static_cast<uint32_t>(gate_.runtime().workers()));
    info.set_started_unix_nano(facts_.started_unix_nano);
    const int64_t uptime = unix_nano_now() - facts_.started_unix_nano;
    info.mutable_uptime()->set_seconds(uptime / 1'000'000'000);
    info.mutable_uptime()->set_nanos(static_cast<int32_t>(uptime % 1'000'000'000));
    for (const Noun& noun : nouns()) {
      v1::Capability& capability = *info.add_capabilities();
      capability.set_noun(noun.name);
      capability.set_availability(to_proto(noun.availability));
      capability.set_reason(noun.reason);
    }
    add_limits(info, facts_.config().config);
    info.set_caller(describe(call.peer));
    info.set_program(facts_.program);
    if (facts_.taken_over) {
      const Inheritance& taken = *facts_.taken_over;
      v1::Takeover& takeover = *info.mutable_takeover();
      takeover.set_from_version(taken.from);
      takeover.set_program(taken.program);
      takeover.set_began_unix_nano(taken.began_unix_nano);
      takeover.set_failure(taken.failure);
    }
    co_return info;
  }

  v1::DaemonStats stats() {
    const StatsNow now = facts_.stats();
    v1::DaemonStats stats;
    stats.set_rss_bytes(resident_bytes());
    stats.set_connections(now.connections);
    stats.set_calls_open(gate_.calls_open());
    stats.set_calls_total(gate_.calls_total());
    stats.set_tasks_queued(now.tasks_queued);
    stats.set_tasks_running(now.tasks_running);
    stats.set_tasks_stored(now.tasks_stored);
    stats.set_channels(now.channels);
    stats.set_watch_roots(now.watch_roots);
    stats.set_watch_directories(now.watch_directories);
    stats.set_coroutines(gate_.runtime().active_tasks());
    stats.set_commits(now.commits);
    stats.set_commit_requests(now.commit_requests);
    stats.set_event_seq(now.event_seq);
    return stats;
  }

  Task<absl::StatusOr<v1::DoctorReply>> doctor() {
    const DoctorInputs inputs = facts_.doctor();
    const std::vector<Finding> findings =
        co_await rt::call_blocking([inputs] { return examine(inputs); });
    v1::DoctorReply reply;
    for (const Finding& finding : findings) {
      v1::Finding& proto = *reply.add_findings();
      proto.set_level(static_cast<v1::Finding::Level>(finding.level));
      proto.set_topic(finding.topic);
      proto.set_text(finding.text);
      proto.set_cure(finding.cure);
    }
    co_return reply;
  }

  CallGate& gate_;
  const DaemonFacts facts_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_daemon_service(CallGate& gate, DaemonFacts facts) {
  return std::make_unique<Service>(gate, std::move(facts));
}

}  // namespace zsync::daemon
