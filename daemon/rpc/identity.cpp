#include "daemon/rpc/identity.hpp"

#include <pwd.h>
#include <sys/socket.h>

#include <cerrno>
#include <fstream>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "daemon/fault/fault.hpp"
#include "watch/utf8.hpp"

namespace zsync::daemon {
namespace {

std::string user_name(uid_t uid) {
  std::vector<char> buffer(4096);
  passwd entry;
  passwd* found = nullptr;
  if (getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) != 0 || !found) return "";
  return entry.pw_name;
}

std::string describe_user(uid_t uid) {
  const std::string name = user_name(uid);
  return name.empty() ? absl::StrCat("uid ", uid) : absl::StrCat("uid ", uid, " (", name, ")");
}

}  // namespace

absl::StatusOr<Peer> peer_of_socket(int fd) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
    return absl::ErrnoToStatus(errno, "reading the peer's credentials");
  }
  return Peer{credentials.uid, credentials.gid, credentials.pid};
}

absl::StatusOr<Peer> peer_of_call(const std::string& grpc_peer) {
  absl::string_view text = grpc_peer;
  int fd = -1;
  if (!absl::ConsumePrefix(&text, "fd:") || !absl::SimpleAtoi(text, &fd)) {
    return absl::UnauthenticatedError(
        absl::StrCat("the caller's identity is unknown (peer \"", grpc_peer,
                     "\"): connect through the daemon's Unix socket"));
  }
  return peer_of_socket(fd);
}

absl::Status may_call(const Peer& peer, uid_t daemon_uid) {
  if (peer.uid == daemon_uid || peer.uid == 0) return absl::OkStatus();
  return fault(absl::StatusCode::kPermissionDenied,
               absl::StrCat("you are ", describe_user(peer.uid), ", this zsyncd serves ",
                            describe_user(daemon_uid), " and root"),
               {"", "DENIED", "", "start a zsyncd of your own, or call as that user", {}});
}

std::string command_of(pid_t pid) {
  if (pid <= 0) return "";
  std::ifstream file(absl::StrCat("/proc/", pid, "/comm"));
  std::string name;
  std::getline(file, name);
  return watching::to_utf8(name);
}

std::string describe(const Peer& peer) {
  return absl::StrCat(describe_user(peer.uid), ", pid ", peer.pid);
}

}  // namespace zsync::daemon
