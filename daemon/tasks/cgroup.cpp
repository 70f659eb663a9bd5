#include "daemon/tasks/cgroup.hpp"

#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "absl/strings/str_cat.h"

namespace zsync::daemon {
namespace {

std::string own_directory() {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("0::", 0) == 0) return "/sys/fs/cgroup" + line.substr(3);
  }
  return {};
}

}  // namespace

void TaskCgroups::detect() {
  const std::string directory = own_directory();
  if (directory.empty()) {
    explanation_ = "no cgroup v2 here";
    return;
  }
  char value[8] = {};
  const bool delegated =
      getxattr(directory.c_str(), "user.delegate", value, sizeof value - 1) > 0 &&
      std::strcmp(value, "1") == 0;
  if (!delegated) {
    explanation_ = absl::StrCat(directory,
                                " is not delegated: run zsyncd by its systemd unit "
                                "(Delegate=yes) to have limits and accounting a task");
    return;
  }
  use(directory);
}

void TaskCgroups::use(const std::string& directory) {
  const std::string daemon = directory + "/daemon";
  if (mkdir(daemon.c_str(), 0755) != 0 && errno != EEXIST) {
    explanation_ = absl::StrCat("making ", daemon, ": ", std::strerror(errno));
    return;
  }
  std::ofstream procs(daemon + "/cgroup.procs");
  procs << getpid() << std::flush;
  if (!procs) {
    explanation_ = absl::StrCat("moving into ", daemon, ": ", std::strerror(errno));
    return;
  }
  root_ = directory;
  std::ifstream offered(directory + "/cgroup.controllers");
  for (std::string controller; offered >> controller;) {
    // One by one: one that the kernel refuses must not cost the others.
    std::ofstream enabled(directory + "/cgroup.subtree_control");
    enabled << '+' << controller << std::flush;
    if (enabled) controllers_.insert(controller);
  }
  explanation_ = absl::StrCat("tasks have cgroups of their own below ", directory);
}

std::string TaskCgroups::create(const std::string& task_id) {
  if (root_.empty()) return {};
  const std::string directory = absl::StrCat(root_, "/task-", task_id);
  if (mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST) return {};
  return directory;
}

absl::Status TaskCgroups::set(const std::string& directory, absl::string_view file,
                              absl::string_view value) {
  const std::string path = absl::StrCat(directory, "/", file);
  errno = 0;
  std::ofstream out(path);
  out << value << std::flush;
  if (out) return absl::OkStatus();
  return absl::ErrnoToStatus(errno ? errno : EIO,
                             absl::StrCat("cannot write \"", value, "\" into ", path));
}

void TaskCgroups::remove(const std::string& task_id) {
  if (!root_.empty()) rmdir(absl::StrCat(root_, "/task-", task_id).c_str());
}

}  // namespace zsync::daemon
