// A hosts file, see hosts(5).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "zsync/socket.hpp"

namespace zsync::net {

// What can be asked for: labels of 1 to 63 printable bytes, kHostNameBytesMax in all.
absl::Status check_host_name(std::string_view name);

// The addresses that `text` gives to `host`, in its order, each once; lines that are none are
// passed over.
std::vector<IpAddress> hosts_addresses(std::string_view text, std::string_view host);
// The same for a file; one that cannot be read gives none, of a large one the first
// kHostsFileBytesMax count.
std::vector<IpAddress> hosts_file_addresses(const std::string& path, std::string_view host);

// localhost and what is below it (RFC 6761, 6.3).
bool is_localhost(std::string_view host);

}  // namespace zsync::net
