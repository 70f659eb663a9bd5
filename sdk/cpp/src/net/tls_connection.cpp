#include "net/tls_connection.hpp"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "io/socket_calls.hpp"
#include "net/tls_context.hpp"
#include "zsync/assert.hpp"
#include "zsync/flow.hpp"
#include "zsync/socket.hpp"
#include "zsync/timeout.hpp"

namespace zsync::net {
namespace {

constexpr char kReading[] = "read";
constexpr char kWriting[] = "write";

TlsConnection& connection_of(BIO* bio) { return *static_cast<TlsConnection*>(::BIO_get_data(bio)); }

}  // namespace

absl::StatusOr<std::unique_ptr<TlsConnection>> TlsConnection::open(TlsContext context,
                                                                   UniqueFd socket,
                                                                   std::string host) {
  absl::StatusOr<rt::Fd> fd = rt::Fd::adopt(std::move(socket));
  if (!fd.ok()) return fd.status();
  std::unique_ptr<TlsConnection> connection(
      new TlsConnection(std::move(context), *std::move(fd), std::move(host)));
  if (absl::Status started = connection->start(); !started.ok()) return started;
  return connection;
}

TlsConnection::TlsConnection(TlsContext context, rt::Fd fd, std::string host)
    : context_(std::move(context)), host_(std::move(host)), fd_(std::move(fd)) {}

TlsConnection::~TlsConnection() {
  rt::LockGuard guard(lock_);
  // Without this OpenSSL takes the session for broken, and it could not be taken up again.
  if (ssl_ && established_ && failure_.ok()) {
    ::SSL_set_shutdown(ssl_.get(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  }
}

absl::Status TlsConnection::start() {
  ZS_ASSERT(&fd_.sockets() == &rt::kernel_sockets(),
            "TLS on a SimHost: OpenSSL reads real sockets only; simulate the plain stream");
  rt::LockGuard guard(lock_);
  ssl_.reset(::SSL_new(context_.state_->get()));
  BIO* bio = ssl_ ? ::BIO_new(bio_method()) : nullptr;
  if (!bio) return absl::ResourceExhaustedError(absl::StrCat(peer(), ": ", openssl_text()));
  ::BIO_set_data(bio, this);
  ::BIO_set_init(bio, 1);
  ::SSL_set_bio(ssl_.get(), bio, bio);
  SSL_set_app_data(ssl_.get(), this);
  if (!is_client(context_)) {
    ::SSL_set_accept_state(ssl_.get());
    return absl::OkStatus();
  }
  ::SSL_set_connect_state(ssl_.get());
  return start_client();
}

absl::Status TlsConnection::start_client() {
  lock_.assert_held();
  SSL* ssl = ssl_.get();
  const bool verifies = context_.state_->verifies();
  if (host_.empty() && !verifies) return absl::OkStatus();
  const bool is_address = IpAddress::parse(host_).ok();
  X509_VERIFY_PARAM* wanted = ::SSL_get0_param(ssl);
  ::X509_VERIFY_PARAM_set_hostflags(wanted, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  // An address is never sent as the name (RFC 6066).
  const bool named = is_address || ::SSL_set_tlsext_host_name(ssl, host_.c_str()) == 1;
  const bool set =
      !verifies ||
      (is_address ? ::X509_VERIFY_PARAM_set1_ip_asc(wanted, host_.c_str()) == 1
                  : ::X509_VERIFY_PARAM_set1_host(wanted, host_.data(), host_.size()) == 1);
  if (!named || !set) {
    return absl::InvalidArgumentError(
        absl::StrCat(peer(), ": this is no host name (", openssl_text(), ")"));
  }
  if (!context_.state_->resumes()) return absl::OkStatus();
  if (const Session session = context_.state_->sessions().take(host_)) {
    (void)::SSL_set_session(ssl, session.get());
  }
  return absl::OkStatus();
}

std::string TlsConnection::peer() const {
  if (!is_client(context_)) return "tls to a client";
  return absl::StrCat("tls to \"", host_, "\"");
}

TlsConnection& TlsConnection::of(SSL* ssl) {
  return *static_cast<TlsConnection*>(SSL_get_app_data(ssl));
}

bool TlsConnection::is_client(const TlsContext& context) {
  return context.state_->side() == TlsContextState::Side::client;
}

bool TlsConnection::verifies(const TlsContext& context) { return context.state_->verifies(); }

bool TlsConnection::keep_session(SSL_SESSION* session) {
  if (host_.empty()) return false;
  context_.state_->sessions().put(host_, Session(session));
  return true;
}

void TlsConnection::note_complaint(X509_STORE_CTX* verified) {
  lock_.assert_held();
  if (complaint_.empty()) complaint_ = certificate_complaint(verified, host_);
}

// -- between OpenSSL and the socket; under lock_, in a call of OpenSSL

BIO_METHOD* TlsConnection::bio_method() {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* made =
        ::BIO_meth_new(::BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "a socket of zsync");
    ZS_ASSERT(made, "out of memory");
    ::BIO_meth_set_read(made, &TlsConnection::bio_read);
    ::BIO_meth_set_write(made, &TlsConnection::bio_write);
    ::BIO_meth_set_ctrl(made, &TlsConnection::bio_control);
    return made;
  }();
  return method;
}

int TlsConnection::bio_read(BIO* bio, char* into, int size) {
  TlsConnection& self = connection_of(bio);
  self.lock_.assert_held();
  ::BIO_clear_retry_flags(bio);
  ssize_t count;
  do {
    count = ::recv(self.get(), into, static_cast<size_t>(size), MSG_DONTWAIT);
  } while (count < 0 && errno == EINTR);
  if (count > 0) return static_cast<int>(count);
  if (count == 0) {
    self.ended_ = true;
  } else if (errno == EAGAIN) {
    ::BIO_set_retry_read(bio);
  } else {
    self.read_error_ = errno;
  }
  return count == 0 ? 0 : -1;
}

int TlsConnection::bio_write(BIO* bio, const char* from, int size) {
  TlsConnection& self = connection_of(bio);
  self.lock_.assert_held();
  ::BIO_clear_retry_flags(bio);
  if (self.write_failure_.ok()) self.out_.append(from, static_cast<size_t>(size));
  return size;
}

long TlsConnection::bio_control(BIO* bio, int command, long, void*) {
  TlsConnection& self = connection_of(bio);
  self.lock_.assert_held();
  switch (command) {
    case BIO_CTRL_FLUSH:
      return 1;
    case BIO_CTRL_EOF:
      return self.ended_ ? 1 : 0;
    default:
      return 0;
  }
}

void TlsConnection::send_some() {
  while (!sent_all()) {
    const ssize_t count =
        ::send(get(), out_.data() + sent_, out_.size() - sent_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count >= 0) {
      sent_ += static_cast<size_t>(count);
    } else if (errno == EAGAIN) {
      return;
    } else if (errno != EINTR) {
      write_failure_ = rt::errno_status(kWriting, errno);
      break;
    }
  }
  out_.clear();
  sent_ = 0;
  if (out_.capacity() > kKeptBytes) out_.shrink_to_fit();
}

// -- one step each: a call of OpenSSL, and what it means

TlsConnection::Step TlsConnection::step_of(int result, const char* doing) {
  const int error = ::SSL_get_error(ssl_.get(), result);
  send_some();  // the alert, too, that tells the peer why
  switch (error) {
    case SSL_ERROR_NONE:
    case SSL_ERROR_ZERO_RETURN:
      return Step::kDone;
    case SSL_ERROR_WANT_READ:
      return sent_all() ? Step::kWaitReadable : Step::kWaitEither;
    default:
      break;
  }
  if (read_error_ != 0) {
    failure_ = rt::errno_status(doing, read_error_);
    ::ERR_clear_error();
  } else if (established_) {
    failure_ = stream_status(doing);
  } else {
    failure_ = handshake_status(peer(), complaint_);
  }
  return Step::kFailed;
}

TlsConnection::Step TlsConnection::handshake_step() {
  rt::LockGuard guard(lock_);
  ::ERR_clear_error();
  const Step step = step_of(::SSL_do_handshake(ssl_.get()), "handshake");
  if (step == Step::kDone) note_result();
  return step;
}

void TlsConnection::note_result() {
  const SSL* ssl = ssl_.get();
  established_ = true;
  version_ = ::SSL_get_version(ssl);
  cipher_ = ::SSL_get_cipher_name(ssl);
  resumed_ = ::SSL_session_reused(ssl) == 1;
  const unsigned char* protocol = nullptr;
  unsigned int length = 0;
  ::SSL_get0_alpn_selected(ssl, &protocol, &length);
  if (protocol) alpn_.assign(reinterpret_cast<const char*>(protocol), length);
}

TlsConnection::Step TlsConnection::read_step(std::span<std::byte> into, size_t& count) {
  rt::LockGuard guard(lock_);
  if (!failure_.ok()) return Step::kFailed;
  int result = 1;
  // Whole records that came with the first one are worth no other call.
  while (count < into.size() && result == 1 && (count == 0 || ::SSL_has_pending(ssl_.get()))) {
    ::ERR_clear_error();
    size_t read = 0;
    result = ::SSL_read_ex(ssl_.get(), into.data() + count, into.size() - count, &read);
    if (result == 1) count += read;
  }
  const Step step = step_of(result, kReading);
  return count > 0 ? Step::kDone : step;
}

TlsConnection::Step TlsConnection::write_step(std::span<const std::byte>& from) {
  rt::LockGuard guard(lock_);
  if (!failure_.ok()) return Step::kFailed;
  send_some();
  if (sent_all() && !from.empty() && write_failure_.ok()) {
    ::ERR_clear_error();
    const std::span<const std::byte> piece = from.first(std::min(from.size(), kWriteBytes));
    size_t written = 0;
    const int result = ::SSL_write_ex(ssl_.get(), piece.data(), piece.size(), &written);
    if (result != 1) {
      if (::SSL_get_shutdown(ssl_.get()) & SSL_SENT_SHUTDOWN) {
        write_failure_ = stream_status(kWriting);
        return Step::kFailed;
      }
      return step_of(result, kWriting);
    }
    from = from.subspan(written);
    send_some();
  }
  if (!write_failure_.ok()) return Step::kFailed;
  return sent_all() ? Step::kDone : Step::kWaitWritable;
}

TlsConnection::Step TlsConnection::shutdown_step() {
  rt::LockGuard guard(lock_);
  if (!failure_.ok()) return Step::kFailed;
  if (!(::SSL_get_shutdown(ssl_.get()) & SSL_SENT_SHUTDOWN)) {
    ::ERR_clear_error();
    if (const int result = ::SSL_shutdown(ssl_.get()); result < 0) {
      return step_of(result, "shutting down");
    }
  }
  send_some();
  if (!write_failure_.ok()) return Step::kFailed;
  return sent_all() ? Step::kDone : Step::kWaitWritable;
}

absl::Status TlsConnection::failure() {
  rt::LockGuard guard(lock_);
  return failure_.ok() ? write_failure_ : failure_;
}

// -- tasks

Task<absl::Status> TlsConnection::wait(Step step) {
  switch (step) {
    case Step::kWaitReadable:
      return fd_.readable();
    case Step::kWaitWritable:
      return fd_.writable();
    default:
      return [](rt::Fd& fd) -> Task<absl::Status> {
        co_return (co_await race(fd.readable(), fd.writable())).value;
      }(fd_);
  }
}

Task<absl::Status> TlsConnection::shake_hands() {
  while (true) {
    const Step step = handshake_step();
    if (step == Step::kFailed) co_return failure();
    if (step == Step::kDone) break;
    if (absl::Status ready = co_await wait(step); !ready.ok()) co_return ready;
  }
  // A server's tickets may stay behind in a peer that is gone: reading tells what it has said.
  std::span<const std::byte> nothing;
  while (write_step(nothing) == Step::kWaitWritable) {
    if (absl::Status ready = co_await fd_.writable(); !ready.ok()) co_return ready;
  }
  co_return absl::OkStatus();
}

Task<absl::Status> TlsConnection::handshake() {
  const std::chrono::milliseconds limit = context_.state_->handshake_timeout();
  absl::Status status = co_await timeout(shake_hands(), limit);
  if (absl::IsDeadlineExceeded(status) && status.message().empty()) {
    status = absl::DeadlineExceededError(
        absl::StrCat(peer(), ": the handshake has not ended within ", limit.count(),
                     " ms; does the peer speak TLS here? else raise handshake_timeout"));
  }
  co_return status;
}

Task<absl::StatusOr<size_t>> TlsConnection::read_some(std::span<std::byte> into) {
  if (absl::Status turn = co_await rt::CheckpointOperation(); !turn.ok()) co_return turn;
  while (!into.empty()) {
    size_t count = 0;
    const Step step = read_step(into, count);
    if (step == Step::kDone) co_return count;
    if (step == Step::kFailed) co_return failure();
    if (absl::Status ready = co_await wait(step); !ready.ok()) co_return ready;
  }
  co_return size_t{0};
}

Task<absl::Status> TlsConnection::write_all(std::span<const std::byte> from) {
  while (true) {
    // Between pieces, too: a peer that keeps up would otherwise hold this worker to the end.
    if (absl::Status turn = co_await rt::CheckpointOperation(); !turn.ok()) co_return turn;
    const Step step = write_step(from);
    if (step == Step::kFailed) co_return failure();
    if (step == Step::kDone) {
      if (from.empty()) co_return absl::OkStatus();
    } else if (absl::Status ready = co_await wait(step); !ready.ok()) {
      co_return ready;
    }
  }
}

Task<absl::Status> TlsConnection::shutdown() {
  if (absl::Status turn = co_await rt::CheckpointOperation(); !turn.ok()) co_return turn;
  while (true) {
    const Step step = shutdown_step();
    if (step == Step::kDone) co_return absl::OkStatus();
    if (step == Step::kFailed) co_return failure();
    if (absl::Status ready = co_await wait(step); !ready.ok()) co_return ready;
  }
}

std::optional<TlsCertificate> TlsConnection::peer_certificate() const {
  rt::LockGuard guard(lock_);
  X509* const certificate = ::SSL_get0_peer_certificate(ssl_.get());
  if (!certificate) return std::nullopt;
  TlsCertificate described = describe(certificate);
  ::ERR_clear_error();
  return described;
}

}  // namespace zsync::net
