// RpcServer: accepts connections itself and lets a gRPC server live only while there are any.
//
// An idle daemon holds a listening socket and nothing else: the gRPC server (with its threads and
// timers) is built at the first connection and destroyed `linger` after the last one has closed. A
// duplicate of each descriptor stays here; the kernel's hang-up on it is the connection count.
#pragma once

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "daemon/rpc/identity.hpp"
#include "daemon/rpc/listener.hpp"
#include "zsync/executor.hpp"
#include "zsync/fd.hpp"
#include "zsync/notify.hpp"
#include "zsync/rt/fd.hpp"
#include "zsync/rt/lock.hpp"
#include "zsync/task.hpp"

namespace zsync::daemon {

inline constexpr int kMessageBytesMax = 4 << 20;
// What a connection begins with that is not gRPC's: descriptors are passed over it.
inline constexpr char kDescriptorsMagic[] = "ZSYNCFD1";
// How long a connection may say nothing at first.
inline constexpr std::chrono::seconds kFirstBytesTimeout{20};

struct RpcOptions {
  std::chrono::milliseconds linger{5000};
  uint32_t connections_max = 1024;
  uint32_t connections_per_uid_max = 256;
  uid_t daemon_uid = 0;  // whom it serves, besides root
  // Takes a connection that begins with kDescriptorsMagic, of somebody who may call.
  std::function<void(UniqueFd connection, Peer peer)> take_descriptors = {};
};

class RpcServer {
 public:
  // Makes what answers calls to unknown services: one for each server, as gRPC wants it.
  using MakeRest = std::function<std::unique_ptr<grpc::CallbackGenericService>()>;

  RpcServer(RpcOptions options, std::vector<grpc::Service*> services, MakeRest make_rest,
            std::function<void(absl::Status)> complain);
  ~RpcServer();

  // Accepts until the task is cancelled; then every connection has ended.
  Task<absl::Status> serve(ListeningSocket& listener);
  // How long calls may still take when it is; 0 unless said.
  void let_calls_end(std::chrono::milliseconds grace) { grace_ms_.store(grace.count()); }

  size_t connections() const;
  // Changes whenever a connection opens or closes.
  Notify& activity() { return activity_; }

 private:
  struct Built {
    std::unique_ptr<grpc::CallbackGenericService> rest;
    std::unique_ptr<grpc::Server> server;  // goes before what it calls
  };
  using BuiltPtr = std::shared_ptr<Built>;

  Task<absl::Status> accept_all(rt::Fd& listener);
  void accept_one(UniqueFd fd);
  // Gives it to gRPC, or to who passes descriptors.
  Task<void> sort_out(UniqueFd fd, Peer peer);
  Task<void> hand_on(UniqueFd fd, Peer peer);
  Task<void> watch(int fd);
  Task<void> destroy_when_idle();
  Task<void> destroy_server(bool only_if_idle);
  absl::Status admit(uid_t uid);
  void forget(uid_t uid);
  BuiltPtr build(const std::vector<grpc::Service*>& services,
                 std::unique_ptr<grpc::CallbackGenericService> rest) const;
  BuiltPtr server_for(const Peer& peer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const RpcOptions options_;
  const std::vector<grpc::Service*> services_;
  const MakeRest make_rest_;
  const std::function<void(absl::Status)> complain_;

  std::atomic<int64_t> grace_ms_{0};

  mutable rt::Lock mutex_;
  BuiltPtr server_ ABSL_GUARDED_BY(mutex_);
  BuiltPtr strangers_ ABSL_GUARDED_BY(mutex_);  // refuses whatever comes
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;  // what was not sorted out by now is not served
  size_t open_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_map<uid_t, uint32_t> open_by_uid_ ABSL_GUARDED_BY(mutex_);
  Notify activity_;
  Executor watchers_;
};

}  // namespace zsync::daemon
