#include "daemon/rpc/server.hpp"

#include <fcntl.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server_posix.h>
#include <malloc.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/rpc/stranger.hpp"
#include "zsync/flow.hpp"
#include "zsync/runtime.hpp"
#include "zsync/timeout.hpp"

namespace zsync::daemon {
namespace {

constexpr std::chrono::milliseconds kAcceptPause{100};  // when descriptors have run out

}  // namespace

RpcServer::RpcServer(RpcOptions options, std::vector<grpc::Service*> services, MakeRest make_rest,
                     std::function<void(absl::Status)> complain)
    : options_(options),
      services_(std::move(services)),
      make_rest_(std::move(make_rest)),
      complain_(std::move(complain)) {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
}

RpcServer::~RpcServer() = default;

size_t RpcServer::connections() const {
  rt::LockGuard guard(mutex_);
  return open_;
}

Task<absl::Status> RpcServer::serve(ListeningSocket& listener) {
  absl::StatusOr<rt::Fd> accepting = rt::Fd::adopt(fcntl(listener.fd(), F_DUPFD_CLOEXEC, 3));
  if (!accepting.ok()) co_return accepting.status();
  absl::Status status = co_await accept_all(*accepting);
  accepting->close();
  {
    rt::LockGuard guard(mutex_);
    ended_ = true;
  }
  co_await shield(destroy_server(/*only_if_idle=*/false));
  watchers_.cancel_all();
  co_await shield(watchers_.join_all());
  co_return status;
}

Task<absl::Status> RpcServer::accept_all(rt::Fd& listener) {
  watchers_.spawn(destroy_when_idle());
  while (true) {
    const int fd = accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      accept_one(UniqueFd(fd));
    } else if (errno == EAGAIN) {
      if (absl::Status status = co_await listener.readable(); !status.ok()) co_return status;
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
      complain_(rt::errno_status("accepting a connection (raise the limit of open files)", errno));
      co_await sleep(kAcceptPause);
    } else if (errno != EINTR && errno != ECONNABORTED) {
      co_return rt::errno_status("accepting connections", errno);
    }
  }
}

void RpcServer::accept_one(UniqueFd fd) {
  const absl::StatusOr<Peer> peer = peer_of_socket(fd.get());
  absl::Status admitted = peer.ok() ? admit(peer->uid) : peer.status();
  if (!admitted.ok()) return complain_(admitted);
  (void)watchers_.spawn(sort_out(std::move(fd), *peer));
  activity_.notify_all();
}

Task<void> RpcServer::sort_out(UniqueFd fd, Peer peer) {
  struct Leaving {
    RpcServer& server;
    uid_t uid;
    ~Leaving() {
      server.forget(uid);
      server.activity_.notify_all();
    }
  } leaving{*this, peer.uid};
  absl::StatusOr<rt::Fd> connection = rt::Fd::adopt(std::move(fd));
  if (!connection.ok()) {
    complain_(connection.status());
    co_return;
  }
  // A probe connects and says nothing; so may somebody who only wants to take a place.
  const absl::Status heard = co_await timeout(connection->readable(), kFirstBytesTimeout);
  if (!heard.ok()) co_return;
  absl::StatusOr<UniqueFd> given = connection->release();
  if (!given.ok()) {
    complain_(given.status());
    co_return;
  }
  co_await hand_on(std::move(*given), peer);
}

Task<void> RpcServer::hand_on(UniqueFd fd, Peer peer) {
  char first[sizeof(kDescriptorsMagic) - 1];
  const ssize_t count = recv(fd.get(), first, sizeof(first), MSG_PEEK | MSG_DONTWAIT);
  if (count <= 0) co_return;
  const int copy = fcntl(fd.get(), F_DUPFD_CLOEXEC, 3);
  if (copy < 0) {
    complain_(rt::errno_status("keeping a connection", errno));
    co_return;
  }
  const bool descriptors = std::string_view(first, count) == kDescriptorsMagic &&
                           options_.take_descriptors && may_call(peer, options_.daemon_uid).ok();
  BuiltPtr server;
  {
    rt::LockGuard guard(mutex_);
    if (!ended_ && !descriptors) server = server_for(peer);
    if (ended_) fd.reset();
  }
  if (server) grpc::AddInsecureChannelFromFd(server->server.get(), fd.release());
  if (fd) options_.take_descriptors(std::move(fd), peer);
  co_await watch(copy);
}

