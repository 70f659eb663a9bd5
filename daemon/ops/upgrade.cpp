#include "daemon/ops/upgrade.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <filesystem>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
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

// What a child has written when it closed its output; ended when it takes longer than kCheckLimit.
absl::StatusOr<std::string> run_to_end(const std::vector<std::string>& words) {
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
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  pid_t pid = 0;
  const int error = posix_spawn(&pid, argv[0], &actions, &attributes, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  close(output[1]);
  const segment_log::Fd out(output[0]);
  if (error != 0) return absl::ErrnoToStatus(error, absl::StrCat("executing \"", words[0], "\""));
  const segment_log::Fd process(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  const auto until = std::chrono::steady_clock::now() + kCheckLimit;
  std::string text;
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        until - std::chrono::steady_clock::now());
    pollfd ready{out.get(), POLLIN, 0};
    const int count = left.count() > 0 ? poll(&ready, 1, static_cast<int>(left.count())) : 0;
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      syscall(SYS_pidfd_send_signal, process.get(), SIGKILL, nullptr, 0);
      return absl::DeadlineExceededError(absl::StrCat(
          "\"", words[0], "\" did not end its check within ", kCheckLimit.count(), " s"));
    }
    char buffer[4096];
    const ssize_t size = read(out.get(), buffer, sizeof buffer);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return text;
    if (text.size() < kOutputBytesMax) text.append(buffer, static_cast<size_t>(size));
  }
}

}  // namespace

Task<absl::StatusOr<Candidate>> Successor::find(std::string program, bool check_only) {
  Permit turn = co_await checking_.lock();
  absl::StatusOr<Candidate> found = co_await rt::call_blocking(
      [&] { return examine_candidate(program, argv_, store_, copy_dir_); });
  if (!found.ok() || check_only) co_return found;
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  found->chosen_unix_nano = now.tv_sec * 1'000'000'000ll + now.tv_nsec;
  {
    rt::LockGuard guard(lock_);
    chosen_ = *found;
  }
  asked_.notify_all();
  co_return found;
}

std::optional<Candidate> Successor::chosen() {
  rt::LockGuard guard(lock_);
  return chosen_;
}

void Successor::withdraw() {
  rt::LockGuard guard(lock_);
  chosen_.reset();
}

std::string check_passed() { return absl::StrCat(kPassed, ZSYNC_VERSION); }

absl::StatusOr<Candidate> examine_candidate(std::string program, char** argv, Store& store,
                                            const std::string& copy) {
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
  absl::StatusOr<std::string> said = run_to_end(words);
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
