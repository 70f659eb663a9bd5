// What a TlsContext holds: OpenSSL's context and, for a client, the sessions to take up again.
#pragma once

#include <openssl/ssl.h>

#include <chrono>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "net/tls_error.hpp"
#include "zsync/rt/lock.hpp"
#include "zsync/tls.hpp"

namespace zsync::net {

using Session = std::unique_ptr<SSL_SESSION, OpenSslFree<::SSL_SESSION_free>>;

// Sessions by host, the newest last. One of TLS 1.3 is used once (RFC 8446, C.4), so there are
// several.
// Threads: any.
class SessionCache {
 public:
  static constexpr size_t kPerHost = 4;

  void put(const std::string& host, Session session);
  // The newest that may still be taken up; nullptr: there is none.
  Session take(const std::string& host);

 private:
  rt::Lock lock_;
  std::map<std::string, std::deque<Session>> by_host_ ABSL_GUARDED_BY(lock_);
  std::list<std::string> oldest_first_ ABSL_GUARDED_BY(lock_);  // the hosts
};

// Threads: any; nothing but the sessions changes once it is made.
class TlsContextState {
 public:
  enum class Side { client, server };

  TlsContextState(Side side, std::chrono::milliseconds timeout);

  absl::Status configure(const TlsClientOptions& options);
  absl::Status configure(const TlsServerOptions& options);

  SSL_CTX* get() const { return context_.get(); }
  Side side() const { return side_; }
  bool verifies() const { return verifies_; }
  bool resumes() const { return resumes_; }
  std::chrono::milliseconds handshake_timeout() const { return handshake_timeout_; }
  SessionCache& sessions() { return sessions_; }

 private:
  absl::Status configure_both(TlsVersion oldest, bool resume);
  absl::Status set_alpn(const std::vector<std::string>& protocols);
  absl::Status set_identity(const Pem& certificate, const Pem& key);
  absl::Status trust(const Pem& roots);
  static int choose_protocol(SSL* ssl, const unsigned char** chosen, unsigned char* length,
                             const unsigned char* offered, unsigned int offered_length, void* self);

  const Side side_;
  const std::chrono::milliseconds handshake_timeout_;
  std::unique_ptr<SSL_CTX, OpenSslFree<::SSL_CTX_free>> context_;
  std::string alpn_;  // the protocols in the form of the wire
  bool verifies_ = false;
  bool resumes_ = false;
  SessionCache sessions_;
};

}  // namespace zsync::net
