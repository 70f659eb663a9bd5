#include "io/stream.hpp"

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "io/socket_calls.hpp"

namespace zsync::rt {

Task<absl::Status> read_exact(Fd& from, std::span<std::byte> into) {
  size_t filled = 0;
  while (filled < into.size()) {
    absl::StatusOr<size_t> count = co_await from.read_some(into.subspan(filled));
    if (!count.ok()) co_return count.status();
    if (*count == 0) {
      co_return absl::OutOfRangeError(
          absl::StrCat("read: the peer ended after ", filled, " of ", into.size(), " bytes"));
    }
    filled += *count;
  }
  co_return absl::OkStatus();
}

absl::Status shutdown_write(const Fd& socket) {
  if (socket.sockets().shutdown(socket.get(), SHUT_WR) == 0) return absl::OkStatus();
  return errno_status("shutting a socket down", errno);
}

}  // namespace zsync::rt
