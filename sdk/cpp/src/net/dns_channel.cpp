#include "net/dns_channel.hpp"

#include <sys/epoll.h>

#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "net/raw_address.hpp"
#include "zsync/timeout.hpp"

namespace zsync::net {
namespace {

constexpr int kEventsPerWait = 16;
constexpr uint16_t kDnsPort = 53;

// Initialised once for the program; c-ares allows that in one thread at a time only.
int library_status() {
  static const int status = ::ares_library_init(ARES_LIB_INIT_ALL);
  return status;
}

absl::Status init_status(int code) {
  const std::string message = absl::StrCat("dns: starting a lookup: ", ::ares_strerror(code));
  return code == ARES_ENOMEM ? absl::ResourceExhaustedError(message) : absl::InternalError(message);
}

int set_servers(ares_channel channel, const std::vector<SocketAddress>& servers) {
  std::vector<ares_addr_port_node> nodes(servers.size());
  for (size_t i = 0; i < servers.size(); ++i) {
    const RawAddress raw(servers[i]);
    nodes[i].next = i + 1 < servers.size() ? &nodes[i + 1] : nullptr;
    nodes[i].family = raw.any.sa_family;
    nodes[i].udp_port = nodes[i].tcp_port = servers[i].port != 0 ? servers[i].port : kDnsPort;
    if (servers[i].ip.is_v4()) {
      nodes[i].addr.addr4 = raw.v4.sin_addr;
    } else {
      std::memcpy(&nodes[i].addr.addr6, &raw.v6.sin6_addr, sizeof nodes[i].addr.addr6);
    }
  }
  return ::ares_set_servers_ports(channel, nodes.data());
}

std::string address_text(const ares_addr_port_node& node) {
  RawAddress raw;
  if (node.family == AF_INET) {
    raw.v4.sin_family = AF_INET;
    raw.v4.sin_addr = node.addr.addr4;
  } else {
    raw.v6.sin6_family = AF_INET6;
    std::memcpy(&raw.v6.sin6_addr, &node.addr.addr6, sizeof raw.v6.sin6_addr);
  }
  SocketAddress address = raw.value();
  address.port = node.udp_port != 0 ? static_cast<uint16_t>(node.udp_port) : kDnsPort;
  return address.to_string();
}

}  // namespace

absl::StatusOr<std::unique_ptr<DnsChannel>> DnsChannel::open(const ResolverOptions& options) {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return rt::errno_status("dns: starting a lookup", errno);
  absl::StatusOr<rt::Fd> fd = rt::Fd::adopt(std::move(epoll));
  if (!fd.ok()) return fd.status();
  std::unique_ptr<DnsChannel> channel(new DnsChannel(*std::move(fd)));
  if (absl::Status started = channel->start(options); !started.ok()) return started;
  return channel;
}

absl::Status DnsChannel::start(const ResolverOptions& options) {
  if (const int code = library_status(); code != ARES_SUCCESS) return init_status(code);
  ares_options set{};
  char only_servers[] = "b";  // the hosts file is read by us
  set.lookups = only_servers;
  set.flags = ARES_FLAG_NOALIASES;
  set.timeout = static_cast<int>(options.timeout.count());
  set.tries = options.attempts;
  set.sock_state_cb = &DnsChannel::on_socket;
  set.sock_state_cb_data = this;
  int mask = ARES_OPT_LOOKUPS | ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
             ARES_OPT_SOCK_STATE_CB;
  std::vector<std::string> domains = options.search.value_or(std::vector<std::string>{});
  std::vector<char*> pointers;
  for (std::string& domain : domains) pointers.push_back(domain.data());
  if (options.search) {
    set.domains = pointers.data();
    set.ndomains = static_cast<int>(pointers.size());
    mask |= ARES_OPT_DOMAINS;
  }
  int code = ::ares_init_options(&channel_, &set, mask);
  if (code == ARES_SUCCESS && !options.servers.empty()) {
    code = set_servers(channel_, options.servers);
  }
  return code == ARES_SUCCESS ? absl::OkStatus() : init_status(code);
}

DnsChannel::~DnsChannel() {
  if (channel_) ::ares_destroy(channel_);
}

// Called before c-ares closes a socket, with neither.
void DnsChannel::on_socket(void* self, ares_socket_t socket, int readable, int writable) {
  auto& channel = *static_cast<DnsChannel*>(self);
  const int epoll = channel.epoll_.get();
  if (!readable && !writable) {
    (void)::epoll_ctl(epoll, EPOLL_CTL_DEL, socket, nullptr);
    return;
  }
  epoll_event event{};
  event.events = (readable ? EPOLLIN : 0u) | (writable ? EPOLLOUT : 0u);
  event.data.fd = socket;
  if (::epoll_ctl(epoll, EPOLL_CTL_MOD, socket, &event) == 0) return;
  if (errno == ENOENT && ::epoll_ctl(epoll, EPOLL_CTL_ADD, socket, &event) == 0) return;
  channel.failure_ = rt::errno_status("dns: watching a socket", errno);
}

Task<absl::Status> DnsChannel::drive(const bool& done) {
  while (!done) {
    if (!failure_.ok()) co_return failure_;
    timeval buffer{};
    const timeval* next = ::ares_timeout(channel_, nullptr, &buffer);
    ZS_ASSERT(next, "c-ares waits for nothing and has not answered");
    const rt::Duration pause =
        std::chrono::seconds(next->tv_sec) + std::chrono::microseconds(next->tv_usec);
    const absl::Status ready = co_await timeout(epoll_.readable(), pause);
    if (!ready.ok() && !absl::IsDeadlineExceeded(ready)) co_return ready;
    process();
  }
  co_return absl::OkStatus();
}

void DnsChannel::process() {
  epoll_event events[kEventsPerWait];
  const int count = ::epoll_wait(epoll_.get(), events, kEventsPerWait, 0);
  for (int i = 0; i < count; ++i) {
    constexpr uint32_t kBroken = EPOLLERR | EPOLLHUP;
    const auto socket_on = [&event = events[i]](uint32_t mask) {
      return event.events & (mask | kBroken) ? event.data.fd : ARES_SOCKET_BAD;
    };
    ::ares_process_fd(channel_, socket_on(EPOLLIN), socket_on(EPOLLOUT));
  }
  if (count <= 0) ::ares_process_fd(channel_, ARES_SOCKET_BAD, ARES_SOCKET_BAD);  // timeouts only
}

std::string DnsChannel::servers() const {
  ares_addr_port_node* first = nullptr;
  if (::ares_get_servers_ports(channel_, &first) != ARES_SUCCESS) return "its servers";
  std::vector<std::string> texts;
  for (const ares_addr_port_node* node = first; node; node = node->next) {
    texts.push_back(address_text(*node));
  }
  ::ares_free_data(first);
  return texts.empty() ? "its servers" : absl::StrJoin(texts, " and ");
}

absl::Status DnsChannel::status_of(int code, const std::string& what, const char* record) const {
  const std::string name = absl::StrCat("resolve \"", what, "\": ");
  switch (code) {
    case ARES_SUCCESS:
      return absl::OkStatus();
    case ARES_ENOTFOUND:
      return absl::NotFoundError(absl::StrCat(name, "there is no such name, says ", servers(),
                                              "; check its spelling and its domain"));
    case ARES_ENODATA:
      return absl::NotFoundError(absl::StrCat(name, "the name has no ", record, ", says ",
                                              servers(), "; check what its owner publishes"));
    case ARES_ETIMEOUT:
      return absl::DeadlineExceededError(
          absl::StrCat(name, "no answer from ", servers(),
                       "; check the network and the name servers (/etc/resolv.conf), or raise "
                       "ResolverOptions::timeout"));
    case ARES_ECONNREFUSED:
      return absl::UnavailableError(
          absl::StrCat(name, "nobody answers DNS at ", servers(),
                       "; check the name servers (/etc/resolv.conf, ResolverOptions::servers)"));
    case ARES_ESERVFAIL:
    case ARES_EREFUSED:
    case ARES_ENOTIMP:
    case ARES_EFORMERR:
      return absl::UnavailableError(absl::StrCat(name, servers(), " could not answer (",
                                                 ::ares_strerror(code),
                                                 "); try again later, or ask other servers"));
    case ARES_EBADRESP:
    case ARES_EBADSTR:
      return absl::DataLossError(
          absl::StrCat(name, "the answer of ", servers(), " cannot be read; ask another server"));
    case ARES_EBADNAME:
      return absl::InvalidArgumentError(
          absl::StrCat(name, "this is no name: labels of 1 to 63 bytes with dots between them"));
    case ARES_ENOMEM:
      return absl::ResourceExhaustedError(absl::StrCat(name, "out of memory"));
    default:
      return absl::InternalError(absl::StrCat(name, ::ares_strerror(code)));
  }
}

}  // namespace zsync::net
