#include "daemon/ops/upgrade.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "daemon/fault/fault.hpp"
#include "daemon/ops/environment.hpp"
#include "daemon/store/schema.hpp"
#include "daemon/store/segment_log.hpp"
#include "zsync/runtime.hpp"

namespace zsync::daemon {
namespace {

constexpr absl::string_view kPassed = "zsyncd check passed: version ";
constexpr size_t kOutputBytesMax = 64 << 10;  // of a check
constexpr size_t kOutputBytesTold = 2048;     // its end, in an error
constexpr int kStopLookMs = 50;               // how often a cancel is looked for

absl::Status bad_program(const std::string& text, const std::string& hint) {
  return fault(absl::StatusCode::kInvalidArgument, text, {"program", "INVALID", "", hint, {}});
}

absl::StatusOr<std::string> resolve(std::string program) {
  if (program.empty()) program = own_program();
  if (program.find('\0') != std::string::npos || !absl::StartsWith(program, "/")) {
    return bad_program(absl::StrCat("\"", program, "\" is no absolute path"),
                       "name the new zsyncd by its whole path");
  }
  struct stat file{};
  if (stat(program.c_str(), &file) != 0) {
    return bad_program(absl::StrCat("no program \"", program, "\""),
                       "install it first, or name another one");
  }
  if (!S_ISREG(file.st_mode) || access(program.c_str(), X_OK) != 0) {
    return bad_program(absl::StrCat("\"", program, "\" cannot be executed"),
                       "name a file that may be executed");
  }
  return program;
}

// Starts a program in a process group of its own -> its output and errors, and its pid. Not a
// zsync::Process: ended children of this process leave no exit code (SA_NOCLDWAIT), so what it
// prints decides.
absl::StatusOr<std::pair<segment_log::Fd, pid_t>> start(const std::vector<std::string>& words) {
  int output[2];
  if (pipe2(output, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "making a pipe");
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, output[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output[1], STDERR_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigset_t usual;
  sigemptyset(&none);
  sigemptyset(&usual);
  sigaddset(&usual, SIGPIPE);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &usual);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  pid_t pid = 0;
  const int error = posix_spawn(&pid, argv[0], &actions, &attributes, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  close(output[1]);
  segment_log::Fd out(output[0]);
  if (error != 0) return absl::ErrnoToStatus(error, absl::StrCat("executing \"", words[0], "\""));
  return std::pair(std::move(out), pid);
}

// What a program has written when it, and whoever it started, closed its output.
absl::StatusOr<std::string> run_to_end(const std::vector<std::string>& words,
                                       const std::atomic<bool>& stop) {
  auto started = start(words);
  if (!started.ok()) return started.status();
  const auto& [out, pid] = *started;
  const auto until = std::chrono::steady_clock::now() + kCheckLimit;
  std::string text;
  while (true) {
    pollfd ready{out.get(), POLLIN, 0};
    const int count = poll(&ready, 1, kStopLookMs);
    const bool late = std::chrono::steady_clock::now() >= until;
    if (stop.load() || late) {
      // Somebody of the group holds our pipe, so the group has not ended.
      kill(-pid, SIGKILL);
      if (!late) return absl::CancelledError("the check was cancelled");
      return absl::DeadlineExceededError(absl::StrCat(
          "\"", words[0], "\" did not end its check within ", kCheckLimit.count(), " s"));
    }
    if (count <= 0) continue;
    char buffer[4096];
    const ssize_t size = read(out.get(), buffer, sizeof buffer);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return text;
    if (text.size() < kOutputBytesMax) text.append(buffer, static_cast<size_t>(size));
  }
}

absl::Status check_room(const std::string& dir, uint64_t needed) {
  struct statvfs disk{};
  if (statvfs(dir.c_str(), &disk) != 0) return absl::ErrnoToStatus(errno, "looking at the disk");
  const uint64_t free = uint64_t{disk.f_bavail} * disk.f_frsize;
  if (free >= needed) return absl::OkStatus();
  return fault(
      absl::StatusCode::kResourceExhausted,
      absl::StrCat("the memory channels need ", needed, " bytes of the disk meanwhile, and ", free,
                   " are free"),
      {"", "DISK_FULL", "", "make room in the state directory, or receive from them first", {}});
}

}  // namespace

Task<absl::StatusOr<Candidate>> Successor::find(std::string program, bool check_only) {
  Permit turn = co_await checking_.lock();
  auto stop = std::make_shared<std::atomic<bool>>(false);
  absl::StatusOr<Candidate> found = co_await rt::call_blocking(
      [this, program, stop] {
        return examine_candidate(program, argv_, store_, dir_ + "/check", *stop);
      },
      [stop] { stop->store(true); });
  if (!found.ok()) co_return found;
  if (absl::Status room = check_room(dir_, carried_()); !room.ok()) co_return room;
  if (check_only) co_return found;
  found->chosen_unix_nano = absl::ToUnixNanos(absl::Now());
  {
    rt::LockGuard guard(lock_);
    if (decided_) co_return absl::UnavailableError("zsyncd is stopping");
    chosen_ = *found;
  }
  asked_.notify_all();
  co_return found;
}

std::optional<Candidate> Successor::decide(bool none) {
  rt::LockGuard guard(lock_);
  decided_ = true;
  if (none) chosen_.reset();
  return chosen_;
}

std::optional<Candidate> Successor::chosen() {
  rt::LockGuard guard(lock_);
  return chosen_;
}

std::string check_passed() { return absl::StrCat(kPassed, ZSYNC_VERSION); }

absl::StatusOr<Candidate> examine_candidate(std::string program, char** argv, Store& store,
                                            const std::string& copy,
                                            const std::atomic<bool>& stop) {
  absl::StatusOr<std::string> path = resolve(std::move(program));
  if (!path.ok()) return path.status();
  std::error_code error;
  std::filesystem::remove_all(copy, error);
  std::filesystem::create_directories(copy, error);
  if (error) {
    return absl::UnavailableError(absl::StrCat("making \"", copy, "\": ", error.message()));
  }
  std::filesystem::permissions(copy, std::filesystem::perms::owner_all, error);
  absl::Status copied = store.read(
      [&copy](Database& db) { return copy_database(db, absl::StrCat(copy, "/store.db")); });
  if (!copied.ok()) return copied;
  std::vector<std::string> words{*path};
  for (char** word = argv + 1; *word; ++word) words.push_back(*word);
  words.insert(words.end(), {"--check", copy});
  absl::StatusOr<std::string> said = run_to_end(words, stop);
  std::filesystem::remove_all(copy, error);
  if (!said.ok()) return said.status();
  const std::vector<absl::string_view> lines =
      absl::StrSplit(absl::StripAsciiWhitespace(*said), '\n');
  absl::string_view version = lines.back();
  if (absl::ConsumePrefix(&version, kPassed)) return Candidate{*path, std::string(version)};
  absl::string_view end = absl::StripAsciiWhitespace(*said);
  if (end.size() > kOutputBytesTold) end.remove_prefix(end.size() - kOutputBytesTold);
  return fault(absl::StatusCode::kFailedPrecondition,
               absl::StrCat("\"", *path, "\" did not pass its check",
                            end.empty() ? " and said nothing" : ": ", end),
               {"program", "CHECK", "", "this zsyncd goes on; name a zsyncd that works", {}});
}

}  // namespace zsync::daemon
