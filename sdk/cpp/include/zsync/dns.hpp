// DNS: names to addresses and back, and connecting to a name.
//
//   absl::StatusOr<std::vector<zsync::SocketAddress>> found =
//       co_await zsync::resolve("example.org", 443);
//   absl::StatusOr<zsync::TcpStream> stream = co_await zsync::connect_tcp("example.org", 443);
//
// How it works: each lookup has a resolver (c-ares) of its own, whose sockets and timers are waits
// of the asking task. There is no thread, no lock and no state that lookups share, so a lookup that
// is cancelled is gone, and a change of /etc/resolv.conf counts from the next lookup on. Answers
// are not cached: run a caching server on the machine where that matters.
//
// The few small files of a configuration (/etc/resolv.conf, hosts) are read on the worker.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "zsync/socket.hpp"
#include "zsync/task.hpp"
#include "zsync/tcp.hpp"

namespace zsync {

inline constexpr size_t kHostNameBytesMax = 253;  // bytes of a name without its last dot; RFC 1035
inline constexpr std::chrono::milliseconds kDnsTimeout{2000};      // of the first question
inline constexpr std::chrono::milliseconds kDnsTimeoutMax{60000};  // that can be chosen
inline constexpr int kDnsAttempts = 3;                             // questions to each server
inline constexpr int kDnsAttemptsMax = 10;                         // that can be chosen
inline constexpr size_t kDnsServersMax = 16;                       // of one resolver
inline constexpr size_t kHostsFileBytesMax = size_t{1} << 20;      // bytes of it that are read

// Whom a Resolver asks, and how long.
struct ResolverOptions {
  // Asked one after the other by UDP, and by TCP where an answer does not fit; a port of 0 is 53.
  // Empty: the system's, from /etc/resolv.conf.
  std::vector<SocketAddress> servers;
  // How long a server has for the first question; doubled after each round through the servers.
  std::chrono::milliseconds timeout = kDnsTimeout;
  int attempts = kDnsAttempts;  // rounds through the servers
  // Names that are answered without a question, as in hosts(5); empty: none. One that is missing is
  // like an empty one.
  std::string hosts_file = "/etc/hosts";
  // Domains that a name without a dot is tried in first; nullopt: the system's.
  std::optional<std::vector<std::string>> search;
};

// Where a service of a domain is offered (RFC 2782).
struct SrvRecord {
  std::string target;     // the machine's name
  uint16_t port = 0;      // its port
  uint16_t priority = 0;  // lower ones are tried first
  uint16_t weight = 0;    // the share of those of one priority
  friend bool operator==(const SrvRecord&, const SrvRecord&) = default;
};

// Who takes the mail of a domain.
struct MxRecord {
  std::string exchange;     // the machine's name
  uint16_t preference = 0;  // lower ones are tried first
  friend bool operator==(const MxRecord&, const MxRecord&) = default;
};

// Asks name servers.
//
// Errors, of every lookup: kInvalidArgument for what can be no name; kNotFound when there is no
//         such name or no record of the kind, so that asking again is of no use; kDeadlineExceeded
//         when no server has answered in time, with their addresses; kUnavailable when none could
//         be reached or one has failed (SERVFAIL, REFUSED); kDataLoss for an answer that cannot be
//         read; kResourceExhausted when this process has too many open files.
// Cancel:  kCancelled; no question is asked any more and its sockets are closed.
// Threads: any; copies are independent. A lookup belongs to its task.
class Resolver {
 public:
  // Asks the system's servers.
  Resolver() = default;
  // Asks as `options` say.
  //
  // Errors: kInvalidArgument for a number out of its range, a server with a scope, more than
  //         kDnsServersMax of them, or a domain that is none.
  static absl::StatusOr<Resolver> open(ResolverOptions options);

  // The addresses of `host`, at least one, each with `port`, the one to try first in front (RFC
  // 6724; those of a hosts file stand as there). An address in text is answered as it is, and
  // localhost without a question. IPv4 and IPv6 are asked for at once and both are waited for.
  Task<absl::StatusOr<std::vector<SocketAddress>>> resolve(std::string host, uint16_t port) const;

  // The texts of `name`, at least one, the pieces of each put together; they may hold any byte.
  Task<absl::StatusOr<std::vector<std::string>>> txt(std::string name) const;
  // Where `name`, "_imaps._tcp.example.org" for example, is offered, by priority and weight. A
  // single target of "." says that it is not offered at all.
  Task<absl::StatusOr<std::vector<SrvRecord>>> srv(std::string name) const;
  // Who takes the mail of `name`, by preference.
  Task<absl::StatusOr<std::vector<MxRecord>>> mx(std::string name) const;
  // The names of an address, as its owner claims them; asked of the servers only. To trust one,
  // resolve() it and look for the address.
  Task<absl::StatusOr<std::vector<std::string>>> ptr(IpAddress address) const;

  // What it was opened with.
  const ResolverOptions& options() const { return options_; }

 private:
  explicit Resolver(ResolverOptions options) : options_(std::move(options)) {}
  ResolverOptions options_;
};

// Resolver().resolve(): by the system's servers and /etc/hosts.
Task<absl::StatusOr<std::vector<SocketAddress>>> resolve(std::string host, uint16_t port);

// How connect_tcp() goes through the addresses of a name.
struct ConnectOptions {
  // How long an address has before the next one is tried beside it (RFC 8305; 250 ms is its
  // advice). One that fails is followed by the next at once.
  std::chrono::milliseconds stagger{250};
  Resolver resolver;  // finds the addresses
};

// Connects to a name: to the first of its addresses that answers, IPv6 and IPv4 in turns ("happy
// eyeballs", RFC 8305). The attempts that have lost are over when this completes. It takes as long
// as the system tries (about two minutes to a machine that does not answer): use timeout().
//
// Errors: of Resolver::resolve() for the name; when no address answers, that of the first attempt
//         with what became of each; kInvalidArgument for a negative stagger.
// Cancel: kCancelled; nobody is connected.
Task<absl::StatusOr<TcpStream>> connect_tcp(std::string host, uint16_t port,
                                            ConnectOptions options = {});
// The same for addresses that are known already, in the order of preference.
//
// Errors: kInvalidArgument for an empty list; else as above.
Task<absl::StatusOr<TcpStream>> connect_tcp(
    std::vector<SocketAddress> addresses,
    std::chrono::milliseconds stagger = ConnectOptions{}.stagger);

}  // namespace zsync
