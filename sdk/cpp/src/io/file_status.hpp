// What File and the functions on whole files share.
#pragma once

#include <sys/stat.h>

#include <string>

#include "absl/status/status.h"
#include "zsync/file.hpp"

namespace zsync::rt {

// `open "a/b": No such file or directory`.
absl::Status file_status(const char* doing, const std::string& path, int error);
FileKind kind_of(mode_t mode);
FileMetadata metadata_of(const struct stat& info);

}  // namespace zsync::rt
