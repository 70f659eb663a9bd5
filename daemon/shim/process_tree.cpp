#include "daemon/shim/process_tree.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <set>

#include "daemon/store/segment_log.hpp"

namespace zsync::daemon::shim {
namespace {

using segment_log::Fd;

constexpr int kSendRoundsMax = 64;  // a fork bomb may outrun a round; the caller comes back anyway

std::string read_all(const std::string& path) {
  std::string out;
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char buffer[4096];
  while (fd.valid()) {
    const ssize_t got = ::read(fd.get(), buffer, sizeof(buffer));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    out.append(buffer, static_cast<size_t>(got));
  }
  return out;
}

void parse_pids(const std::string& text, std::vector<pid_t>& out) {
  const char* at = text.c_str();
  char* end = nullptr;
  for (long pid = std::strtol(at, &end, 10); end != at; pid = std::strtol(at, &end, 10)) {
    out.push_back(static_cast<pid_t>(pid));
    at = end;
  }
}

std::vector<pid_t> children_of(pid_t pid) {
  std::vector<pid_t> children;
  const std::string tasks = "/proc/" + std::to_string(pid) + "/task";
  DIR* listing = ::opendir(tasks.c_str());
  if (listing == nullptr) return children;
  while (const dirent* item = ::readdir(listing)) {
    if (item->d_name[0] == '.') continue;
    parse_pids(read_all(tasks + "/" + item->d_name + "/children"), children);
  }
  ::closedir(listing);
  return children;
}

// A member may end, be reaped by its own parent, and its number be given to a stranger between
// listing and kill: the pidfd pins who it is, the second look at its parent says whether that is
// still one of ours.
bool signal_member(pid_t pid, int signal, const std::set<pid_t>& family, bool by_cgroup) {
  Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd.valid()) return false;
  if (!by_cgroup) {
    const std::string stat = read_all("/proc/" + std::to_string(pid) + "/stat");
    const size_t close = stat.rfind(')');
    if (close == std::string::npos || close + 4 >= stat.size()) return false;
    const pid_t parent = static_cast<pid_t>(std::strtol(stat.c_str() + close + 4, nullptr, 10));
    if (family.count(parent) == 0) return false;
  }
  return ::syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0) == 0;
}

}  // namespace

std::string ProcessTree::join_cgroup(const std::string& directory) {
  if (directory.empty()) return "";
  const std::string procs = directory + "/cgroup.procs";
  Fd fd(::open(procs.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd.valid()) return "cgroup: " + directory + ": " + ::strerrordesc_np(errno);
  const bool ours = read_all(procs).empty();
  const std::string pid = std::to_string(::getpid());
  if (::write(fd.get(), pid.data(), pid.size()) < 0) {
    return "cgroup: " + directory + ": " + ::strerrordesc_np(errno);
  }
  if (ours) procs_path_ = procs;
  return "";
}

std::vector<pid_t> ProcessTree::members() const {
  const pid_t self = ::getpid();
  std::vector<pid_t> found = children_of(self);
  std::set<pid_t> seen(found.begin(), found.end());
  for (size_t i = 0; i < found.size(); ++i) {
    for (const pid_t child : children_of(found[i])) {
      if (seen.insert(child).second) found.push_back(child);
    }
  }
  if (procs_path_.empty()) return found;
  std::vector<pid_t> grouped;
  parse_pids(read_all(procs_path_), grouped);
  for (const pid_t pid : grouped) {
    if (pid != self && seen.insert(pid).second) found.push_back(pid);
  }
  return found;
}

size_t ProcessTree::send(int signal) const {
  std::set<pid_t> signaled;
  for (int round = 0; round < kSendRoundsMax; ++round) {
    const std::vector<pid_t> all = members();
    std::set<pid_t> family(all.begin(), all.end());
    family.insert(::getpid());
    bool fresh = false;
    for (const pid_t pid : all) {
      if (signaled.count(pid) != 0) continue;
      if (!signal_member(pid, signal, family, !procs_path_.empty())) continue;
      signaled.insert(pid);
      fresh = true;
    }
    if (!fresh) break;
  }
  return signaled.size();
}

Usage ProcessTree::usage() const {
  constexpr uint64_t kBlockBytes = 512;  // of ru_inblock and ru_oublock
  rusage all = {};
  (void)::getrusage(RUSAGE_CHILDREN, &all);
  const auto microseconds = [](const timeval& time) {
    return static_cast<uint64_t>(time.tv_sec) * 1'000'000 + static_cast<uint64_t>(time.tv_usec);
  };
  Usage usage;
  usage.cpu_user_us = microseconds(all.ru_utime);
  usage.cpu_system_us = microseconds(all.ru_stime);
  usage.memory_peak_bytes = static_cast<uint64_t>(all.ru_maxrss) * 1024;
  usage.io_read_bytes = static_cast<uint64_t>(all.ru_inblock) * kBlockBytes;
  usage.io_written_bytes = static_cast<uint64_t>(all.ru_oublock) * kBlockBytes;
  if (procs_path_.empty()) return usage;
  const std::string directory = procs_path_.substr(0, procs_path_.rfind('/'));
  const uint64_t peak = std::strtoull(read_all(directory + "/memory.peak").c_str(), nullptr, 10);
  if (peak > 0) {
    usage.memory_peak_bytes = peak;
    usage.memory_is_tree = true;
  }
  return usage;
}

}  // namespace zsync::daemon::shim
