#include "zsync/client/daemon.hpp"

#include "absl/strings/str_cat.h"
#include "connection.hpp"
#include "zsync/v1/daemon.grpc.pb.h"

namespace zsync::client {
namespace {

using internal::Connection;
using internal::Repeat;
using Stub = v1::Daemon::Stub;

constexpr std::chrono::milliseconds kUpgradePoll{10};

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

absl::StatusOr<v1::UpgradeReply> Daemon::check_upgrade(const std::string& program,
                                                       const CallOptions& options) {
  v1::UpgradeRequest request;
  request.set_program(program);
  request.set_check_only(true);
  return unary(connection_, *stub_of(connection_), &Stub::Upgrade, request, options, Repeat::kSafe);
}

absl::StatusOr<v1::DaemonInfo> Daemon::upgrade(const std::string& program,
                                               const CallOptions& options) {
  CallOptions bounded = options;
  const auto until = std::chrono::steady_clock::now() +
                     options.timeout.value_or(std::chrono::nanoseconds(kUpgradeTimeout));
  bounded.timeout = until - std::chrono::steady_clock::now();
  v1::UpgradeRequest request;
  request.set_program(program);
  const absl::StatusOr<v1::UpgradeReply> next =
      unary(connection_, *stub_of(connection_), &Stub::Upgrade, request, bounded, Repeat::kNever);
  if (!next.ok()) return next.status();
  StopSource never;
  const StopSource& stop = options.stop ? *options.stop : never;
  while (true) {
    bounded.timeout = until - std::chrono::steady_clock::now();
    absl::StatusOr<v1::DaemonInfo> now = info(bounded);
    if (!now.ok()) return now.status();
    if (now->instance() == next->instance()) {  // it has not begun to drain
      if (stop.wait_for(kUpgradePoll)) return absl::CancelledError("cancelled during the upgrade");
      continue;
    }
    if (now->takeover().failure().empty()) return now;
    return absl::FailedPreconditionError(
        absl::StrCat("\"", next->program(), "\" did not take over: ", now->takeover().failure(),
                     "; zsyncd ", now->version(), " goes on"));
  }
}

absl::Status Daemon::shutdown(const CallOptions& options) {
  return unary(connection_, *stub_of(connection_), &Stub::Shutdown, v1::ShutdownRequest(), options,
               Repeat::kNever)
      .status();
}

}  // namespace zsync::client
