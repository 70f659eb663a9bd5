#include "net/tls_context.hpp"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

#include "absl/strings/str_cat.h"
#include "net/tls_connection.hpp"
#include "zsync/rt/fd.hpp"

namespace zsync::net {
namespace {

constexpr char kMaking[] = "making a TLS context: ";

using Bio = std::unique_ptr<BIO, OpenSslFree<::BIO_free>>;
using Certificate = std::unique_ptr<X509, OpenSslFree<::X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, OpenSslFree<::EVP_PKEY_free>>;

absl::Status refused(const auto&... words) {
  return absl::InvalidArgumentError(absl::StrCat(kMaking, words...));
}

absl::StatusOr<std::string> read_file(const std::string& path) {
  const std::string doing = absl::StrCat(kMaking, "reading \"", path, "\"");
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return rt::errno_status(doing, errno);
  std::string text;
  char buffer[16384];
  while (true) {
    const ssize_t count = ::read(file.get(), buffer, sizeof buffer);
    if (count == 0) return text;
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return rt::errno_status(doing, errno);
    text.append(buffer, static_cast<size_t>(count));
    if (text.size() > kTlsPemBytesMax) {
      return refused("\"", path, "\" has more than ", kTlsPemBytesMax, " bytes; is it PEM?");
    }
  }
}

absl::StatusOr<std::string> read(const Pem& pem) {
  if (!pem.is_file()) return pem.value();
  return read_file(pem.value());
}

Bio bio_of(const std::string& text) {
  return Bio(::BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

std::string place_of(const Pem& pem) {
  return pem.is_file() ? absl::StrCat(" in \"", pem.value(), "\"") : "";
}

// OpenSSL would ask the terminal.
int no_passphrase(char*, int, int, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

// Every certificate of a PEM text, at least one.
absl::StatusOr<std::vector<Certificate>> certificates_of(const Pem& pem, const char* what) {
  const absl::StatusOr<std::string> text = read(pem);
  if (!text.ok()) return text.status();
  const Bio bio = bio_of(*text);
  std::vector<Certificate> certificates;
  bool asked = false;
  while (Certificate next{::PEM_read_bio_X509_AUX(bio.get(), nullptr, no_passphrase, &asked)}) {
    certificates.push_back(std::move(next));
  }
  const bool at_end = ERR_GET_REASON(::ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  const std::string reason = openssl_text();
  if (certificates.empty() || !at_end) {
    return refused(what, ": no certificate can be read", place_of(pem), " (", reason,
                   "); it is PEM, -----BEGIN CERTIFICATE-----");
  }
  return certificates;
}

std::string protocols_on_the_wire(const std::vector<std::string>& protocols) {
  std::string wire;
  for (const std::string& protocol : protocols) {
    wire += static_cast<char>(protocol.size());
    wire += protocol;
  }
  return wire;
}

// A client's: called while TlsConnection is in OpenSSL. -> 1: the session was taken over.
int on_new_session(SSL* ssl, SSL_SESSION* session) {
  return TlsConnection::of(ssl).keep_session(session) ? 1 : 0;
}

bool may_be_taken_up(const SSL_SESSION* session) {
  const long age = static_cast<long>(std::time(nullptr)) - ::SSL_SESSION_get_time(session);
  return ::SSL_SESSION_is_resumable(session) && age >= 0 &&
         age < ::SSL_SESSION_get_timeout(session);
}

int on_verified(int ok, X509_STORE_CTX* verified) {
  void* const ssl = ::X509_STORE_CTX_get_ex_data(verified, ::SSL_get_ex_data_X509_STORE_CTX_idx());
  if (!ok) TlsConnection::of(static_cast<SSL*>(ssl)).note_complaint(verified);
  return ok;
}

}  // namespace

void SessionCache::put(const std::string& host, Session session) {
  rt::LockGuard guard(lock_);
  const auto [found, added] = by_host_.try_emplace(host);
  if (added) oldest_first_.push_back(host);
  found->second.push_back(std::move(session));
  if (found->second.size() > kPerHost) found->second.pop_front();
  if (by_host_.size() > kTlsSessionsMax) {
    by_host_.erase(oldest_first_.front());
    oldest_first_.pop_front();
  }
}

Session SessionCache::take(const std::string& host) {
  rt::LockGuard guard(lock_);
  const auto found = by_host_.find(host);
  if (found == by_host_.end()) return nullptr;
  while (!found->second.empty()) {
    Session session = std::move(found->second.back());
    found->second.pop_back();
    if (!may_be_taken_up(session.get())) continue;
    // A ticket of TLS 1.2 is good for many times, and a server need not give another one.
    if (::SSL_SESSION_get_protocol_version(session.get()) < TLS1_3_VERSION) {
      ::SSL_SESSION_up_ref(session.get());
      found->second.emplace_back(session.get());
    }
    return session;
  }
  return nullptr;
}

TlsContextState::TlsContextState(Side side, std::chrono::milliseconds timeout)
    : side_(side), handshake_timeout_(timeout) {}

absl::Status TlsContextState::configure_both(TlsVersion oldest, bool resume) {
  if (handshake_timeout_.count() <= 0) return refused("handshake_timeout is above 0 ms");
  const bool client = side_ == Side::client;
  context_.reset(::SSL_CTX_new(client ? ::TLS_client_method() : ::TLS_server_method()));
  if (!context_) return absl::ResourceExhaustedError(absl::StrCat(kMaking, openssl_text()));
  SSL_CTX* context = context_.get();
  ::SSL_CTX_set_min_proto_version(context,
                                  oldest == TlsVersion::v1_3 ? TLS1_3_VERSION : TLS1_2_VERSION);
  ::SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  ::SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  ::SSL_CTX_set_read_ahead(context, 1);
  ::SSL_CTX_set_default_read_buffer_len(context, TlsConnection::kReadBytes);
  resumes_ = resume;
  if (!resume) {
    ::SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    ::SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
    ::SSL_CTX_set_num_tickets(context, 0);
  } else if (client) {
    ::SSL_CTX_set_session_cache_mode(context,
                                     SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
    ::SSL_CTX_sess_set_new_cb(context, on_new_session);
  } else {
    // Of this context only; OpenSSL refuses to resume without a name where clients are verified.
    static constexpr unsigned char kName[] = "zsync";
    ::SSL_CTX_set_session_id_context(context, kName, sizeof kName);
  }
  return absl::OkStatus();
}

absl::Status TlsContextState::configure(const TlsClientOptions& options) {
  if (absl::Status both = configure_both(options.min_version, options.resume); !both.ok()) {
    return both;
  }
  if (absl::Status named = set_alpn(options.alpn); !named.ok()) return named;
  verifies_ = options.verify;
  ::SSL_CTX_set_verify(get(), options.verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE,
                       options.verify ? on_verified : nullptr);
  if (!options.roots.empty()) {
    if (absl::Status trusted = trust(options.roots); !trusted.ok()) return trusted;
  } else if (options.verify && ::SSL_CTX_set_default_verify_paths(get()) != 1) {
    return absl::NotFoundError(absl::StrCat(kMaking, "the system's roots cannot be read (",
                                            openssl_text(), "); install ca-certificates"));
  }
  ::ERR_clear_error();
  if (options.certificate.empty() && options.key.empty()) return absl::OkStatus();
  return set_identity(options.certificate, options.key);
}

absl::Status TlsContextState::configure(const TlsServerOptions& options) {
  if (absl::Status both = configure_both(options.min_version, options.resume); !both.ok()) {
    return both;
  }
  if (absl::Status named = set_alpn(options.alpn); !named.ok()) return named;
  if (!options.client_roots.empty()) {
    verifies_ = true;
    if (absl::Status trusted = trust(options.client_roots); !trusted.ok()) return trusted;
    ::SSL_CTX_set_verify(get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, on_verified);
  }
  return set_identity(options.certificate, options.key);
}

absl::Status TlsContextState::set_alpn(const std::vector<std::string>& protocols) {
  for (const std::string& protocol : protocols) {
    if (protocol.empty() || protocol.size() > kTlsProtocolBytesMax) {
      return refused("alpn: a protocol's name has 1 to ", kTlsProtocolBytesMax, " bytes, not ",
                     protocol.size());
    }
  }
  alpn_ = protocols_on_the_wire(protocols);
  if (alpn_.empty()) return absl::OkStatus();
  if (side_ == Side::server) {
    ::SSL_CTX_set_alpn_select_cb(get(), &TlsContextState::choose_protocol, this);
    return absl::OkStatus();
  }
  const int failed =
      ::SSL_CTX_set_alpn_protos(get(), reinterpret_cast<const unsigned char*>(alpn_.data()),
                                static_cast<unsigned int>(alpn_.size()));
  return failed ? refused("alpn: ", openssl_text()) : absl::OkStatus();
}

int TlsContextState::choose_protocol(SSL*, const unsigned char** chosen, unsigned char* length,
                                     const unsigned char* offered, unsigned int offered_length,
                                     void* self) {
  const std::string& ours = static_cast<TlsContextState*>(self)->alpn_;
  unsigned char* common = nullptr;
  const int found =
      ::SSL_select_next_proto(&common, length, reinterpret_cast<const unsigned char*>(ours.data()),
                              static_cast<unsigned int>(ours.size()), offered, offered_length);
  *chosen = common;
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

absl::Status TlsContextState::set_identity(const Pem& certificate, const Pem& key) {
  if (certificate.empty() || key.empty()) {
    return refused("a ", certificate.empty() ? "certificate" : "key",
                   " is missing; both are needed");
  }
  absl::StatusOr<std::vector<Certificate>> chain = certificates_of(certificate, "certificate");
  if (!chain.ok()) return chain.status();
  const absl::StatusOr<std::string> text = read(key);
  if (!text.ok()) return text.status();
  bool asked = false;
  const Key loaded(::PEM_read_bio_PrivateKey(bio_of(*text).get(), nullptr, no_passphrase, &asked));
  if (!loaded) {
    const std::string reason = openssl_text();
    if (asked) {
      return refused("the key", place_of(key),
                     " has a passphrase; take it off (openssl pkey -in KEY -out PLAIN)");
    }
    return refused("no key can be read", place_of(key), " (", reason,
                   "); it is PEM, -----BEGIN PRIVATE KEY-----");
  }
  if (::SSL_CTX_use_certificate(get(), chain->front().get()) != 1) {
    return refused("the certificate", place_of(certificate), " cannot be used: ", openssl_text());
  }
  for (size_t i = 1; i < chain->size(); ++i) {
    if (::SSL_CTX_add1_chain_cert(get(), (*chain)[i].get()) != 1) {
      return refused("the chain", place_of(certificate), " cannot be used: ", openssl_text());
    }
  }
  if (::SSL_CTX_use_PrivateKey(get(), loaded.get()) != 1 ||
      ::SSL_CTX_check_private_key(get()) != 1) {
    return refused("the key", place_of(key), " does not belong to the certificate",
                   place_of(certificate), " (", openssl_text(), ")");
  }
  return absl::OkStatus();
}

absl::Status TlsContextState::trust(const Pem& roots) {
  absl::StatusOr<std::vector<Certificate>> all = certificates_of(roots, "roots");
  if (!all.ok()) return all.status();
  X509_STORE* store = ::SSL_CTX_get_cert_store(get());
  for (const Certificate& root : *all) {
    if (::X509_STORE_add_cert(store, root.get()) != 1) return refused("roots: ", openssl_text());
    if (side_ == Side::server) (void)::SSL_CTX_add_client_CA(get(), root.get());
  }
  return absl::OkStatus();
}

}  // namespace zsync::net

namespace zsync {

absl::StatusOr<TlsContext> TlsContext::client(TlsClientOptions options) {
  auto state = std::make_shared<net::TlsContextState>(net::TlsContextState::Side::client,
                                                      options.handshake_timeout);
  if (absl::Status status = state->configure(options); !status.ok()) return status;
  return TlsContext(std::move(state));
}

absl::StatusOr<TlsContext> TlsContext::server(TlsServerOptions options) {
  auto state = std::make_shared<net::TlsContextState>(net::TlsContextState::Side::server,
                                                      options.handshake_timeout);
  if (absl::Status status = state->configure(options); !status.ok()) return status;
  return TlsContext(std::move(state));
}

}  // namespace zsync
