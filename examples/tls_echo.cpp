// TLS: a server that echoes, and a client that knows who it talks to. The certificate is made at
// the start, for this run; a real server has one in a file: zsync::Pem::file("server.pem").
//
// Prints:
//   client: TLSv1.3, protocol echo/1, to CN=localhost
//   echoed: hello
//   second visit resumed: 1
//   for another name: UNAUTHENTICATED
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <string>
#include <vector>

#include "zsync/zsync.hpp"

struct Identity {
  zsync::Pem certificate, key;
};

template <typename Write>
zsync::Pem pem_of(Write write) {
  BIO* out = BIO_new(BIO_s_mem());
  write(out);
  char* bytes = nullptr;
  const long count = BIO_get_mem_data(out, &bytes);
  std::string text(bytes, static_cast<size_t>(count));
  BIO_free(out);
  return zsync::Pem::text(text);
}

// For localhost, valid for an hour, signed by itself.
Identity make_identity() {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* certificate = X509_new();
  X509_set_version(certificate, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
  X509_set_pubkey(certificate, key);
  X509_NAME* name = X509_get_subject_name(certificate);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>("localhost"), -1, -1, 0);
  X509_set_issuer_name(certificate, name);
  X509_EXTENSION* names =
      X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, "DNS:localhost");
  X509_add_ext(certificate, names, -1);
  X509_EXTENSION_free(names);
  X509_sign(certificate, key, EVP_sha256());
  Identity identity{.certificate = pem_of([&](BIO* out) { PEM_write_bio_X509(out, certificate); }),
                    .key = pem_of([&](BIO* out) {
                      PEM_write_bio_PrivateKey(out, key, nullptr, nullptr, 0, nullptr, nullptr);
                    })};
  X509_free(certificate);
  EVP_PKEY_free(key);
  return identity;
}

// Sends back what comes until the client has said all.
zsync::Task<void> echo(zsync::TlsContext context, zsync::TcpStream tcp) {
  auto client = co_await zsync::TlsStream::accept(context, std::move(tcp));
  if (!client.ok()) co_return;
  std::vector<std::byte> buffer(4096);
  while (true) {
    absl::StatusOr<size_t> count = co_await client->read_some(buffer);
    if (!count.ok() || *count == 0) break;
    const auto received = std::span<const std::byte>(buffer).first(*count);
    if (!(co_await client->write_all(received)).ok()) co_return;
  }
  (void)co_await client->shutdown();
}

zsync::Task<void> serve(zsync::TlsContext context, zsync::TcpListener listener, int connections) {
  zsync::Executor clients;
  for (int i = 0; i < connections; ++i) {
    absl::StatusOr<zsync::TcpStream> client = co_await listener.accept();
    if (client.ok()) clients.spawn(echo, context, *std::move(client));
  }
  co_await clients.join_all();
}

zsync::Task<absl::StatusOr<zsync::TlsStream>> visit(zsync::TlsContext context,
                                                    zsync::SocketAddress address,
                                                    std::string host) {
  absl::StatusOr<zsync::TcpStream> tcp = co_await zsync::TcpStream::connect(address);
  if (!tcp.ok()) co_return tcp.status();
  co_return co_await zsync::TlsStream::connect(context, *std::move(tcp), host);
}

// Says something and hears it again; the ticket for the next visit comes with it.
zsync::Task<std::string> ask(zsync::TlsStream& server, std::string text) {
  absl::Status status = co_await server.write_all(std::string_view(text));
  if (status.ok()) status = co_await server.read_exact(std::as_writable_bytes(std::span(text)));
  if (status.ok()) status = co_await server.shutdown();
  co_return status.ok() ? text : std::string(status.message());
}

zsync::Task<void> main_task() {
  const Identity identity = make_identity();
  auto server = zsync::TlsContext::server(
      {.certificate = identity.certificate, .key = identity.key, .alpn = {"echo/1"}});
  auto client = zsync::TlsContext::client({.roots = identity.certificate, .alpn = {"echo/1"}});
  auto listener = zsync::TcpListener::bind({zsync::IpAddress::loopback_v4(), 0});
  if (!server.ok() || !client.ok() || !listener.ok()) co_return;
  const zsync::SocketAddress address = *listener->local_address();
  zsync::TaskHandle<> serving = zsync::spawn(serve, *server, *std::move(listener), 3);

  auto first = co_await visit(*client, address, "localhost");
  if (!first.ok()) {
    std::printf("%s\n", first.status().ToString().c_str());
    co_return;
  }
  std::printf("client: %s, protocol %s, to %s\n", first->version().c_str(), first->alpn().c_str(),
              first->peer_certificate()->subject.c_str());
  std::printf("echoed: %s\n", (co_await ask(*first, "hello")).c_str());
  auto second = co_await visit(*client, address, "localhost");
  if (!second.ok()) co_return;
  std::printf("second visit resumed: %d\n", second->resumed());
  (void)co_await ask(*second, "again");
  auto other = co_await visit(*client, address, "elsewhere");
  std::printf("for another name: %s\n", absl::StatusCodeToString(other.status().code()).c_str());
  co_await serving;
}

int main() { zsync::run(main_task()); }
