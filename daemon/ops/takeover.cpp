#include "daemon/ops/takeover.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"

namespace zsync::daemon {
namespace {

constexpr char kVariable[] = "ZSYNC_TAKEOVER";
constexpr size_t kFailureBytesMax = 4096;  // it goes into a variable
constexpr std::array<int, 6> kFatal = {SIGSEGV, SIGABRT, SIGBUS, SIGILL, SIGFPE, SIGALRM};

char signal_stack[64 << 10];  // of the thread that makes the guard, whose own may have run out

std::string encode(const Inheritance& given) {
  return absl::StrCat(
      "listener=", given.listener, "\nlock=", given.lock, "\nbefore=", given.before,
      "\nfrom=", given.from, "\nprogram=", given.program, "\nbegan=", given.began_unix_nano,
      "\nengines=", given.engines_ran ? 1 : 0, "\nopen_files=", given.open_files_soft,
      "\nfailure=", absl::StrReplaceAll(given.failure, {{"\n", " "}}),
      absl::StrJoin(given.arguments, "", [](std::string* out, const std::string& argument) {
        absl::StrAppend(out, "\nargument=", absl::CEscape(argument));
      }));
}

// The environment of the program before, as the next one may have been given another: by a script.
// It may be larger than one variable can be.
int keep_environment(const std::vector<std::string>& environment) {
  const int fd = memfd_create("zsync-environment", 0);
  std::string text;
  for (const std::string& one : environment) text.append(one).push_back('\0');
  for (size_t at = 0; fd >= 0 && at < text.size();) {
    const ssize_t size = write(fd, text.data() + at, text.size() - at);
    if (size <= 0) break;
    at += static_cast<size_t>(size);
  }
  return fd;
}

std::vector<std::string> kept_environment(int fd) {
  std::string text;
  char buffer[16 << 10];
  ssize_t size = 0;
  while ((size = pread(fd, buffer, sizeof buffer, static_cast<off_t>(text.size()))) > 0) {
    text.append(buffer, static_cast<size_t>(size));
  }
  if (fd >= 0) close(fd);
  return absl::StrSplit(text, '\0', absl::SkipEmpty());
}

std::optional<Inheritance> decode(const char* text) {
  Inheritance given;
  std::map<std::string, std::string> fields;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    std::pair<std::string, std::string> field = absl::StrSplit(line, absl::MaxSplits('=', 1));
    if (field.first != "argument") {
      fields.insert(std::move(field));
    } else if (!absl::CUnescape(field.second, &given.arguments.emplace_back())) {
      return std::nullopt;
    }
  }
  int engines = 0;
  int environment = -1;
  const bool whole = absl::SimpleAtoi(fields["environment"], &environment) &&
                     absl::SimpleAtoi(fields["listener"], &given.listener) &&
                     absl::SimpleAtoi(fields["lock"], &given.lock) &&
                     absl::SimpleAtoi(fields["before"], &given.before) &&
                     absl::SimpleAtoi(fields["began"], &given.began_unix_nano) &&
                     absl::SimpleAtoi(fields["engines"], &engines) &&
                     absl::SimpleAtoi(fields["open_files"], &given.open_files_soft);
  if (!whole || fcntl(given.listener, F_GETFD) < 0) return std::nullopt;
  given.environment = kept_environment(environment);
  given.from = fields["from"];
  given.program = fields["program"];
  given.failure = fields["failure"];
  given.engines_ran = engines != 0;
  return given;
}

void keep_on_exec(const Inheritance& given, bool keep) {
  for (int fd : {given.listener, given.lock, given.before}) {
    if (fd >= 0) fcntl(fd, F_SETFD, keep ? 0 : FD_CLOEXEC);
  }
}

std::vector<char*> pointers_to(const std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (const std::string& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// The environment of the next program, with `given` in it. Its copy: what it is made of may go.
struct Environment {
  Environment(const Inheritance& given, int kept) : variables(given.environment) {
    variables.push_back(absl::StrCat(kVariable, "=environment=", kept, "\n", encode(given)));
    pointers = pointers_to(variables);
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
  std::vector<std::string> variables;
  std::vector<char*> pointers;
};

void execute_open_file(int fd, char** argv, char** env) {
  syscall(SYS_execveat, fd, "", argv, env, AT_EMPTY_PATH);
}

// What the handler needs, made before it can be called: it must not allocate.
struct Armed {
  explicit Armed(Inheritance given)
      : inheritance(std::move(given)), argv(pointers_to(inheritance.arguments)) {
    for (int signal : kFatal) {
      Inheritance failed = inheritance;
      failed.failure = signal == SIGALRM
                           ? absl::StrCat("it did not serve within ", kTakeoverLimit.count(), " s")
                           : absl::StrCat("it was ended by SIG", sigabbrev_np(signal));
      by_signal.insert_or_assign(signal, std::make_unique<Environment>(failed, -1));
    }
  }
  Inheritance inheritance;
  std::vector<char*> argv;
  std::map<int, std::unique_ptr<Environment>> by_signal;
};

std::atomic<Armed*> armed{nullptr};  // of this process; set while its guard is

// A signal may just be reading what is replaced, so nothing is freed.
void arm(Inheritance given) {
  static std::vector<std::unique_ptr<Armed>> all;
  all.push_back(std::make_unique<Armed>(std::move(given)));
  armed = all.back().get();
}

void give_back_after(int signal) {
  keep_on_exec(armed.load()->inheritance, true);
  char** env = armed.load()->by_signal.find(signal)->second->pointers.data();
  execute_open_file(armed.load()->inheritance.before, armed.load()->argv.data(), env);
  ::signal(signal, SIG_DFL);
  raise(signal);
}

void handle_fatal(void (*handler)(int)) {
  struct sigaction action{};
  action.sa_handler = handler;
  action.sa_flags = SA_ONSTACK;
  sigset_t fatal;
  sigemptyset(&fatal);
  for (int signal : kFatal) {
    sigaction(signal, &action, nullptr);
    sigaddset(&fatal, signal);
  }
  // A program that is executed by the handler starts with its signal blocked.
  pthread_sigmask(SIG_UNBLOCK, &fatal, nullptr);
}

}  // namespace

std::optional<Inheritance> take_inheritance() {
  const char* text = getenv(kVariable);
  if (!text) return std::nullopt;
  std::optional<Inheritance> given = decode(text);
  unsetenv(kVariable);
  alarm(0);
  if (!given) return std::nullopt;
  // What engines kept for themselves is not for commands that start meanwhile.
  (void)close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
  keep_on_exec(*given, false);
  handle_fatal(SIG_DFL);
  return given;
}

absl::Status hand_over(const Inheritance& inheritance) {
  const int kept = inheritance.failure.empty() ? keep_environment(inheritance.environment) : -1;
  Environment env(inheritance, kept);
  std::vector<char*> argv = pointers_to(inheritance.arguments);
  keep_on_exec(inheritance, true);
  // Also a program that knows nothing of all this does not hold the process for ever.
  alarm(static_cast<unsigned>(kTakeoverLimit.count()));
  if (inheritance.failure.empty()) {
    execve(inheritance.program.c_str(), argv.data(), env.pointers.data());
  } else {
    execute_open_file(inheritance.before, argv.data(), env.pointers.data());
  }
  const int error = errno;
  alarm(0);
  if (kept >= 0) close(kept);
  keep_on_exec(inheritance, false);
  return absl::ErrnoToStatus(error, absl::StrCat("executing \"", inheritance.program, "\""));
}

absl::StatusOr<int> open_own_program() {
  const int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return absl::ErrnoToStatus(errno, "opening this program (/proc/self/exe)");
  return fd;
}

TakeoverGuard::TakeoverGuard(const Inheritance& inheritance) {
  arm(inheritance);
  stack_t stack{};
  stack.ss_sp = signal_stack;
  stack.ss_size = sizeof signal_stack;
  sigaltstack(&stack, nullptr);
  handle_fatal(give_back_after);
  alarm(static_cast<unsigned>(kTakeoverLimit.count()));
}

void TakeoverGuard::engines_run() {
  if (!armed.load()) return;
  Inheritance given = armed.load()->inheritance;
  given.engines_ran = true;
  arm(std::move(given));
}

void TakeoverGuard::give_back(const std::string& why) {
  if (!armed.load()) return;
  Inheritance given = armed.load()->inheritance;
  given.failure = why.substr(0, kFailureBytesMax);
  (void)hand_over(given);
}

void TakeoverGuard::disarm() {
  if (!armed.load()) return;
  alarm(0);
  handle_fatal(SIG_DFL);
  close(armed.load()->inheritance.before);
  armed = nullptr;
}

}  // namespace zsync::daemon
