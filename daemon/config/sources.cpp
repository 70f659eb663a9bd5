#include "daemon/config/sources.hpp"

#include <absl/strings/str_cat.h>
#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

namespace zsync::daemon {
namespace {

constexpr size_t kReadBytes = size_t{64} << 10;
constexpr size_t kPasswordEntryBytes = size_t{16} << 10;

absl::Status file_error(const std::string& path, int error, absl::string_view cure) {
  return absl::Status(
      absl::ErrnoToStatusCode(error),
      absl::StrCat("reading config: ", path, ": ", std::strerror(error), "; ", cure));
}

absl::StatusOr<std::string> read_all(int fd, const std::string& path) {
  std::string content;
  std::array<char, kReadBytes> buffer;
  for (;;) {
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return file_error(path, errno, "check the file");
    if (got == 0) return content;
    content.append(buffer.data(), static_cast<size_t>(got));
    if (content.size() > kConfigFileBytesMax) {
      return absl::InvalidArgumentError(absl::StrCat("reading config: ", path, ": more than ",
                                                     kConfigFileBytesMax,
                                                     " bytes; is it the right file?"));
    }
  }
}

std::string home_from_password_file() {
  struct passwd entry{};
  struct passwd* found = nullptr;
  std::array<char, kPasswordEntryBytes> buffer;
  if (::getpwuid_r(::geteuid(), &entry, buffer.data(), buffer.size(), &found) != 0 ||
      found == nullptr || found->pw_dir == nullptr) {
    return "";
  }
  return found->pw_dir;
}

}  // namespace

std::string default_config_path(const std::map<std::string, std::string>& environment) {
  const auto xdg = environment.find("XDG_CONFIG_HOME");
  if (xdg != environment.end() && !xdg->second.empty() && xdg->second.front() == '/') {
    return xdg->second + "/zsync/zsyncd.yaml";
  }
  const auto home = environment.find("HOME");
  if (home == environment.end() || home->second.empty()) return "";
  return home->second + "/.config/zsync/zsyncd.yaml";
}

absl::StatusOr<std::optional<ConfigFile>> read_config_file(
    const std::optional<std::string>& named,
    const std::map<std::string, std::string>& environment) {
  const std::string path = named ? *named : default_config_path(environment);
  if (path.empty() && !named) return std::optional<ConfigFile>();
  // Non-blocking, so that a FIFO in its place cannot hold up the start.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    const bool absent = errno == ENOENT || errno == ENOTDIR;
    if (absent && !named) return std::optional<ConfigFile>();
    return file_error(path, errno, named ? "check --config" : "make it readable, or remove it");
  }
  struct stat status{};
  absl::StatusOr<std::string> content;
  if (::fstat(fd, &status) == 0 && S_ISDIR(status.st_mode)) {
    content = absl::InvalidArgumentError(
        absl::StrCat("reading config: ", path, ": is a directory; name a file"));
  } else {
    content = read_all(fd, path);
  }
  ::close(fd);
  if (!content.ok()) return content.status();
  return std::optional<ConfigFile>(ConfigFile{path, *std::move(content)});
}

std::map<std::string, std::string> environment_map(const char* const* environ) {
  std::map<std::string, std::string> result;
  for (; environ != nullptr && *environ != nullptr; ++environ) {
    const char* equals = std::strchr(*environ, '=');
    if (equals == nullptr) continue;
    // The first of two equal names is the one that getenv finds.
    result.emplace(std::string(*environ, equals), equals + 1);
  }
  return result;
}

absl::StatusOr<ConfigSources> gather_config_sources(const std::optional<std::string>& file,
                                                    std::vector<ConfigFlag> flags) {
  ConfigSources sources;
  sources.environment = environment_map(::environ);
  if (sources.environment["HOME"].empty()) {
    sources.environment["HOME"] = home_from_password_file();
  }
  absl::StatusOr<std::optional<ConfigFile>> content = read_config_file(file, sources.environment);
  if (!content.ok()) return content.status();
  sources.file = *std::move(content);
  sources.flags = std::move(flags);
  std::error_code ignored;  // without a working directory, relative paths are refused
  sources.working_directory = std::filesystem::current_path(ignored).string();
  return sources;
}

}  // namespace zsync::daemon
