#include "daemon/rpc/self_test.hpp"

#include <grpcpp/create_channel_posix.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/server_posix.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "daemon/rpc/identity.hpp"

namespace zsync::daemon {
namespace {

constexpr std::chrono::seconds kSelfTestMax{10};

// Answers every call with the name that gRPC has for its caller.
class MirrorService final : public grpc::CallbackGenericService {
 public:
  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override {
    class Answer final : public grpc::ServerGenericBidiReactor {
     public:
      explicit Answer(std::string peer) {
        Finish(grpc::Status(grpc::StatusCode::ABORTED, std::move(peer)));
      }
      void OnDone() override { delete this; }
    };
    return new Answer(context->peer());
  }
};

absl::StatusOr<std::string> name_of_caller(int server_end, int client_end) {
  MirrorService mirror;
  grpc::ServerBuilder builder;
  builder.RegisterCallbackGenericService(&mirror);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (!server) return absl::FailedPreconditionError("gRPC refused to build a server");
  grpc::AddInsecureChannelFromFd(server.get(), server_end);

  grpc::Status answer;
  {
    grpc::GenericStub stub(grpc::CreateInsecureChannelFromFd("self-test", client_end));
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kSelfTestMax);
    const grpc::Slice nothing("");
    const grpc::ByteBuffer request(&nothing, 1);
    grpc::ByteBuffer reply;
    grpc::CompletionQueue queue;
    auto call = stub.PrepareUnaryCall(&context, "/zsync.SelfTest/WhoAmI", request, &queue);
    call->StartCall();
    call->Finish(&reply, &answer, nullptr);
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    queue.Shutdown();
  }
  server->Shutdown(std::chrono::system_clock::now());
  server->Wait();
  if (answer.error_code() != grpc::StatusCode::ABORTED) {
    return absl::Status(static_cast<absl::StatusCode>(answer.error_code()),
                        absl::StrCat("gRPC's call to itself failed: ", answer.error_message()));
  }
  return answer.error_message();
}

}  // namespace

absl::Status test_caller_names() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) {
    return absl::ErrnoToStatus(errno, "making a socket pair");
  }
  const std::string expected = absl::StrCat("fd:", ends[0]);
  const absl::StatusOr<std::string> name = name_of_caller(ends[0], ends[1]);
  if (!name.ok()) return name.status();
  if (*name == expected) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "gRPC names the caller on descriptor ", ends[0], " \"", *name, "\", not \"", expected,
      "\": zsyncd could not tell who calls; build it with Debian 12's gRPC"));
}

}  // namespace zsync::daemon
