// What OpenSSL complains of, in our words: what is wrong with which certificate, and the cure.
#pragma once

#include <openssl/ssl.h>

#include <string>

#include "absl/status/status.h"
#include "zsync/tls.hpp"

namespace zsync::net {

// Frees what OpenSSL gives; for std::unique_ptr.
template <auto kFree>
struct OpenSslFree {
  template <typename T>
  void operator()(T* pointer) const {
    kFree(pointer);
  }
};

// The oldest error of this thread's queue, in OpenSSL's words; empties the queue.
std::string openssl_text();

// What is wrong with a certificate of the peer, which is to be for `host`, and the cure. Called
// while OpenSSL verifies.
std::string certificate_complaint(X509_STORE_CTX* verified, const std::string& host);

// Why a handshake with `peer` ("tls to \"a.test\"") has failed, from the thread's queue, which is
// emptied; `complaint` is what was found wrong with the peer's certificate, if anything.
absl::Status handshake_status(const std::string& peer, const std::string& complaint);
// Why an established stream has failed.
absl::Status stream_status(const char* doing);

// Errors: never; what cannot be read is left out.
TlsCertificate describe(X509* certificate);

}  // namespace zsync::net
