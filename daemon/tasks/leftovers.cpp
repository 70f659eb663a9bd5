#include "daemon/tasks/leftovers.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"

namespace zsync::daemon {
namespace {

bool has_variable(const std::string& path, std::string_view variable) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  std::string bytes(64 << 10, '\0');
  std::string environment;
  ssize_t count = 0;
  while (environment.size() < (4u << 20) && (count = read(fd, bytes.data(), bytes.size())) > 0) {
    environment.append(bytes, 0, static_cast<size_t>(count));
  }
  close(fd);
  for (size_t at = environment.find(variable); at != std::string::npos;
       at = environment.find(variable, at + 1)) {
    const size_t end = at + variable.size();
    const bool starts = at == 0 || environment[at - 1] == '\0';
    if (starts && (end == environment.size() || environment[end] == '\0')) return true;
  }
  return false;
}

// One pass -> processes killed. The pidfd is taken before the look, so that a recycled pid is safe.
size_t kill_once(std::string_view variable) {
  size_t killed = 0;
  std::unique_ptr<DIR, int (*)(DIR*)> processes(opendir("/proc"), closedir);
  if (!processes) return 0;
  while (const dirent* entry = readdir(processes.get())) {
    const pid_t pid = static_cast<pid_t>(std::atoi(entry->d_name));
    if (pid <= 1 || pid == getpid()) continue;
    const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
    if (pidfd < 0) continue;
    if (has_variable(absl::StrCat("/proc/", pid, "/environ"), variable) &&
        syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, nullptr, 0) == 0) {
      ++killed;
    }
    close(pidfd);
  }
  return killed;
}

}  // namespace

size_t kill_leftovers(const std::string& task_id) {
  const std::string variable = absl::StrCat("ZSYNC_TASK_ID=", task_id);
  size_t total = 0;
  for (int round = 0; round < kLeftoverRounds; ++round) {
    const size_t killed = kill_once(variable);
    total += killed;
    if (killed == 0) break;
  }
  return total;
}

}  // namespace zsync::daemon