Task<void> RpcServer::watch(int fd) {
  absl::StatusOr<rt::Fd> connection = rt::Fd::adopt(fd);
  if (connection.ok()) {
    (void)co_await connection->hangup();
    co_return;
  }
  complain_(connection.status());
  shutdown(fd, SHUT_RDWR);
}

absl::Status RpcServer::admit(uid_t uid) {
  rt::LockGuard guard(mutex_);
  uint32_t& of_uid = open_by_uid_[uid];
  if (open_ >= options_.connections_max || of_uid >= options_.connections_per_uid_max) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "refused a connection of uid ", uid, ": it has ", of_uid, " of at most ",
        options_.connections_per_uid_max, ", all users ", open_, " of ", options_.connections_max));
  }
  ++of_uid;
  ++open_;
  return absl::OkStatus();
}

void RpcServer::forget(uid_t uid) {
  rt::LockGuard guard(mutex_);
  --open_;
  auto of_uid = open_by_uid_.find(uid);
  if (of_uid != open_by_uid_.end() && --of_uid->second == 0) open_by_uid_.erase(of_uid);
}

RpcServer::BuiltPtr RpcServer::server_for(const Peer& peer) {
  if (may_call(peer, options_.daemon_uid).ok()) {
    if (!server_) server_ = build(services_, make_rest_());
    return server_;
  }
  if (!strangers_) strangers_ = build({}, make_stranger_service(options_.daemon_uid));
  return strangers_;
}

RpcServer::BuiltPtr RpcServer::build(const std::vector<grpc::Service*>& services,
                                     std::unique_ptr<grpc::CallbackGenericService> rest) const {
  grpc::ServerBuilder builder;
  for (grpc::Service* service : services) builder.RegisterService(service);
  auto built = std::make_shared<Built>();
  built->rest = std::move(rest);
  builder.RegisterCallbackGenericService(built->rest.get());
  builder.SetMaxReceiveMessageSize(kMessageBytesMax);
  builder.SetMaxSendMessageSize(kMessageBytesMax);
  built->server = builder.BuildAndStart();
  ZS_ASSERT(built->server != nullptr, "gRPC refused to build a server without ports");
  return built;
}

Task<void> RpcServer::destroy_when_idle() {
  while (true) {
    const uint64_t seen = activity_.epoch();
    bool idle = false;
    {
      rt::LockGuard guard(mutex_);
      idle = open_ == 0 && (server_ || strangers_);
    }
    if (!idle) {
      co_await activity_.changed(seen);
      continue;
    }
    absl::Status waited = co_await timeout(activity_.changed(seen), options_.linger);
    if (absl::IsCancelled(waited)) co_return;
    if (absl::IsDeadlineExceeded(waited)) {
      co_await shield(destroy_server(/*only_if_idle=*/true));
    }
  }
}

Task<void> RpcServer::destroy_server(bool only_if_idle) {
  BuiltPtr built[2];
  {
    rt::LockGuard guard(mutex_);
    // A connection is counted before it asks for the server, so it finds this one or a new one.
    if (only_if_idle && open_ > 0) co_return;
    built[0] = std::move(server_);
    built[1] = std::move(strangers_);
  }
  // Blocks until every reaction of the cancelled calls has run.
  const std::chrono::milliseconds grace(grace_ms_.load());
  co_await rt::call_blocking([&built, grace] {
    for (BuiltPtr& one : built) {
      if (!one) continue;
      one->server->Shutdown(std::chrono::system_clock::now() + grace);
      one->server->Wait();
      one.reset();
    }
#ifdef __GLIBC__
    malloc_trim(0);  // the peak of the work is over; an idle daemon gives it back
#endif
  });
}

}  // namespace zsync::daemon
