#include "daemon/tasks/cgroup.hpp"

#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace zsync::daemon {
namespace {

std::string own_directory() {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("0::", 0) == 0) return "/sys/fs/cgroup" + line.substr(3);
  }
  return {};
}

// Controllers that `directory` hands on to what stands in it -> those that it does.
std::set<std::string> hand_on_controllers(const std::string& directory) {
  std::set<std::string> handed_on;
  std::ifstream offered(directory + "/cgroup.controllers");
  for (std::string controller; offered >> controller;) {
    // One by one: one that the kernel refuses must not cost the others.
    std::ofstream enabled(directory + "/cgroup.subtree_control");
    enabled << '+' << controller << std::flush;
    if (enabled) handed_on.insert(controller);
  }
  return handed_on;
}

// A name of a directory: a group may be called anything.
std::string file_name(const std::string& group) {
  return absl::StrReplaceAll(group, {{"%", "%25"}, {"/", "%2F"}, {"\n", "%0A"}});
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
  controllers_ = hand_on_controllers(directory);
  explanation_ = absl::StrCat("tasks have cgroups of their own below ", directory);
}

std::string TaskCgroups::directory_of(const std::string& group) const {
  return absl::StrCat(root_, "/group-", file_name(group));
}

std::string TaskCgroups::create(const std::string& task_id, const std::string& group) {
  if (root_.empty()) return {};
  std::string parent = root_;
  rt::LockGuard guard(lock_);  // also so that the last one of the group does not just take it along
  if (auto budget = budgets_.find(group); budget != budgets_.end()) {
    // A name may be too long for a directory; then each task is held by its own limits alone.
    const std::string of_group = directory_of(group);
    if (mkdir(of_group.c_str(), 0755) == 0 || errno == EEXIST) {
      parent = of_group;
      (void)hand_on_controllers(parent);
      write_budget(parent, budget->second);
    }
  }
  std::string directory = absl::StrCat(parent, "/task-", task_id);
  if (mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST) return {};
  return directory;
}

void TaskCgroups::set_budget(const std::string& group, const GroupSettings& settings) {
  const Budget budget{settings.memory_bytes_max, settings.cpu_millis_max};
  rt::LockGuard guard(lock_);
  if (budget.memory_bytes == 0 && budget.cpu_millis == 0) {
    budgets_.erase(group);
  } else {
    budgets_.insert_or_assign(group, budget);
  }
  const std::string directory = directory_of(group);
  if (!root_.empty() && access(directory.c_str(), F_OK) == 0) write_budget(directory, budget);
}

void TaskCgroups::write_budget(const std::string& directory, const Budget& budget) const {
  const std::string memory = budget.memory_bytes == 0 ? "max" : absl::StrCat(budget.memory_bytes);
  if (holds("memory")) (void)set(directory, "memory.max", memory);
  if (holds("cpu")) (void)set(directory, "cpu.max", cpu_max(budget.cpu_millis));
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

void TaskCgroups::remove(const std::string& task_id, const std::string& group) {
  if (root_.empty()) return;
  const std::string of_group = directory_of(group);
  rt::LockGuard guard(lock_);
  rmdir(absl::StrCat(root_, "/task-", task_id).c_str());
  if (rmdir(absl::StrCat(of_group, "/task-", task_id).c_str()) == 0) rmdir(of_group.c_str());
}

std::string TaskCgroups::cpu_max(uint64_t millis) {
  constexpr uint64_t kPeriodUs = 100'000;
  return absl::StrCat(millis == 0 ? "max" : absl::StrCat(millis * kPeriodUs / 1000), " ",
                      kPeriodUs);
}

}  // namespace zsync::daemon
