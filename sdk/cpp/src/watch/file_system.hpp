// Which file systems change without this machine's kernel knowing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace zsync::watching {

// The name of a file system that other machines, or programs, change behind the kernel's back, by
// the f_type of statfs; nullopt for every other one.
[[nodiscard]] std::optional<std::string_view> remote_file_system(uint64_t type);
// The one that `path` lies on. A path that is not there lies on none.
[[nodiscard]] std::optional<std::string_view> remote_file_system_of(const std::string& path);

}  // namespace zsync::watching
