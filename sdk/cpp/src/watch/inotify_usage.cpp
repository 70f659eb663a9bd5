#include "watch/inotify_usage.hpp"

#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"

namespace zsync::watching {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kWatchesLeast = 524'288;

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

uint64_t number_in(const std::string& path) {
  return std::strtoull(first_line(path).c_str(), nullptr, 10);
}

struct Instance {
  int descriptor = -1;
  uint64_t watches = 0;
  size_t text = 0;  // hash of what fdinfo says
};

Instance instance_of(const std::string& process, int descriptor) {
  std::ifstream file(absl::StrCat(process, "/fdinfo/", descriptor));
  Instance found{descriptor, 0, 0};
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("inotify ")) continue;
    ++found.watches;
    found.text = found.text * 31 + std::hash<std::string>()(line);
  }
  return found;
}

// A duplicate of a descriptor is no further instance.
bool same(pid_t process, const Instance& a, const Instance& b) {
  return a.watches == b.watches && a.text == b.text &&
         ::syscall(SYS_kcmp, process, process, KCMP_FILE, a.descriptor, b.descriptor) == 0;
}

// False: its descriptors are not for this process to see.
bool look_at(const std::string& process, InotifyUser& user) {
  std::error_code error;
  fs::directory_iterator descriptors(process + "/fd", error);
  if (error) return error.value() != EACCES && error.value() != EPERM;
  std::vector<Instance> instances;
  for (; descriptors != fs::directory_iterator(); descriptors.increment(error)) {
    if (error) break;
    std::error_code gone;
    const fs::path target = fs::read_symlink(descriptors->path(), gone);
    if (gone || (target != "anon_inode:inotify" && target != "anon_inode:[inotify]")) continue;
    const std::string name = descriptors->path().filename().string();
    const Instance found = instance_of(process, std::atoi(name.c_str()));
    if (std::any_of(instances.begin(), instances.end(),
                    [&](const Instance& known) { return same(user.pid, known, found); })) {
      continue;
    }
    instances.push_back(found);
    user.watches += found.watches;
  }
  user.instances = static_cast<uint32_t>(instances.size());
  return true;
}

}  // namespace

InotifyUsage inotify_usage() {
  InotifyUsage usage;
  usage.watches_max = number_in("/proc/sys/fs/inotify/max_user_watches");
  usage.instances_max = number_in("/proc/sys/fs/inotify/max_user_instances");
  std::error_code error;
  for (fs::directory_iterator at("/proc", error), end; at != end; at.increment(error)) {
    if (error) break;
    const std::string name = at->path().filename().string();
    InotifyUser user;
    const auto parsed = std::from_chars(name.data(), name.data() + name.size(), user.pid);
    if (parsed.ec != std::errc() || parsed.ptr != name.data() + name.size()) continue;
    const std::string process = at->path().string();
    if (!look_at(process, user)) ++usage.hidden;
    if (user.instances == 0) continue;
    user.command = first_line(process + "/comm");
    usage.watches += user.watches;
    usage.instances += user.instances;
    usage.users.push_back(std::move(user));
  }
  std::sort(usage.users.begin(), usage.users.end(), [](const InotifyUser& x, const InotifyUser& y) {
    return std::pair(y.watches, x.pid) < std::pair(x.watches, y.pid);
  });
  return usage;
}

std::string raise_watches_command(uint64_t watches) {
  uint64_t enough = kWatchesLeast;
  while (enough < watches) enough *= 2;
  return absl::StrCat("sudo sysctl -w fs.inotify.max_user_watches=", enough);
}

}  // namespace zsync::watching
