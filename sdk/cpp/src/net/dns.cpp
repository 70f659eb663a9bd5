#include "zsync/dns.hpp"

#include <arpa/nameser.h>
#include <netdb.h>

#include <algorithm>
#include <memory>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "net/dns_channel.hpp"
#include "net/dns_hosts.hpp"
#include "net/raw_address.hpp"

namespace zsync {
namespace {

constexpr char kNoKernel[] = "DNS outside a task of a real runtime: a simulation has no kernel";

struct FreeData {
  template <typename T>
  void operator()(T* data) const {
    ::ares_free_data(data);
  }
};
template <typename T>
using AresData = std::unique_ptr<T, FreeData>;

// What c-ares answered. Lifetime: outlives the channel.
struct Answer {
  bool done = false;
  int code = ARES_SUCCESS;
  std::string packet;
  std::vector<IpAddress> addresses;

  static void on_packet(void* self, int code, int /*timeouts*/, unsigned char* bytes, int count) {
    auto& answer = *static_cast<Answer*>(self);
    answer.done = true;
    answer.code = code;
    if (bytes && count > 0) {
      answer.packet.assign(reinterpret_cast<const char*>(bytes), static_cast<size_t>(count));
    }
  }

  static void on_addresses(void* self, int code, int /*timeouts*/, ares_addrinfo* found) {
    auto& answer = *static_cast<Answer*>(self);
    answer.done = true;
    answer.code = code;
    for (const ares_addrinfo_node* node = found ? found->nodes : nullptr; node;
         node = node->ai_next) {
      net::RawAddress raw;
      if (node->ai_addrlen > sizeof raw) continue;
      std::copy_n(reinterpret_cast<const char*>(node->ai_addr), node->ai_addrlen,
                  reinterpret_cast<char*>(&raw));
      answer.addresses.push_back(raw.value().ip);
    }
    if (found) ::ares_freeaddrinfo(found);
  }
};

absl::StatusOr<std::vector<IpAddress>> addresses_or_none(const net::DnsChannel& channel,
                                                         Answer& answer, const std::string& host) {
  if (answer.code == ARES_SUCCESS && answer.addresses.empty()) answer.code = ARES_ENODATA;
  if (answer.code != ARES_SUCCESS) return channel.status_of(answer.code, host, "address");
  return std::move(answer.addresses);
}

Task<absl::StatusOr<std::vector<IpAddress>>> ask_addresses(const ResolverOptions& options,
                                                           const std::string& host) {
  Answer answer;
  absl::StatusOr<std::unique_ptr<net::DnsChannel>> channel = net::DnsChannel::open(options);
  if (!channel.ok()) co_return channel.status();
  ares_addrinfo_hints hints{};
  hints.ai_family = AF_UNSPEC;
  ::ares_getaddrinfo((*channel)->get(), host.c_str(), nullptr, &hints, &Answer::on_addresses,
                     &answer);
  if (absl::Status driven = co_await (*channel)->drive(answer.done); !driven.ok()) {
    co_return driven;
  }
  co_return addresses_or_none(**channel, answer, host);
}

// Asks for the records of one type and reads them: `parse` gives c-ares' code.
template <typename Record>
using Parse = int (*)(const std::string& packet, std::vector<Record>& into);

template <typename Record>
Task<absl::StatusOr<std::vector<Record>>> ask(ResolverOptions options, std::string name,
                                              ns_type type, const char* what, Parse<Record> parse) {
  if (absl::Status turn = co_await rt::CheckpointOperation(); !turn.ok()) co_return turn;
  rt::require_kernel(kNoKernel);
  if (absl::Status named = net::check_host_name(name); !named.ok()) co_return named;
  Answer answer;
  absl::StatusOr<std::unique_ptr<net::DnsChannel>> channel = net::DnsChannel::open(options);
  if (!channel.ok()) co_return channel.status();
  ::ares_query((*channel)->get(), name.c_str(), ns_c_in, type, &Answer::on_packet, &answer);
  if (absl::Status driven = co_await (*channel)->drive(answer.done); !driven.ok()) {
    co_return driven;
  }
  std::vector<Record> records;
  if (answer.code == ARES_SUCCESS) answer.code = parse(answer.packet, records);
  if (answer.code == ARES_SUCCESS && records.empty()) answer.code = ARES_ENODATA;
  if (answer.code != ARES_SUCCESS) co_return (*channel)->status_of(answer.code, name, what);
  co_return records;
}

const unsigned char* bytes_of(const std::string& packet) {
  return reinterpret_cast<const unsigned char*>(packet.data());
}

int parse_txt(const std::string& packet, std::vector<std::string>& into) {
  ares_txt_ext* first = nullptr;
  const int code =
      ::ares_parse_txt_reply_ext(bytes_of(packet), static_cast<int>(packet.size()), &first);
  const AresData<ares_txt_ext> owner(first);
  for (const ares_txt_ext* piece = first; piece; piece = piece->next) {
    if (piece->record_start || into.empty()) into.emplace_back();
    into.back().append(reinterpret_cast<const char*>(piece->txt), piece->length);
  }
  return code;
}

int parse_srv(const std::string& packet, std::vector<SrvRecord>& into) {
  ares_srv_reply* first = nullptr;
  const int code =
      ::ares_parse_srv_reply(bytes_of(packet), static_cast<int>(packet.size()), &first);
  const AresData<ares_srv_reply> owner(first);
  for (const ares_srv_reply* reply = first; reply; reply = reply->next) {
    const std::string target = *reply->host ? reply->host : ".";
    into.push_back({target, reply->port, reply->priority, reply->weight});
  }
  std::sort(into.begin(), into.end(), [](const SrvRecord& a, const SrvRecord& b) {
    return std::tie(a.priority, b.weight, a.target) < std::tie(b.priority, a.weight, b.target);
  });
  return code;
}

int parse_mx(const std::string& packet, std::vector<MxRecord>& into) {
  ares_mx_reply* first = nullptr;
  const int code = ::ares_parse_mx_reply(bytes_of(packet), static_cast<int>(packet.size()), &first);
  const AresData<ares_mx_reply> owner(first);
  for (const ares_mx_reply* reply = first; reply; reply = reply->next) {
    into.push_back({reply->host, reply->priority});
  }
  std::sort(into.begin(), into.end(), [](const MxRecord& a, const MxRecord& b) {
    return std::tie(a.preference, a.exchange) < std::tie(b.preference, b.exchange);
  });
  return code;
}

int parse_ptr(const std::string& packet, std::vector<std::string>& into) {
  hostent* host = nullptr;
  const int code = ::ares_parse_ptr_reply(bytes_of(packet), static_cast<int>(packet.size()),
                                          nullptr, 0, AF_INET, &host);
  if (code != ARES_SUCCESS) return code;
  // The aliases hold every name of the answer, the official one included.
  for (char** alias = host->h_aliases; *alias; ++alias) into.emplace_back(*alias);
  if (into.empty()) into.emplace_back(host->h_name);
  ::ares_free_hostent(host);
  return code;
}

// 4.3.2.1.in-addr.arpa; each half of a byte a label in ip6.arpa.
std::string reverse_name(const IpAddress& address) {
  const IpAddress plain = address.unmapped();
  const std::span<const uint8_t> bytes = plain.bytes();
  std::string name;
  for (auto byte = bytes.rbegin(); byte != bytes.rend(); ++byte) {
    if (plain.is_v4()) {
      absl::StrAppend(&name, *byte, ".");
    } else {
      absl::StrAppend(&name, absl::Hex(*byte & 0xf), ".", absl::Hex(*byte >> 4), ".");
    }
  }
  return name + (plain.is_v4() ? "in-addr.arpa" : "ip6.arpa");
}

std::vector<SocketAddress> with_port(const std::vector<IpAddress>& addresses, uint16_t port) {
  std::vector<SocketAddress> result;
  for (const IpAddress& address : addresses) result.push_back({address, port});
  return result;
}

// What may outlive the resolver goes in by value.
Task<absl::StatusOr<std::vector<SocketAddress>>> find_addresses(ResolverOptions options,
                                                                std::string host, uint16_t port) {
  if (absl::Status turn = co_await rt::CheckpointOperation(); !turn.ok()) co_return turn;
  rt::require_kernel(kNoKernel);
  if (const absl::StatusOr<IpAddress> literal = IpAddress::parse(host); literal.ok()) {
    co_return std::vector<SocketAddress>{{*literal, port}};
  }
  if (absl::Status named = net::check_host_name(host); !named.ok()) co_return named;
  std::vector<IpAddress> known = net::hosts_file_addresses(options.hosts_file, host);
  if (known.empty() && net::is_localhost(host)) {
    known = {IpAddress::loopback_v6(), IpAddress::loopback_v4()};
  }
  if (!known.empty()) co_return with_port(known, port);
  const absl::StatusOr<std::vector<IpAddress>> found = co_await ask_addresses(options, host);
  if (!found.ok()) co_return found.status();
  co_return with_port(*found, port);
}

absl::Status check_options(const ResolverOptions& options) {
  const auto refused = [](const auto&... words) {
    return absl::InvalidArgumentError(absl::StrCat("opening a resolver: ", words...));
  };
  if (options.timeout.count() < 1 || options.timeout > kDnsTimeoutMax) {
    return refused("timeout is 1 to ", kDnsTimeoutMax.count(), " ms, not ",
                   options.timeout.count());
  }
  if (options.attempts < 1 || options.attempts > kDnsAttemptsMax) {
    return refused("attempts is 1 to ", kDnsAttemptsMax, ", not ", options.attempts);
  }
  if (options.servers.size() > kDnsServersMax) {
    return refused(options.servers.size(), " servers; name at most ", kDnsServersMax);
  }
  for (const SocketAddress& server : options.servers) {
    if (server.ip.scope() != 0) {
      return refused("server ", server.to_string(),
                     " belongs to an interface; name one by an address without %");
    }
  }
  for (const std::string& domain : options.search.value_or(std::vector<std::string>{})) {
    if (absl::Status named = net::check_host_name(domain); !named.ok()) {
      return refused("search: ", named.message());
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Resolver> Resolver::open(ResolverOptions options) {
  if (absl::Status checked = check_options(options); !checked.ok()) return checked;
  return Resolver(std::move(options));
}

Task<absl::StatusOr<std::vector<SocketAddress>>> Resolver::resolve(std::string host,
                                                                   uint16_t port) const {
  return find_addresses(options_, std::move(host), port);
}

Task<absl::StatusOr<std::vector<std::string>>> Resolver::txt(std::string name) const {
  return ask<std::string>(options_, std::move(name), ns_t_txt, "text (TXT)", parse_txt);
}

Task<absl::StatusOr<std::vector<SrvRecord>>> Resolver::srv(std::string name) const {
  return ask<SrvRecord>(options_, std::move(name), ns_t_srv, "service (SRV)", parse_srv);
}

Task<absl::StatusOr<std::vector<MxRecord>>> Resolver::mx(std::string name) const {
  return ask<MxRecord>(options_, std::move(name), ns_t_mx, "mail server (MX)", parse_mx);
}

Task<absl::StatusOr<std::vector<std::string>>> Resolver::ptr(IpAddress address) const {
  return ask<std::string>(options_, reverse_name(address), ns_t_ptr, "name (PTR)", parse_ptr);
}

Task<absl::StatusOr<std::vector<SocketAddress>>> resolve(std::string host, uint16_t port) {
  return Resolver().resolve(std::move(host), port);
}

}  // namespace zsync
