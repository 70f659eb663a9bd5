// What to say when the kernel has no more watches to give.
#pragma once

#include <string_view>

#include "absl/status/status.h"

namespace zsync::watching {

// ResourceExhausted, with the sysctl line that raises the limit of watches.
absl::Status watch_limit_error(std::string_view root);
// The same for the limit of inotify instances, or of open files where that is what was reached.
absl::Status instance_limit_error(std::string_view root);
absl::Status open_files_error(std::string_view root);

}  // namespace zsync::watching
