#include "daemon/ops/environment.hpp"

#include <fnmatch.h>
#include <pwd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "absl/strings/strip.h"

namespace zsync::daemon {

std::vector<std::string> passed_environment(const std::vector<std::string>& globs) {
  std::vector<std::string> passed;
  for (char** variable = environ; *variable; ++variable) {
    const std::string text = *variable;
    const std::string name = text.substr(0, text.find('='));
    for (const std::string& glob : globs) {
      if (fnmatch(glob.c_str(), name.c_str(), 0) == 0) {
        passed.push_back(text);
        break;
      }
    }
  }
  return passed;
}

std::string own_program() {
  std::error_code error;
  std::string path = std::filesystem::read_symlink("/proc/self/exe", error).string();
  return std::string(absl::StripSuffix(path, " (deleted)"));
}

std::string program_beside_this(const std::string& name) {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error) {
    for (const auto& candidate :
         {self.parent_path() / name, self.parent_path() / ".." / "libexec" / "zsync" / name,
          self.parent_path() / "shim" / name}) {
      if (access(candidate.c_str(), X_OK) == 0) return candidate.lexically_normal().string();
    }
  }
  return name;
}

std::string boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(file, id);
  return id;
}

uint64_t raise_open_files() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  const uint64_t before = limit.rlim_cur;
  limit.rlim_cur = limit.rlim_max;
  (void)setrlimit(RLIMIT_NOFILE, &limit);
  return before;
}

std::string home_directory() {
  if (const char* home = std::getenv("HOME"); home && home[0] == '/') return home;
  if (const passwd* entry = getpwuid(getuid())) return entry->pw_dir;
  return "/";
}

}  // namespace zsync::daemon
