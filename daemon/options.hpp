// The command line of zsyncd.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "daemon/config/config.hpp"

namespace zsync::daemon {

struct Options {
  std::optional<std::string> config_file;
  std::vector<ConfigFlag> flags;
  std::optional<std::string> check;  // the directory of a store to look at, instead of serving
};

// Prints --help, --version or a usage error itself; then `exit_code` is set.
struct ParsedOptions {
  Options options;
  std::optional<int> exit_code;
};
ParsedOptions parse_options(int argc, char** argv);

}  // namespace zsync::daemon
