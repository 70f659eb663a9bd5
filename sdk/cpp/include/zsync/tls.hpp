// TLS: streams that nobody else can read or change, and whose other end has proven who it is.
//
//   absl::StatusOr<zsync::TlsContext> context = zsync::TlsContext::client();
//   absl::StatusOr<zsync::TcpStream> tcp = co_await zsync::connect_tcp("example.org", 443);
//   absl::StatusOr<zsync::TlsStream> tls =
//       co_await zsync::TlsStream::connect(*context, *std::move(tcp), "example.org");
//
// TLS 1.2 and 1.3 by OpenSSL, over any stream socket of ours (TcpStream, UnixStream). Certificates
// are verified, the host name included, unless that is turned off by name. Renegotiation and
// compression are off; revocation lists are not looked at.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "zsync/fd.hpp"
#include "zsync/task.hpp"

namespace zsync {

namespace net {
class TlsConnection;
class TlsContextState;
}  // namespace net

inline constexpr std::chrono::milliseconds kTlsHandshakeTimeout{10000};  // of connect(), accept()
inline constexpr size_t kTlsSessionsMax = 1024;       // hosts that a client context remembers
inline constexpr size_t kTlsPemBytesMax = 16u << 20;  // bytes of a PEM file that is read
inline constexpr size_t kTlsProtocolBytesMax = 255;   // bytes of a protocol's name; RFC 7301

// Certificates or a key in PEM ("-----BEGIN ..."), from a file or from memory.
class Pem {
 public:
  // Nothing.
  Pem() = default;
  // What stands in a file; it is read when the context is made.
  static Pem file(std::string path) { return Pem(std::move(path), true); }
  // The text itself.
  static Pem text(std::string pem) { return Pem(std::move(pem), false); }

  // Whether there is nothing.
  bool empty() const { return value_.empty(); }
  // Whether value() is a path.
  bool is_file() const { return is_file_; }
  // The path or the text.
  const std::string& value() const { return value_; }

 private:
  Pem(std::string value, bool is_file) : value_(std::move(value)), is_file_(is_file) {}
  std::string value_;
  bool is_file_ = false;
};

// The oldest version that is spoken.
enum class TlsVersion {
  v1_2,  // RFC 5246
  v1_3,  // RFC 8446
};

// How a client speaks.
struct TlsClientOptions {
  Pem roots;           // whom to trust; empty: those that the system trusts
  bool verify = true;  // false: anybody may be the other end; for experiments only
  // Protocols to talk over the stream, the preferred one first ("h2", "http/1.1"); see alpn().
  std::vector<std::string> alpn;
  Pem certificate;  // who this end is, with its intermediates; for servers that ask
  Pem key;          // its private key, without a passphrase
  TlsVersion min_version = TlsVersion::v1_2;  // older ones are refused
  // Keep sessions and take them up again: a round trip less, no certificate, see resumed().
  bool resume = true;
  std::chrono::milliseconds handshake_timeout = kTlsHandshakeTimeout;  // for all of it
};

// How a server speaks.
struct TlsServerOptions {
  Pem certificate;  // who this end is, followed by its intermediates
  Pem key;          // its private key, without a passphrase
  // Protocols that it talks, the preferred one first. A client that offers others is refused.
  std::vector<std::string> alpn;
  Pem client_roots;  // clients need a certificate of these; empty: they are not asked for one
  TlsVersion min_version = TlsVersion::v1_2;  // older ones are refused
  bool resume = true;  // give clients tickets, so that they can take their session up again
  std::chrono::milliseconds handshake_timeout = kTlsHandshakeTimeout;  // for all of it
};

// What the streams of one side have in common: whom they trust, who they are, their sessions. Made
// once, at the start of a program: it reads files, for some milliseconds.
//
// Lifetime: copies share one context; it lives until the last copy and the last stream are gone.
// Threads:  any.
class TlsContext {
 public:
  // For TlsStream::connect().
  //
  // Errors: kInvalidArgument for what is no PEM, a key that does not belong to the certificate or
  //         has a passphrase, a protocol's name that is empty or too long, a timeout that is not
  //         positive; kNotFound and the system's for a file that cannot be read.
  static absl::StatusOr<TlsContext> client(TlsClientOptions options = {});
  // For TlsStream::accept(). Errors: as client(); kInvalidArgument without certificate and key.
  static absl::StatusOr<TlsContext> server(TlsServerOptions options);

