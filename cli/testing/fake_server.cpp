#include "cli/testing/fake_server.hpp"

#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/service_type.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>

namespace zsync::cli::testing {

Failure failure(int code, const std::string& message) { return {code, message, {}}; }

v1::Record record(std::uint64_t seq, const std::string& data, v1::Stream stream) {
  v1::Record record;
  record.set_seq(seq);
  record.set_data(data);
  record.set_stream(stream);
  record.set_time_unix_nano(1'700'000'000'123'000'000);
  return record;
}

v1::Task finish(const FakeState& state, v1::Task task) {
  task.set_state(state.end_state);
  task.set_exit_code(state.end_exit_code);
  task.set_signal(state.end_signal);
  task.set_reason(state.end_reason);
  if (task.cancel_requested()) task.set_state(v1::TASK_STATE_CANCELED);
  return task;
}

grpc::Status to_grpc(grpc::ServerContextBase& context, const Outcome& outcome) {
  if (!outcome.has_value()) return grpc::Status::OK;
  if (outcome->detail.ByteSizeLong() > 0) {
    context.AddTrailingMetadata("zsync-error-bin", outcome->detail.SerializeAsString());
  }
  return {static_cast<grpc::StatusCode>(outcome->code), outcome->message};
}

FakeServer::FakeServer() {
  char name[] = "/tmp/zsync-cli-test-XXXXXX";
  directory_ = ::mkdtemp(name);
  socket_ = directory_ + "/zsyncd.sock";
  start();
}

FakeServer::~FakeServer() {
  stop();
  std::filesystem::remove_all(directory_);
}

void FakeServer::start() {
  state.stopping = false;
  services_.clear();
  for (auto make :
       {make_fake_tasks, make_fake_channels, make_fake_watch, make_fake_daemon, make_fake_events}) {
    services_.push_back(make(state));
  }
  grpc::ServerBuilder builder;
  builder.AddListeningPort("unix:" + socket_, grpc::InsecureServerCredentials());
  for (auto& service : services_) builder.RegisterService(service.get());
  server_ = builder.BuildAndStart();
}

void FakeServer::stop() {
  if (server_ == nullptr) return;
  state.stopping = true;
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
  server_.reset();
  ::unlink(socket_.c_str());
}

}  // namespace zsync::cli::testing
