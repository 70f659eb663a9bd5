#include "daemon/ops/doctor.hpp"

#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "watch/inotify_usage.hpp"
#include "zsync/config.hpp"

namespace zsync::daemon {
namespace {

using Level = Finding::Level;

constexpr uint64_t kInotifyWatchesWanted = 524'288;
constexpr uint64_t kInotifyUsedPercent = 80;
constexpr uint64_t kFilesWanted = 4096;
constexpr uint64_t kStateBytesWanted = 1ull << 30;

Finding system_finding() {
  std::ifstream file("/etc/os-release");
  std::string name = "unknown system";
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("PRETTY_NAME=", 0) == 0) name = line.substr(13, line.size() - 14);
  }
  utsname system{};
  uname(&system);
  return {Level::kOk, "system",
          absl::StrCat(name, ", ", system.sysname, " ", system.release, ", ", system.machine), ""};
}

Finding kernel_finding() {
  utsname system{};
  uname(&system);
  int major = 0;
  int minor = 0;
  if (std::sscanf(system.release, "%d.%d", &major, &minor) == 2 &&
      (major > 6 || (major == 6 && minor >= 1))) {
    return {Level::kOk, "kernel", absl::StrCat(system.release, " is 6.1 or newer"), ""};
  }
  return {Level::kWarning, "kernel", absl::StrCat(system.release, " is older than 6.1"),
          "upgrade the kernel to 6.1 or newer"};
}

Finding inotify_finding() {
  const watching::InotifyUsage usage = watching::inotify_usage();
  const std::string text =
      absl::StrCat(usage.watches_max, " directories may be watched, ", usage.watches, " are (by ",
                   usage.users.size(), " processes: zsyncctl watch usage)");
  // Beyond the limit trees are polled, which costs time and finds changes late.
  if (usage.watches * 100 > usage.watches_max * kInotifyUsedPercent) {
    return {Level::kWarning, "inotify", absl::StrCat("only ", text),
            watching::raise_watches_command(2 * usage.watches)};
  }
  if (usage.watches_max >= kInotifyWatchesWanted) return {Level::kOk, "inotify", text, ""};
  return {Level::kNote, "inotify", absl::StrCat("only ", text),
          watching::raise_watches_command(kInotifyWatchesWanted)};
}

Finding files_finding() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur >= kFilesWanted) {
    return {Level::kOk, "open files", absl::StrCat(limit.rlim_cur, " descriptors"), ""};
  }
  return {
      Level::kWarning, "open files", absl::StrCat("only ", limit.rlim_cur, " descriptors"),
      absl::StrCat("raise the limit: ulimit -n ", kFilesWanted, ", or LimitNOFILE= in the unit")};
}

Finding state_finding(const std::string& directory) {
  struct statvfs info{};
  if (statvfs(directory.c_str(), &info) != 0) {
    return {Level::kError, "state", absl::StrCat(directory, " cannot be read"),
            "make it readable and writable for this user"};
  }
  const uint64_t free_bytes = static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
  const std::string text = absl::StrCat(free_bytes >> 20, " MiB free for ", directory);
  if (access(directory.c_str(), W_OK) != 0) {
    return {Level::kError, "state", absl::StrCat(directory, " is read-only"),
            "make it writable, or start with another --state-dir"};
  }
  if (free_bytes < kStateBytesWanted) {
    return {Level::kWarning, "state", text, "free some space: output of tasks goes there"};
  }
  return {Level::kOk, "state", text, ""};
}

Finding linger_finding() {
  if (getuid() == 0) {
    return {Level::kNote, "user", "this zsyncd runs as root and serves root only",
            "run one zsyncd for each user"};
  }
  const char* user = std::getenv("USER");
  if (user && access(absl::StrCat("/var/lib/systemd/linger/", user).c_str(), F_OK) != 0 &&
      access("/run/systemd/system", F_OK) == 0) {
    return {Level::kNote, "logout", "tasks end when this user logs out",
            absl::StrCat("loginctl enable-linger ", user)};
  }
  return {Level::kOk, "logout", "tasks outlive a logout", ""};
}

// Below how many microseconds a share of the wake-ups stayed; 0: there was none.
uint64_t wakes_within(const RuntimeStats& stats, double share) {
  uint64_t all = 0;
  for (const uint64_t count : stats.wake_latency) all += count;
  uint64_t below = 0;
  for (size_t i = 0; i < stats.wake_latency.size(); ++i) {
    below += stats.wake_latency[i];
    if (all > 0 && static_cast<double>(below) >= share * static_cast<double>(all)) return 1ull << i;
  }
  return 0;
}

}  // namespace

Finding runtime_finding(const RuntimeStats& stats) {
  size_t ready = stats.ready_outside;
  uint64_t steals = 0;
  size_t parked = 0;
  for (const WorkerStats& worker : stats.workers) {
    ready += worker.ready + worker.branches + worker.here_only;
    steals += worker.steals;
    parked += worker.parked ? 1 : 0;
  }
  std::string text =
      absl::StrCat(stats.active_tasks, " coroutine tasks on ", stats.workers.size(), " workers, ",
                   parked, " of them asleep; ", ready, " ready, ", steals, " stolen so far");
  if (const uint64_t median = wakes_within(stats, 0.5); median > 0) {
    absl::StrAppend(&text, "; woken within ", median, " us, 99 % within ",
                    wakes_within(stats, 0.99), " us");
  }
  return {Level::kOk, "runtime", text, ""};
}

std::vector<Finding> examine(const DoctorInputs& inputs) {
  return {
      system_finding(),
      kernel_finding(),
      {Level::kOk, "cpus", absl::StrCat(usable_cpus(), " usable (affinity and cgroup quota)"), ""},
      {Level::kOk, "backend", absl::StrCat("the runtime runs on ", inputs.backend), ""},
      runtime_finding(inputs.runtime),
      {inputs.cgroups_available ? Level::kOk : Level::kNote, "cgroups", inputs.cgroups,
       inputs.cgroups_available ? "" : "systemctl --user enable --now zsyncd.socket"},
      inotify_finding(),
      files_finding(),
      state_finding(inputs.state_dir),
      linger_finding(),
  };
}

}  // namespace zsync::daemon
