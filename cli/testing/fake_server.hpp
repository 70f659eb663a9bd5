// A gRPC server with the daemon's services on a Unix socket, in the test's own process.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "cli/testing/fake_state.hpp"

namespace grpc {
class Server;
class Service;
class Status;
class ServerContextBase;
}  // namespace grpc

namespace zsync::cli::testing {

std::unique_ptr<grpc::Service> make_fake_tasks(FakeState& state);
std::unique_ptr<grpc::Service> make_fake_channels(FakeState& state);
std::unique_ptr<grpc::Service> make_fake_watch(FakeState& state);
std::unique_ptr<grpc::Service> make_fake_daemon(FakeState& state);
std::unique_ptr<grpc::Service> make_fake_events(FakeState& state);

// Gives an outcome the way the daemon does: status and trailer.
grpc::Status to_grpc(grpc::ServerContextBase& context, const Outcome& outcome);

// Lifetime: the socket lives in a temporary directory that goes with the object.
class FakeServer {
 public:
  FakeServer();
  ~FakeServer();

  void start();
  void stop();  // ends every call, removes the socket
  const std::string& socket() const { return socket_; }
  const std::string& directory() const { return directory_; }

  FakeState state;

 private:
  std::string directory_;
  std::string socket_;
  std::vector<std::unique_ptr<grpc::Service>> services_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace zsync::cli::testing
