// Where load_config's input comes from: the file, the environment, the working directory.
#pragma once

#include <absl/status/statusor.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "daemon/config/config.hpp"

namespace zsync::daemon {

// ~/.config/zsync/zsyncd.yaml, under XDG_CONFIG_HOME where that is set; empty when there is no home
// at all.
std::string default_config_path(const std::map<std::string, std::string>& environment);

// Reads the file named on the command line, which must exist, or else the default one, which may be
// absent.
//
// Errors:  kNotFound, kPermissionDenied, kInvalidArgument (a directory, larger than
// kConfigFileBytesMax),
//          with path and cure.
absl::StatusOr<std::optional<ConfigFile>> read_config_file(
    const std::optional<std::string>& named, const std::map<std::string, std::string>& environment);

// The variables of an `environ` array.
std::map<std::string, std::string> environment_map(const char* const* environ);

// All sources of this process: file, `environ`, working directory; the user's home directory from
// the password file stands in for a missing HOME.
absl::StatusOr<ConfigSources> gather_config_sources(const std::optional<std::string>& file,
                                                    std::vector<ConfigFlag> flags);

}  // namespace zsync::daemon
