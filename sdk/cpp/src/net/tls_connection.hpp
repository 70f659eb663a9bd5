// One TLS connection: OpenSSL between a socket and a task that reads and one that writes.
//
// OpenSSL reads from the socket itself, through a BIO of ours, and writes into `out_`, which never
// is full; so it never leaves a record half written that a reading task (which may have to answer a
// KeyUpdate) would trip over. What stands in `out_` is sent by whoever comes next:
//
//   a writer encrypts a piece only when `out_` is empty, so it holds one piece at most
//   a reader sends what can be sent at once, and while it waits for the peer it also waits for room
//   in the socket; so neither end can make the other one wait for ever
//
// Invariants
//   1. Bytes get into `out_` in the order of TLS' records and leave it in the same order, both
//      under `lock_`: a cancelled task leaves no gap.
//   2. `lock_` is held for one call of OpenSSL and one of the kernel, never across a suspension.
//      OpenSSL's errors are those of the thread: they are read before it is given back.
#pragma once

#include <openssl/ssl.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "net/tls_error.hpp"
#include "zsync/rt/fd.hpp"
#include "zsync/rt/lock.hpp"
#include "zsync/tls.hpp"

namespace zsync::net {

class TlsConnection {
 public:
  static constexpr size_t kReadBytes = size_t{64} << 10;   // asked of the socket at once
  static constexpr size_t kWriteBytes = size_t{64} << 10;  // encrypted at once: four records
  static constexpr size_t kKeptBytes = size_t{16} << 10;   // of out_ while it is empty

  // To be called in a task. `host` is empty for a server.
  static absl::StatusOr<std::unique_ptr<TlsConnection>> open(TlsContext context, UniqueFd socket,
                                                             std::string host);
  ~TlsConnection();
  TlsConnection(const TlsConnection&) = delete;
  TlsConnection& operator=(const TlsConnection&) = delete;

  Task<absl::Status> handshake();
  Task<absl::StatusOr<size_t>> read_some(std::span<std::byte> into);
  Task<absl::Status> write_all(std::span<const std::byte> from);
  Task<absl::Status> shutdown();

  // Set by the handshake.
  const std::string& alpn() const { return alpn_; }
  const std::string& version() const { return version_; }
  const std::string& cipher() const { return cipher_; }
  bool resumed() const { return resumed_; }
  std::optional<TlsCertificate> peer_certificate() const;

  void close() { fd_.close(); }
  int get() const { return fd_.get(); }

  // Whose SSL it is.
  static TlsConnection& of(SSL* ssl);
  // What a context is for.
  static bool is_client(const TlsContext& context);
  static bool verifies(const TlsContext& context);
  // A session that can be taken up again. -> whether it was taken over. Called by OpenSSL.
  bool keep_session(SSL_SESSION* session);
  // The peer's certificate is refused. Called by OpenSSL.
  void note_complaint(X509_STORE_CTX* verified);

 private:
  enum class Step : uint8_t {
    kDone,
    kWaitReadable,
    kWaitEither,  // there is something to send, too
    kWaitWritable,
    kFailed,  // failure_ says why
  };

  TlsConnection(TlsContext context, rt::Fd fd, std::string host);
  absl::Status start();
  absl::Status start_client();
  std::string peer() const;

  Task<absl::Status> shake_hands();
  void note_result() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  Step handshake_step();
  Step read_step(std::span<std::byte> into, size_t& count);
  // Encrypts one piece, if everything before it is sent; takes it off `from`.
  Step write_step(std::span<const std::byte>& from);
  Step shutdown_step();
  Task<absl::Status> wait(Step step);
  absl::Status failure();

  // What OpenSSL's `result` means for a task that wants to read.
  Step step_of(int result, const char* doing) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void send_some() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  bool sent_all() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) { return sent_ == out_.size(); }

  static BIO_METHOD* bio_method();
  static int bio_read(BIO* bio, char* into, int size);
  static int bio_write(BIO* bio, const char* from, int size);
  static long bio_control(BIO* bio, int command, long number, void* pointer);

  const TlsContext context_;
  const std::string host_;
  rt::Fd fd_;

  // Set by the handshake, before there is more than one task.
  bool established_ = false;
  std::string alpn_, version_, cipher_;
  bool resumed_ = false;

  mutable rt::Lock lock_;
  std::unique_ptr<SSL, OpenSslFree<::SSL_free>> ssl_ ABSL_GUARDED_BY(lock_);
  std::string out_ ABSL_GUARDED_BY(lock_);             // encrypted, to be sent
  size_t sent_ ABSL_GUARDED_BY(lock_) = 0;             // of out_
  bool ended_ ABSL_GUARDED_BY(lock_) = false;          // the socket has said so
  int read_error_ ABSL_GUARDED_BY(lock_) = 0;          // errno of the socket
  std::string complaint_ ABSL_GUARDED_BY(lock_);       // of the peer's certificate
  absl::Status failure_ ABSL_GUARDED_BY(lock_);        // of TLS or of reading: for ever
  absl::Status write_failure_ ABSL_GUARDED_BY(lock_);  // of sending: for ever, of writing only
};

}  // namespace zsync::net
