// A name server of a test's own: a thread with a UDP and a TCP port on loopback.
#pragma once

#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "net/net_test.hpp"
#include "zsync/dns.hpp"

namespace zsync {

// What the server does with a question.
struct DnsReply {
  int code = ns_r_noerror;
  std::vector<std::string> records;  // their data, in the form of the wire
  bool silent = false;               // no reply
  bool tcp_only = false;             // by UDP nothing but "truncated"
  bool garbage = false;              // a reply whose records are cut off
};

inline std::string wire16(int value) {
  return {static_cast<char>(value >> 8), static_cast<char>(value & 0xff)};
}
inline std::string wire_name(std::string_view name) {
  std::string wire;
  while (!name.empty()) {
    const std::string_view label = name.substr(0, name.find('.'));
    wire += static_cast<char>(label.size());
    wire += label;
    name.remove_prefix(std::min(name.size(), label.size() + 1));
  }
  return wire + '\0';
}
inline std::string wire_address(std::string_view text) {
  const IpAddress address = *IpAddress::parse(text);
  return {address.bytes().begin(), address.bytes().end()};
}
inline std::string wire_text(std::string_view text) {
  return static_cast<char>(text.size()) + std::string(text);
}

class DnsServer {
 public:
  using Zone = std::map<std::pair<std::string, int>, DnsReply>;  // by name and type

  // Names that are not in the zone are NXDOMAIN; known ones without the type are empty.
  explicit DnsServer(Zone zone) : zone_(std::move(zone)), stop_(::eventfd(0, EFD_CLOEXEC)) {
    while (!bind_both()) {
    }
    thread_ = std::thread([this] { serve(); });
  }
  ~DnsServer() {
    const uint64_t one = 1;
    EXPECT_EQ(::write(stop_.get(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
    thread_.join();
  }
  DnsServer(const DnsServer&) = delete;
  DnsServer& operator=(const DnsServer&) = delete;

  SocketAddress address() const { return address_; }
  ResolverOptions options() const {
    ResolverOptions options;
    options.servers = {address_};
    options.hosts_file = "";
    options.search = std::vector<std::string>{};
    return options;
  }
  Resolver resolver() const { return *Resolver::open(options()); }
  int asked_by_udp() const { return udp_count_; }
  int asked_by_tcp() const { return tcp_count_; }
  // Completes when the server has got that many questions by UDP.
  Task<void> asked(int count) const {
    while (udp_count_ < count) co_await sleep(std::chrono::milliseconds(1));
  }

 private:
  bool bind_both() {
    udp_ = UniqueFd(
        net::new_bound_socket(rt::kernel_sockets(), "test", any_port(), SOCK_DGRAM, {})->release());
    address_ = *net::local_address(rt::kernel_sockets(), udp_.get());
    absl::StatusOr<rt::NewSocket> tcp =
        net::new_bound_socket(rt::kernel_sockets(), "test", address_, SOCK_STREAM, {});
    if (!tcp.ok()) return false;
    tcp_ = UniqueFd(tcp->release());
    return ::listen(tcp_.get(), 16) == 0;
  }

  void serve() {
    pollfd waits[] = {{stop_.get(), POLLIN, 0}, {udp_.get(), POLLIN, 0}, {tcp_.get(), POLLIN, 0}};
    while (true) {
      ::poll(waits, 3, -1);
      if (waits[0].revents) return;
      if (waits[1].revents) answer_udp();
      if (waits[2].revents) answer_tcp();
    }
  }

  void answer_udp() {
    char buffer[512];
    net::RawAddress peer;
    socklen_t length = sizeof peer;
    const ssize_t count = ::recvfrom(udp_.get(), buffer, sizeof buffer, 0, peer.get(), &length);
    if (count <= 0) return;
    ++udp_count_;
    const std::string reply = reply_to({buffer, static_cast<size_t>(count)}, /*tcp=*/false);
    if (!reply.empty()) ::sendto(udp_.get(), reply.data(), reply.size(), 0, peer.get(), length);
  }

  void answer_tcp() {
    const UniqueFd peer(::accept4(tcp_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    unsigned char size[2];
    if (::recv(peer.get(), size, 2, MSG_WAITALL) != 2) return;
    std::string question(static_cast<size_t>(size[0] << 8 | size[1]), '\0');
    if (::recv(peer.get(), question.data(), question.size(), MSG_WAITALL) <= 0) return;
    ++tcp_count_;
    std::string reply = reply_to(question, /*tcp=*/true);
    reply = wire16(static_cast<int>(reply.size())) + reply;
    EXPECT_EQ(::send(peer.get(), reply.data(), reply.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(reply.size()));
  }

  const DnsReply* find(const std::string& name, int type) const {
    if (const auto found = zone_.find({name, type}); found != zone_.end()) return &found->second;
    static const DnsReply empty, unknown{.code = ns_r_nxdomain};
    for (const auto& [key, reply] : zone_) {
      if (key.first == name) return &empty;
    }
    return &unknown;
  }

  std::string reply_to(const std::string& question, bool tcp) const {
    constexpr size_t kHeader = 12;
    std::string name;
    size_t at = kHeader;
    while (question[at] != 0) {
      const size_t length = static_cast<size_t>(question[at]);
      name += (name.empty() ? "" : ".") + question.substr(at + 1, length);
      at += 1 + length;
    }
    std::transform(name.begin(), name.end(), name.begin(), ::tolower);
    const int type = question[at + 1] << 8 | static_cast<unsigned char>(question[at + 2]);
    const DnsReply& reply = *find(name, type);
    if (reply.silent) return {};
    const bool truncated = reply.tcp_only && !tcp;
    const size_t records = truncated ? 0 : reply.records.size();
    std::string packet = question.substr(0, 2) +
                         wire16((truncated ? 0x8380 : 0x8180) | reply.code) + wire16(1) +
                         wire16(static_cast<int>(records)) + wire16(0) + wire16(0) +
                         question.substr(kHeader, at + 5 - kHeader);
    for (size_t i = 0; i < records; ++i) {
      packet += wire16(0xc00c) + wire16(type) + wire16(ns_c_in) + wire16(0) + wire16(60) +
                wire16(static_cast<int>(reply.records[i].size())) + reply.records[i];
    }
    return reply.garbage ? packet.substr(0, packet.size() - 3) : packet;
  }

  const Zone zone_;
  const UniqueFd stop_;
  UniqueFd udp_, tcp_;
  SocketAddress address_;
  std::atomic<int> udp_count_{0}, tcp_count_{0};
  std::thread thread_;
};

}  // namespace zsync
