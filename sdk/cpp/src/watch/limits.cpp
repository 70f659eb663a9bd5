#include "watch/limits.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "watch/fd.hpp"

namespace zsync::watching {
namespace {

uint64_t read_number(const char* path) {
  Fd fd(::open(path, O_RDONLY | O_CLOEXEC));
  char buffer[32];
  const ssize_t n = fd ? ::read(fd.get(), buffer, sizeof buffer) : 0;
  uint64_t value = 0;
  if (n <= 0 || !absl::SimpleAtoi(absl::string_view(buffer, static_cast<size_t>(n)), &value))
    return 0;
  return value;
}

std::string limit_text(std::string_view root, std::string_view what, std::string_view knob,
                       uint64_t least) {
  std::string path =
      absl::StrCat("/proc/sys/fs/inotify/", absl::string_view(knob.data(), knob.size()));
  const uint64_t now = read_number(path.c_str());
  return absl::StrCat("watching \"", absl::string_view(root.data(), root.size()),
                      "\": the limit of ", now, " inotify ",
                      absl::string_view(what.data(), what.size()),
                      " per user is reached; raise it with: sudo sysctl -w fs.inotify.",
                      absl::string_view(knob.data(), knob.size()), "=", std::max(least, now * 2));
}

}  // namespace

absl::Status watch_limit_error(std::string_view root) {
  return absl::ResourceExhaustedError(limit_text(root, "watches", "max_user_watches", 524'288));
}

absl::Status instance_limit_error(std::string_view root) {
  if (Fd spare(::open("/dev/null", O_RDONLY | O_CLOEXEC)); !spare) return open_files_error(root);
  return absl::ResourceExhaustedError(limit_text(root, "instances", "max_user_instances", 256));
}

absl::Status open_files_error(std::string_view root) {
  return absl::ResourceExhaustedError(
      absl::StrCat("watching \"", absl::string_view(root.data(), root.size()),
                   "\": too many open files in this process; raise it with: ulimit -n"));
}

}  // namespace zsync::watching
