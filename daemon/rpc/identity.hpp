// Who is on the other end of a call, and whether they may be.
//
// gRPC does not authenticate local peers: the daemon accepts the socket itself, hands the
// descriptor to gRPC, and reads the kernel's peer credentials from it at the start of every call.
// That rests on the peer string "fd:N": a call whose peer reads otherwise is refused.
#pragma once

#include <sys/types.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace zsync::daemon {

struct Peer {
  uid_t uid = 0;
  gid_t gid = 0;
  pid_t pid = 0;  // as of connect(); it may have been recycled
};

// The credentials of a connected Unix socket.
absl::StatusOr<Peer> peer_of_socket(int fd);
// The same by gRPC's peer string; valid while a call of that connection lives.
//
// Errors: kUnauthenticated for any other kind of peer.
absl::StatusOr<Peer> peer_of_call(const std::string& grpc_peer);

// The daemon's own user and root may call.
//
// Errors: kPermissionDenied that says who the caller is and what would allow them.
absl::Status may_call(const Peer& peer, uid_t daemon_uid);

// The name of a process, as the kernel tells it; "": there is none of that number.
std::string command_of(pid_t pid);

// "uid 1000 (anna), pid 4711".
std::string describe(const Peer& peer);

}  // namespace zsync::daemon
