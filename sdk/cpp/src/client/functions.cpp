#include "zsync/client/functions.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#include "connection.hpp"
#include "serve_session.hpp"
#include "zsync/v1/functions.grpc.pb.h"

namespace zsync::client {
namespace {

using internal::Connection;
using internal::Repeat;
using Stub = v1::Functions::Stub;

constexpr std::chrono::milliseconds kBackoffFirst{10};
constexpr std::chrono::milliseconds kBackoffMax{1000};

std::unique_ptr<Stub> stub_of(Connection& connection) {
  return v1::Functions::NewStub(connection.channel());
}

void set_duration(std::chrono::nanoseconds from, google::protobuf::Duration& to) {
  to.set_seconds(from.count() / 1'000'000'000);
  to.set_nanos(static_cast<std::int32_t>(from.count() % 1'000'000'000));
}

}  // namespace

absl::Status Functions::serve(const std::string& function, const Handler& handler,
                              const ServeOptions& serving, const CallOptions& options) {
  v1::ServeRequest first;
  v1::ServeOpen& open = *first.mutable_open();
  open.set_name(function);
  const int concurrency = std::max(serving.concurrency, 1);
  open.set_window(std::max(serving.window, static_cast<std::uint32_t>(concurrency)));
  StopSource never;
  StopSource& stop = options.stop != nullptr ? *options.stop : never;
  const internal::Deadline end = connection_.bounds(options).deadline;
  const std::unique_ptr<Stub> stub = stub_of(connection_);
  std::chrono::milliseconds pause = kBackoffFirst;
  while (!stop.cancelled() && (!end || internal::Clock::now() < *end)) {
    internal::ServeSession session(handler, concurrency);
    const absl::Status status = session.run(*stub, first, stop, end);
    if (status.ok() || !internal::is_broken_connection(status)) return status;
    if (session.served()) pause = kBackoffFirst;
    stop.wait_for(pause);
    pause = std::min(pause * 2, kBackoffMax);
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::FunctionResult> Functions::call(v1::FunctionCall call,
                                                   const CallOptions& options) {
  v1::CallFunctionRequest request;
  *request.mutable_call() = std::move(call);
  if (options.timeout) set_duration(*options.timeout, *request.mutable_timeout());
  auto reply =
      unary(connection_, *stub_of(connection_), &Stub::Call, request, options, Repeat::kNever);
  if (!reply.ok()) return reply.status();
  return std::move(*reply->mutable_result());
}

absl::StatusOr<std::string> Functions::call(const std::string& function, std::string payload,
                                            const CallOptions& options) {
  v1::FunctionCall request;
  request.set_name(function);
  request.set_payload(std::move(payload));
  absl::StatusOr<v1::FunctionResult> result = call(std::move(request), options);
  if (!result.ok()) return result.status();
  return std::move(*result->mutable_payload());
}

absl::StatusOr<std::vector<v1::Function>> Functions::list(const CallOptions& options) {
  const auto reply = unary(connection_, *stub_of(connection_), &Stub::List,
                           v1::ListFunctionsRequest(), options, Repeat::kSafe);
  if (!reply.ok()) return reply.status();
  return std::vector<v1::Function>(reply->functions().begin(), reply->functions().end());
}

}  // namespace zsync::client