 private:
  friend class net::TlsConnection;
  explicit TlsContext(std::shared_ptr<net::TlsContextState> state) : state_(std::move(state)) {}
  std::shared_ptr<net::TlsContextState> state_;
};

// What a certificate says, as far as people ask.
struct TlsCertificate {
  std::string subject;                               // "CN=example.org,O=Example"
  std::string issuer;                                // of the one that has signed it
  std::vector<std::string> names;                    // host names and addresses that it stands for
  std::chrono::system_clock::time_point not_before;  // valid from
  std::chrono::system_clock::time_point not_after;   // valid until
  std::string serial;                                // hexadecimal
  std::string sha256;                                // fingerprint, hexadecimal, lower case
};

// A stream that gives its socket away: TcpStream, UnixStream.
template <typename Stream>
concept SocketStream = requires(Stream stream) {
  { stream.release() } -> std::same_as<absl::StatusOr<UniqueFd>>;
};

// One end of a connection.
//
// Lifetime: closes its socket, without close_notify unless shutdown() was called, so that the other
//           end can tell that the rest is missing. Ends before its runtime. Neither moved nor
//           destroyed while an operation is pending; close() ends one that waits with
//           kFailedPrecondition.
// Threads:  used by one task at a time for reading and by one for writing (shutdown() included);
//           close() by either, while the other one waits or is done.
// Errors:   of every operation: kDataLoss when the peer ended without close_notify, or sent what
//           TLS does not allow; kUnauthenticated when it refuses this end's certificate (which TLS
//           1.3 tells with the first read); kUnavailable and the system's from the socket. A stream
//           that has failed gives the same error again.
class TlsStream {
 public:
  // Holds nothing.
  TlsStream();
  // Speaks to a server as a client that wants to talk to `host`: a name or an address that has to
  // stand in the server's certificate, and the key under which the session is kept. The stream goes
  // with it, also on failure. The socket may be any stream socket, blocking or not.
  //
  // Errors: kUnauthenticated when the certificate is expired, for another host, of an unknown
  //         issuer, ..., with the cure; kFailedPrecondition when the peer does not speak TLS or no
  //         version, cipher or protocol that this end does; kUnavailable when it ends the
  //         connection; kDeadlineExceeded after TlsClientOptions::handshake_timeout;
  //         kInvalidArgument for a context of a server, or an empty host with verification on.
  // Cancel: kCancelled; the connection is closed.
  static Task<absl::StatusOr<TlsStream>> connect(TlsContext context, UniqueFd socket,
                                                 std::string host);
  // The same for a stream of ours.
  template <SocketStream Stream>
  static Task<absl::StatusOr<TlsStream>> connect(TlsContext context, Stream stream,
                                                 std::string host) {
    absl::StatusOr<UniqueFd> socket = stream.release();
    if (!socket.ok()) co_return socket.status();
    co_return co_await connect(std::move(context), *std::move(socket), std::move(host));
  }
  // Speaks to a client as a server. The stream goes with it, also on failure.
  //
  // Errors, Cancel: as connect().
  static Task<absl::StatusOr<TlsStream>> accept(TlsContext context, UniqueFd socket);
  // The same for a stream of ours.
  template <SocketStream Stream>
  static Task<absl::StatusOr<TlsStream>> accept(TlsContext context, Stream stream) {
    absl::StatusOr<UniqueFd> socket = stream.release();
    if (!socket.ok()) co_return socket.status();
    co_return co_await accept(std::move(context), *std::move(socket));
  }

  TlsStream(TlsStream&&) noexcept;
  TlsStream& operator=(TlsStream&&) noexcept;
  ~TlsStream();

  // Reads what is there, waiting for at least one byte -> bytes read; 0: the peer has ended with
  // close_notify, nothing is missing. Sends what TLS has to answer, and what a cancelled write has
  // left, on the way.
  //
  // Cancel: kCancelled; no byte is lost.
  Task<absl::StatusOr<size_t>> read_some(std::span<std::byte> into);
  // Fills `into`.
  //
  // Errors: kOutOfRange when the peer ends before.
  // Cancel: kCancelled; what was read before is in `into`, how much is not known any more.
  Task<absl::Status> read_exact(std::span<std::byte> into);

  // Writes everything, which is not the same as received; never raises SIGPIPE.
  //
  // Errors: kFailedPrecondition "write: Broken pipe" when the peer is gone, and after shutdown().
  // Cancel: kCancelled; a part may have been written. The stream stays whole: a record that was
  //         begun is sent before anything else.
  Task<absl::Status> write_all(std::span<const std::byte> from);
  // The same for text, which has to outlive the task.
  Task<absl::Status> write_all(std::string_view from) {
    return write_all(std::as_bytes(std::span(from)));
  }

  // Tells the peer that everything was said (close_notify), and completes when the system has taken
  // that; this end can still read. Read to the end before close() where it counts that the peer
  // gets everything: bytes that came and were not read turn its end into a reset.
  //
  // Cancel: kCancelled; may be called again.
  Task<absl::Status> shutdown();

  // The protocol that both ends speak, of TlsClientOptions::alpn; empty: nobody has asked.
  const std::string& alpn() const;
  // "TLSv1.3".
  const std::string& version() const;
  // "TLS_AES_256_GCM_SHA384".
  const std::string& cipher() const;
  // Whether an earlier session was taken up again.
  bool resumed() const;
  // Who the other end is; nullopt: it has not said. It was verified unless that is turned off.
  std::optional<TlsCertificate> peer_certificate() const;

  // Closes the socket when its worker looks at its descriptors next; see shutdown().
  void close();
  // The socket, -1 after close(); it stays this object's.
  int get() const;
  // Whether it holds a socket.
  explicit operator bool() const { return get() >= 0; }

 private:
  explicit TlsStream(std::unique_ptr<net::TlsConnection> connection);
  std::unique_ptr<net::TlsConnection> connection_;
};

}  // namespace zsync
