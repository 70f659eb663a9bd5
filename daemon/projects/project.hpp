// What a project is: the steps and services that its zsync.yaml names, checked and normalized.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "daemon/channels/engine.hpp"

namespace zsync::daemon {

// Limits of one file.
inline constexpr size_t kProjectFileBytesMax = 256 << 10;
inline constexpr size_t kProjectUnitsMax = 256;  // steps and services together
inline constexpr size_t kProjectTriggersMax = 64;
inline constexpr size_t kProjectChannelsMax = 64;
inline constexpr size_t kProjectNameBytesMax = 63;      // of a project, a step, a service
inline constexpr size_t kProjectListMax = 64;           // names in one list: after, locks, ...
inline constexpr size_t kProjectProblemsMax = 100;      // that are told of one file
inline constexpr size_t kReadyTextBytesMax = 1024;      // of a log line, a path
inline constexpr uint64_t kReadyTimeoutMs = 60'000;     // unless the file says otherwise
inline constexpr uint64_t kReadyIntervalMs = 200;       // tcp, http
inline constexpr uint64_t kReadyExecIntervalMs = 1000;  // each try is a task
inline constexpr uint64_t kBackoffMs = 1000;
inline constexpr uint64_t kBackoffMaxMs = 60'000;
inline constexpr uint32_t kRestartsMax = 10;  // in a row
inline constexpr uint64_t kProjectTimeMsMax = 24ull * 3600 * 1000;

// A command: argv, or a line for the shell.
struct ProjectCommand {
  std::vector<std::string> run;
  std::string shell;
};

enum class ReadyKind : uint8_t {
  kStarted,  // its process runs
  kLog,      // a line of its output holds the text
  kTcp,      // its port takes a connection
  kHttp,     // GET on its port is answered with 200 to 399
  kExec,     // a command succeeds
};

struct ReadySpec {
  ReadyKind kind = ReadyKind::kStarted;
  std::string text;     // kLog: what the line holds; kHttp: the path
  uint16_t port = 0;    // kTcp, kHttp: 0: the service's own
  ProjectCommand exec;  // kExec
  uint64_t timeout_ms = kReadyTimeoutMs;
  uint64_t interval_ms = kReadyIntervalMs;
};

enum class RestartWhen : uint8_t { kNo, kOnFailure, kAlways };

struct RestartSpec {
  RestartWhen when = RestartWhen::kNo;
  uint64_t backoff_ms = kBackoffMs;  // doubled after each failure in a row
  uint64_t backoff_max_ms = kBackoffMaxMs;
  uint32_t max = kRestartsMax;
};

enum class PortKind : uint8_t { kNone, kAuto, kFixed };

// A step runs to its end; a service is kept running.
struct UnitSpec {
  std::string name;
  bool service = false;
  ProjectCommand command;
  std::string cwd;  // absolute, or below the project's directory; empty: that directory
  std::map<std::string, std::string> env;
  std::vector<std::string> after;
  std::vector<std::string> locks;
  // Of a step; 0: none.
  uint64_t timeout_ms = 0;   // of its run
  uint64_t deadline_ms = 0;  // of its run and the wait before
  std::vector<std::string> matchers;
  std::vector<std::string> inputs;   // globs: the files that it reads; empty: not known
  std::vector<std::string> outputs;  // globs: the files that it makes
  bool on_save = false;              // changed inputs, its own or those of before, start it again
  // Of a service.
  PortKind port_kind = PortKind::kNone;
  uint16_t port = 0;  // kFixed
  ReadySpec ready;
  RestartSpec restart;
  std::vector<std::string> restart_on;  // steps
};

// Units that wait for each other, as a way from one back to itself; empty: the way from the first
// of `left` leaves them.
std::vector<std::string> circle_in(const std::vector<UnitSpec>& left);

// A command that zsyncd runs on changes while the project is up.
struct TriggerEntry {
  std::string name;
  ProjectCommand command;
  std::string dir;                 // watched, below the project's directory; empty: that directory
  std::vector<std::string> globs;  // empty: every path
  std::vector<std::string> ignore;
  std::vector<std::string> writes;
  uint64_t settle_ms = 0;             // 0: the watch's own
  std::vector<std::string> matchers;  // as in UnitSpec
  std::string cwd;  // absolute, or below the project's directory; empty: that directory
  std::map<std::string, std::string> env;
  std::vector<std::string> locks;
  uint64_t timeout_ms = 0;   // of its run; 0: none
  uint64_t deadline_ms = 0;  // of its run and the wait before; 0: none
};

// A channel that the project makes where it is missing. What the file does not say is the default
// of a new one, and any of one that is there.
struct ChannelEntry {
  std::string name;
  std::optional<ChannelClass> kind;
  std::optional<ChannelForm> form;
  std::optional<uint64_t> capacity;  // 0: unbounded
  std::optional<Overflow> overflow;
  std::optional<int64_t> retention_age_ns;
  int line = 1;  // of its name in the file
  int column = 1;
};

struct ProjectSpec {
  std::string name;             // empty: the file names none
  std::vector<UnitSpec> units;  // what others wait for comes first
  std::vector<TriggerEntry> triggers;
  std::vector<ChannelEntry> channels;

  // Its place in `units`, or -1.
  int find(const std::string& name) const;
};

std::vector<std::string> channel_names(const ProjectSpec& spec);

// All that decides how a unit is run, as one text: a unit whose text changed has to be started
// anew.
std::string normalized(const UnitSpec& unit);

// "api-2" -> "API_2_PORT": where others find a service's port.
std::string port_variable(const std::string& unit);

// Letters, digits, '-', '_' and '.', from a letter or a digit on.
bool is_project_word(const std::string& text);

}  // namespace zsync::daemon
