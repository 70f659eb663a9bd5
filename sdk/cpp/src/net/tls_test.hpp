// Certificates of a test's own, made in memory, and what the tests of TLS share.
#pragma once

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include "net/net_test.hpp"
#include "net/tls_error.hpp"
#include "zsync/tls.hpp"
#include "zsync/unix_socket.hpp"

namespace zsync {

using X509Owner = std::unique_ptr<X509, net::OpenSslFree<::X509_free>>;
using KeyOwner = std::unique_ptr<EVP_PKEY, net::OpenSslFree<::EVP_PKEY_free>>;

// What a certificate says.
struct CertificatePlan {
  std::string common_name;
  std::string names;  // "DNS:a.test,IP:127.0.0.1"; empty: an authority
  std::chrono::hours valid_from{-24};
  std::chrono::hours valid_until{24};
};

class Identity {
 public:
  // Signed by `issuer`, or by itself.
  explicit Identity(const CertificatePlan& plan, const Identity* issuer = nullptr)
      : certificate_(::X509_new()), key_(EVP_EC_gen("P-256")) {
    X509* const made = certificate_.get();
    ::X509_set_version(made, X509_VERSION_3);
    static std::atomic<long> serial{0x1000};
    ::ASN1_INTEGER_set(::X509_get_serialNumber(made), ++serial);
    using std::chrono::seconds;
    ::X509_gmtime_adj(X509_getm_notBefore(made), seconds(plan.valid_from).count());
    ::X509_gmtime_adj(X509_getm_notAfter(made), seconds(plan.valid_until).count());
    ::X509_set_pubkey(made, key_.get());
    ::X509_NAME_add_entry_by_txt(::X509_get_subject_name(made), "CN", MBSTRING_UTF8,
                                 reinterpret_cast<const unsigned char*>(plan.common_name.c_str()),
                                 -1, -1, 0);
    ::X509_set_issuer_name(made,
                           ::X509_get_subject_name(issuer ? issuer->certificate_.get() : made));
    if (plan.names.empty()) {
      add(NID_basic_constraints, "critical,CA:TRUE");
    } else {
      add(NID_subject_alt_name, plan.names);
    }
    ::X509_sign(made, issuer ? issuer->key_.get() : key_.get(), ::EVP_sha256());
  }

  std::string certificate_text() const {
    return text([this](BIO* out) { ::PEM_write_bio_X509(out, certificate_.get()); });
  }
  std::string key_text(const char* passphrase = nullptr) const {
    return text([this, passphrase](BIO* out) {
      ::PEM_write_bio_PKCS8PrivateKey(out, key_.get(), passphrase ? ::EVP_aes_128_cbc() : nullptr,
                                      nullptr, 0, nullptr, const_cast<char*>(passphrase));
    });
  }
  Pem certificate() const { return Pem::text(certificate_text()); }
  Pem key() const { return Pem::text(key_text()); }
  X509* x509() const { return certificate_.get(); }
  EVP_PKEY* private_key() const { return key_.get(); }

 private:
  void add(int nid, const std::string& value) {
    X509_EXTENSION* extension = ::X509V3_EXT_conf_nid(nullptr, nullptr, nid, value.c_str());
    EXPECT_NE(extension, nullptr) << value;
    ::X509_add_ext(certificate_.get(), extension, -1);
    ::X509_EXTENSION_free(extension);
  }
  template <typename Write>
  static std::string text(Write write) {
    const std::unique_ptr<BIO, net::OpenSslFree<::BIO_free>> out(::BIO_new(::BIO_s_mem()));
    write(out.get());
    char* bytes = nullptr;
    const long count = BIO_get_mem_data(out.get(), &bytes);
    return {bytes, static_cast<size_t>(count)};
  }

  X509Owner certificate_;
  KeyOwner key_;
};

// An authority and a server of its own: "a.test", 127.0.0.1.
struct House {
  Identity root{{.common_name = "Test Root"}};
  Identity server{{.common_name = "a.test", .names = "DNS:a.test,DNS:*.b.test,IP:127.0.0.1"},
                  &root};

  TlsServerOptions server_options() const {
    return {.certificate = server.certificate(), .key = server.key()};
  }
  TlsClientOptions client_options() const { return {.roots = root.certificate()}; }
  TlsContext server_context() const { return *TlsContext::server(server_options()); }
  TlsContext client_context() const { return *TlsContext::client(client_options()); }
};

// The two ends of a connection, before and after the handshake.
struct BothEnds {
  absl::StatusOr<TlsStream> server;
  absl::StatusOr<TlsStream> client;
};

inline Task<BothEnds> handshake(TlsContext server, TlsContext client, std::string host) {
  auto sockets = UnixStream::pair();
  auto [accepted, connected] =
      co_await all(TlsStream::accept(server, std::move(sockets->first)),
                   TlsStream::connect(client, std::move(sockets->second), std::move(host)));
  co_return BothEnds{std::move(accepted), std::move(connected)};
}

inline Task<std::string> read_text(TlsStream& stream, size_t bytes) {
  std::string text(bytes, '\0');
  const absl::Status read = co_await stream.read_exact(std::as_writable_bytes(std::span(text)));
  EXPECT_TRUE(read.ok()) << read;
  co_return text;
}

}  // namespace zsync
