#include <grpcpp/grpcpp.h>

#include "cli/testing/fake_server.hpp"
#include "zsync/v1/daemon.grpc.pb.h"

namespace zsync::cli::testing {
namespace {

class FakeDaemon final : public v1::Daemon::Service {
 public:
  explicit FakeDaemon(FakeState& state) : state_(state) {}

  grpc::Status Info(grpc::ServerContext*, const v1::DaemonInfoRequest*,
                    v1::DaemonInfo* reply) override {
    reply->set_version("9.9.9");
    reply->set_pid(4321);
    v1::Capability* mesh = reply->add_capabilities();
    mesh->set_noun("mesh");
    mesh->set_availability(v1::Capability::AVAILABILITY_NOT_BUILT_YET);
    return grpc::Status::OK;
  }
  grpc::Status Stats(grpc::ServerContext*, const v1::DaemonStatsRequest*,
                     v1::DaemonStats* reply) override {
    reply->set_tasks_running(3);
    reply->set_event_seq(41);
    return grpc::Status::OK;
  }
  grpc::Status Config(grpc::ServerContext*, const v1::DaemonConfigRequest*,
                      v1::DaemonConfig* reply) override {
    v1::ConfigValue* value = reply->add_values();
    value->set_key("tasks.output_bytes_max");
    value->set_value("4294967296");
    value->set_origin("default");
    return grpc::Status::OK;
  }
  grpc::Status Doctor(grpc::ServerContext*, const v1::DoctorRequest*,
                      v1::DoctorReply* reply) override {
    *reply = state_.doctor;
    return grpc::Status::OK;
  }
  grpc::Status Shutdown(grpc::ServerContext*, const v1::ShutdownRequest*,
                        v1::ShutdownReply*) override {
    if (state_.on_shutdown) state_.on_shutdown();
    return grpc::Status::OK;
  }

 private:
  FakeState& state_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_fake_daemon(FakeState& state) {
  return std::make_unique<FakeDaemon>(state);
}

}  // namespace zsync::cli::testing
