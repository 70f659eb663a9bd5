// connect_tcp(): one branch for each address, each begun when the one before has had its time.
#include <algorithm>
#include <memory>

#include "absl/strings/str_cat.h"
#include "zsync/dns.hpp"
#include "zsync/notify.hpp"
#include "zsync/rt/scope.hpp"
#include "zsync/timeout.hpp"

namespace zsync {
namespace {

// What the attempts of one connection tell each other. Branch i waits on begun[i - 1], then on
// `failed`; so one waits on `failed` at a time.
struct Attempts {
  Attempts(std::vector<SocketAddress> to, std::chrono::milliseconds pause)
      : addresses(std::move(to)), stagger(pause), begun(new Notify[addresses.size()]) {}

  const std::vector<SocketAddress> addresses;
  const std::chrono::milliseconds stagger;
  const std::unique_ptr<Notify[]> begun;
  Notify failed;
};

// RFC 8305, section 4: the families in turns, beginning with the one that is preferred.
std::vector<SocketAddress> interleaved(const std::vector<SocketAddress>& addresses) {
  std::vector<SocketAddress> same, other, result;
  for (const SocketAddress& address : addresses) {
    (address.ip.is_v4() == addresses.front().ip.is_v4() ? same : other).push_back(address);
  }
  for (size_t i = 0; i < std::max(same.size(), other.size()); ++i) {
    if (i < same.size()) result.push_back(same[i]);
    if (i < other.size()) result.push_back(other[i]);
  }
  return result;
}

Task<absl::StatusOr<TcpStream>> attempt(Attempts& attempts, size_t index) {
  if (index > 0) {
    co_await attempts.begun[index - 1].notified();
    const absl::Status waited = co_await timeout(attempts.failed.notified(), attempts.stagger);
    if (absl::IsCancelled(waited)) co_return waited;
  }
  attempts.begun[index].notify_one();
  absl::StatusOr<TcpStream> stream = co_await TcpStream::connect(attempts.addresses[index]);
  if (!stream.ok()) attempts.failed.notify_one();
  co_return stream;
}

using Branch = Task<absl::StatusOr<TcpStream>>;

absl::Status all_failed(std::vector<Branch>& branches) {
  absl::StatusCode code = absl::StatusCode::kOk;
  std::string text;
  for (Branch& branch : branches) {
    const absl::Status status = rt::take_voidless(branch).status();
    if (absl::IsCancelled(status)) return absl::CancelledError();
    if (code == absl::StatusCode::kOk) code = status.code();
    absl::StrAppend(&text, text.empty() ? "" : "; ", status.message());
  }
  return {code, text};
}

// The first that connects; a cancel cancels all and waits for them.
Task<absl::StatusOr<TcpStream>> first_of(Attempts& attempts) {
  rt::BranchScope scope(rt::BranchScope::CancelRest::kOnSuccess);
  scope.set_success_test(&rt::branch_succeeded<absl::StatusOr<TcpStream>>);
  std::vector<Branch> branches;
  for (size_t i = 0; i < attempts.addresses.size(); ++i) branches.push_back(attempt(attempts, i));
  for (Branch& branch : branches) scope.add(branch);
  co_await scope;
  if (const int winner = scope.decisive(); winner >= 0) {
    co_return rt::take_voidless(branches[static_cast<size_t>(winner)]);
  }
  co_return all_failed(branches);
}

}  // namespace

Task<absl::StatusOr<TcpStream>> connect_tcp(std::vector<SocketAddress> addresses,
                                            std::chrono::milliseconds stagger) {
  if (absl::Status turn = co_await rt::CheckpointOperation(); !turn.ok()) co_return turn;
  if (addresses.empty()) {
    co_return absl::InvalidArgumentError("connect: the list of addresses is empty; give one");
  }
  if (stagger.count() < 0) {
    co_return absl::InvalidArgumentError("connect: the stagger is negative; 250 ms is usual");
  }
  Attempts attempts(interleaved(addresses), stagger);
  try {
    co_return co_await first_of(attempts);
  } catch (const Cancelled&) {
    co_return absl::CancelledError();
  }
}

Task<absl::StatusOr<TcpStream>> connect_tcp(std::string host, uint16_t port,
                                            ConnectOptions options) {
  absl::StatusOr<std::vector<SocketAddress>> found = co_await options.resolver.resolve(host, port);
  if (!found.ok()) co_return found.status();
  absl::StatusOr<TcpStream> stream = co_await connect_tcp(*std::move(found), options.stagger);
  if (stream.ok() || absl::IsCancelled(stream.status())) co_return stream;
  co_return absl::Status(stream.status().code(),
                         absl::StrCat("\"", host, "\": ", stream.status().message()));
}

}  // namespace zsync
