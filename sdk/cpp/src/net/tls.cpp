#include "zsync/tls.hpp"

#include "absl/strings/str_cat.h"
#include "net/tls_connection.hpp"
#include "net/tls_context.hpp"

namespace zsync {
namespace {

constexpr char kNoKernel[] = "TLS outside a task of a real runtime: a simulation has no kernel";
constexpr char kEmpty[] = "a TlsStream that holds nothing: connect() or accept() makes one";
const std::string kNothing;

}  // namespace

TlsStream::TlsStream() = default;
TlsStream::TlsStream(std::unique_ptr<net::TlsConnection> connection)
    : connection_(std::move(connection)) {}
TlsStream::TlsStream(TlsStream&&) noexcept = default;
TlsStream& TlsStream::operator=(TlsStream&&) noexcept = default;
TlsStream::~TlsStream() = default;

Task<absl::StatusOr<TlsStream>> TlsStream::connect(TlsContext context, UniqueFd socket,
                                                   std::string host) {
  if (absl::Status turn = co_await rt::CheckpointOperation(); !turn.ok()) co_return turn;
  rt::require_kernel(kNoKernel);
  if (!net::TlsConnection::is_client(context)) {
    co_return absl::InvalidArgumentError(
        "tls: connect() with the context of a server; make one with TlsContext::client()");
  }
  if (host.empty() && net::TlsConnection::verifies(context)) {
    co_return absl::InvalidArgumentError(
        "tls: connect() without a host: a certificate is verified for a name or an address");
  }
  absl::StatusOr<std::unique_ptr<net::TlsConnection>> connection =
      net::TlsConnection::open(std::move(context), std::move(socket), std::move(host));
  if (!connection.ok()) co_return connection.status();
  if (absl::Status done = co_await (*connection)->handshake(); !done.ok()) co_return done;
  co_return TlsStream(*std::move(connection));
}

Task<absl::StatusOr<TlsStream>> TlsStream::accept(TlsContext context, UniqueFd socket) {
  if (absl::Status turn = co_await rt::CheckpointOperation(); !turn.ok()) co_return turn;
  rt::require_kernel(kNoKernel);
  if (net::TlsConnection::is_client(context)) {
    co_return absl::InvalidArgumentError(
        "tls: accept() with the context of a client; make one with TlsContext::server()");
  }
  absl::StatusOr<std::unique_ptr<net::TlsConnection>> connection =
      net::TlsConnection::open(std::move(context), std::move(socket), {});
  if (!connection.ok()) co_return connection.status();
  if (absl::Status done = co_await (*connection)->handshake(); !done.ok()) co_return done;
  co_return TlsStream(*std::move(connection));
}

Task<absl::StatusOr<size_t>> TlsStream::read_some(std::span<std::byte> into) {
  ZS_ASSERT(connection_, kEmpty);
  return connection_->read_some(into);
}

Task<absl::Status> TlsStream::read_exact(std::span<std::byte> into) {
  size_t filled = 0;
  while (filled < into.size()) {
    absl::StatusOr<size_t> count = co_await read_some(into.subspan(filled));
    if (!count.ok()) co_return count.status();
    if (*count == 0) {
      co_return absl::OutOfRangeError(
          absl::StrCat("read: the peer ended after ", filled, " of ", into.size(), " bytes"));
    }
    filled += *count;
  }
  co_return absl::OkStatus();
}

Task<absl::Status> TlsStream::write_all(std::span<const std::byte> from) {
  ZS_ASSERT(connection_, kEmpty);
  return connection_->write_all(from);
}

Task<absl::Status> TlsStream::shutdown() {
  ZS_ASSERT(connection_, kEmpty);
  return connection_->shutdown();
}

const std::string& TlsStream::alpn() const { return connection_ ? connection_->alpn() : kNothing; }
const std::string& TlsStream::version() const {
  return connection_ ? connection_->version() : kNothing;
}
const std::string& TlsStream::cipher() const {
  return connection_ ? connection_->cipher() : kNothing;
}
bool TlsStream::resumed() const { return connection_ && connection_->resumed(); }
std::optional<TlsCertificate> TlsStream::peer_certificate() const {
  if (!connection_) return std::nullopt;
  return connection_->peer_certificate();
}

void TlsStream::close() {
  if (connection_) connection_->close();
}
int TlsStream::get() const { return connection_ ? connection_->get() : -1; }

}  // namespace zsync
