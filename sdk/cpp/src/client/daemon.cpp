#include "zsync/client/daemon.hpp"

#include "connection.hpp"
#include "zsync/v1/daemon.grpc.pb.h"

namespace zsync::client {
namespace {

using internal::Connection;
using internal::Repeat;
using Stub = v1::Daemon::Stub;

std::unique_ptr<Stub> stub_of(Connection& connection) {
  return v1::Daemon::NewStub(connection.channel());
}

}  // namespace

absl::StatusOr<v1::DaemonInfo> Daemon::info(const CallOptions& options) {
  return unary(connection_, *stub_of(connection_), &Stub::Info, v1::DaemonInfoRequest(), options,
               Repeat::kSafe);
}

absl::StatusOr<v1::DaemonStats> Daemon::stats(const CallOptions& options) {
  return unary(connection_, *stub_of(connection_), &Stub::Stats, v1::DaemonStatsRequest(), options,
               Repeat::kSafe);
}

absl::StatusOr<v1::DaemonConfig> Daemon::config(const CallOptions& options) {
  return unary(connection_, *stub_of(connection_), &Stub::Config, v1::DaemonConfigRequest(),
               options, Repeat::kSafe);
}

absl::StatusOr<v1::DoctorReply> Daemon::doctor(const CallOptions& options) {
  return unary(connection_, *stub_of(connection_), &Stub::Doctor, v1::DoctorRequest(), options,
               Repeat::kSafe);
}

absl::Status Daemon::shutdown(const CallOptions& options) {
  return unary(connection_, *stub_of(connection_), &Stub::Shutdown, v1::ShutdownRequest(), options,
               Repeat::kNever)
      .status();
}

}  // namespace zsync::client
