#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "zsync/diagnostics.hpp"

namespace zsync {
namespace {

constexpr rlim_t kFilesEnough = 65'536;  // descriptors; fewer are few for a server

std::string distribution() {
  for (const char* path : {"/etc/os-release", "/usr/lib/os-release"}) {
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
      absl::string_view value = line;
      if (value.substr(0, 12) != "PRETTY_NAME=") continue;
      value.remove_prefix(12);
      if (value.size() >= 2 && value.front() == '"') value = value.substr(1, value.size() - 2);
      return std::string(value);
    }
  }
  return "unknown";
}

// The first of these that PATH has, or empty.
std::string package_manager() {
  const char* const path = std::getenv("PATH");
  for (const char* name : {"apt-get", "dnf", "yum", "zypper", "pacman", "apk", "xbps-install",
                           "emerge", "nix", "brew", "pkg"}) {
    for (absl::string_view folder : absl::StrSplit(path ? path : "/usr/bin:/bin", ':')) {
      std::string file = absl::StrCat(folder, "/", name);
      if (!folder.empty() && ::access(file.c_str(), X_OK) == 0) return file;
    }
  }
  return {};
}

void print_system(std::ostream& out) {
  utsname system{};
  (void)::uname(&system);
  out << "system:          " << system.sysname << ' ' << system.release << " on " << system.machine
      << '\n';
  out << "distribution:    " << distribution() << '\n';
  const std::string packages = package_manager();
  out << "package manager: " << (packages.empty() ? "none in PATH" : packages) << '\n';
}

void print_cpus(const CpuLimits& limits, std::ostream& out) {
  out << "CPUs:            " << limits.usable << " usable of " << limits.online << " ("
      << limits.reason << ")\n";
  out << "  affinity:      " << limits.affinity << '\n';
  out << "  cgroup quota:  ";
  limits.quota > 0 ? out << limits.quota << " CPUs\n" : out << "none\n";
  out << "  threads left:  ";
  limits.threads_limit.empty()
      ? out << "no limit\n"
      : out << limits.threads_left << ", by " << limits.threads_limit << '\n';
}

void print_backends(const BackendProbe& probe, std::ostream& out) {
  out << "backends:\n";
  out << "  io_uring:      ";
  if (probe.io_uring) {
    out << "yes" << (probe.defer_taskrun ? ", DEFER_TASKRUN" : ", COOP_TASKRUN only")
        << (probe.single_issuer ? ", SINGLE_ISSUER" : "") << '\n';
  } else {
    out << "no; " << probe.reason << '\n';
  }
  out << "  epoll:         yes, through libuv\n";
  out << "  kqueue:        no, of macOS and the BSDs\n";
  out << "  IOCP:          no, of Windows\n";
}

void print_recommended(const BackendProbe& probe, std::ostream& out) {
  const ModelAdvice advice = recommended_execution_model();
  out << "recommended, and what Config::optimal() takes:\n";
  out << "  model:         " << name_of(advice.model) << ", workers " << advice.workers << "; "
      << advice.reason << '\n';
  const char* const word = std::getenv(kBackendVariable);
  if (word && *word) {
    out << "  backend:       " << word << "; " << kBackendVariable << " decides\n";
  } else {
    out << "  backend:       "
        << (probe.io_uring ? "io_uring; a worker sleeps and does its I/O with one system call\n"
                           : "libuv; io_uring is refused\n");
  }
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < kFilesEnough) {
    out << "  open files:    raise the limit of " << files.rlim_cur
        << " for servers of many connections (ulimit -n, LimitNOFILE=)\n";
  }
  for (const std::string& warning : Config::optimal().warnings()) {
    out << "  careful:       " << warning << '\n';
  }
}

}  // namespace

void RuntimeDiagnostics::print_capabilities(std::ostream& out) {
  const BackendProbe& probe = probe_backends();
  print_system(out);
  print_cpus(cpu_limits(), out);
  print_backends(probe, out);
  print_recommended(probe, out);
}

}  // namespace zsync
