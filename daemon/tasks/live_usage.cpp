#include "daemon/tasks/live_usage.hpp"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace zsync::daemon {
namespace {

std::string read_file(pid_t pid, const char* name) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/", name));
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// Fields of stat(5) from the third on: what stands before may hold anything.
std::vector<std::string> stat_of(pid_t pid) {
  const std::string text = read_file(pid, "stat");
  const size_t end = text.rfind(") ");
  if (end == text.npos) return {};
  return absl::StrSplit(text.substr(end + 2), ' ', absl::SkipWhitespace());
}

uint64_t number(const std::vector<std::string>& fields, size_t index) {
  uint64_t value = 0;
  return index < fields.size() && absl::SimpleAtoi(fields[index], &value) ? value : 0;
}

// "VmHWM:     1234 kB"
uint64_t number_after(const std::string& text, absl::string_view name) {
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (!absl::StartsWith(line, name)) continue;
    line.remove_prefix(name.size());
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    uint64_t value = 0;
    return !words.empty() && absl::SimpleAtoi(words[0], &value) ? value : 0;
  }
  return 0;
}

void add_children(pid_t pid, std::vector<pid_t>& found, std::set<pid_t>& seen) {
  std::error_code error;
  for (const auto& thread :
       std::filesystem::directory_iterator(absl::StrCat("/proc/", pid, "/task"), error)) {
    std::ifstream children(thread.path() / "children");
    for (pid_t child = 0; children >> child && found.size() < kLiveProcessesMax;) {
      if (seen.insert(child).second) found.push_back(child);
    }
  }
}

void add_cpu(shim::Usage& total, uint64_t user_ticks, uint64_t system_ticks) {
  static const uint64_t us_per_tick = 1'000'000 / static_cast<uint64_t>(sysconf(_SC_CLK_TCK));
  total.cpu_user_us += user_ticks * us_per_tick;
  total.cpu_system_us += system_ticks * us_per_tick;
}

// As stat(5) numbers them, less the three that stand before.
constexpr size_t kParent = 1;
constexpr size_t kUser = 11;
constexpr size_t kSystem = 12;
constexpr size_t kEndedUser = 13;  // of children that were waited for
constexpr size_t kEndedSystem = 14;

void add_process(LiveUsage& usage, pid_t pid, const std::vector<std::string>& stat) {
  ++usage.processes;
  shim::Usage& total = usage.total;
  add_cpu(total, number(stat, kUser) + number(stat, kEndedUser),
          number(stat, kSystem) + number(stat, kEndedSystem));
  const std::string status = read_file(pid, "status");
  usage.memory_bytes += number_after(status, "VmRSS:") << 10;
  total.memory_peak_bytes = std::max(total.memory_peak_bytes, number_after(status, "VmHWM:") << 10);
  const std::string io = read_file(pid, "io");
  total.io_read_bytes += number_after(io, "read_bytes:");
  total.io_written_bytes += number_after(io, "write_bytes:");
}

}  // namespace

LiveUsage live_usage(pid_t pid) {
  LiveUsage usage;
  const pid_t supervisor = static_cast<pid_t>(number(stat_of(pid), kParent));
  if (supervisor <= 1) return usage;  // it has just ended
  const std::vector<std::string> own = stat_of(supervisor);
  add_cpu(usage.total, number(own, kEndedUser), number(own, kEndedSystem));
  std::vector<pid_t> found;
  std::set<pid_t> seen;
  add_children(supervisor, found, seen);
  for (size_t i = 0; i < found.size(); ++i) {
    const std::vector<std::string> stat = stat_of(found[i]);
    if (stat.empty()) continue;
    add_process(usage, found[i], stat);
    add_children(found[i], found, seen);
  }
  return usage;
}

}  // namespace zsync::daemon
