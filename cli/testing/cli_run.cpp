#include "cli/testing/cli_run.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>

#include "cli/app.hpp"

namespace zsync::cli::testing {
namespace {

int memory_file(const std::string& content) {
  const int fd = ::memfd_create("stream", MFD_CLOEXEC);
  if (::write(fd, content.data(), content.size()) < 0) std::abort();
  ::lseek(fd, 0, SEEK_SET);
  return fd;
}

std::string content_of(int fd) {
  ::lseek(fd, 0, SEEK_SET);
  std::string text;
  char buffer[4096];
  ssize_t got;
  while ((got = ::read(fd, buffer, sizeof buffer)) > 0)
    text.append(buffer, static_cast<std::size_t>(got));
  ::close(fd);
  return text;
}

CliResult run_with(const std::vector<std::string>& args, int in) {
  Io io{in, memory_file(""), memory_file("")};
  const int code = run_cli(args, io);
  ::close(in);
  return {code, content_of(io.out), content_of(io.err)};
}

int null_stdin() { return ::open("/dev/null", O_RDONLY | O_CLOEXEC); }

}  // namespace

CliResult run(FakeServer& server, std::vector<std::string> args,
              const std::optional<std::string>& input) {
  ::setenv("ZSYNC_SOCKET", server.socket().c_str(), 1);
  ::setenv("ZSYNC_STATE_DIR", server.directory().c_str(), 1);
  args.insert(args.begin(), "--no-autostart");
  return run_with(args, input.has_value() ? memory_file(*input) : null_stdin());
}

CliResult run_alone(std::vector<std::string> args) { return run_with(args, null_stdin()); }

Process::Process(const std::vector<std::string>& argv,
                 const std::vector<std::string>& environment) {
  int out[2], err[2];
  if (::pipe2(out, O_CLOEXEC) != 0 || ::pipe2(err, O_CLOEXEC) != 0) std::abort();
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  posix_spawn_file_actions_adddup2(&actions, err[1], 2);
  std::vector<char*> words, variables;
  for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  for (const std::string& one : environment) variables.push_back(const_cast<char*>(one.c_str()));
  for (char** one = environ; *one != nullptr; ++one) variables.push_back(*one);
  words.push_back(nullptr);
  variables.push_back(nullptr);
  if (::posix_spawn(&pid_, words[0], &actions, nullptr, words.data(), variables.data()) != 0) {
    std::abort();
  }
  posix_spawn_file_actions_destroy(&actions);
  ::close(out[1]);
  ::close(err[1]);
  out_ = out[0];
  err_ = err[0];
}

Process::~Process() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  if (out_ >= 0) ::close(out_);
  if (err_ >= 0) ::close(err_);
}

void Process::signal(int number) const { ::kill(pid_, number); }

void Process::close_stdout() {
  ::close(out_);
  out_ = -1;
}

void Process::read_some() {
  pollfd fds[2] = {{out_, POLLIN, 0}, {err_, POLLIN, 0}};
  ::poll(fds, 2, 100);
  for (int i = 0; i < 2; ++i) {
    if (fds[i].fd < 0 || fds[i].revents == 0) continue;
    char buffer[4096];
    const ssize_t got = ::read(fds[i].fd, buffer, sizeof buffer);
    if (got > 0) {
      (i == 0 ? result_.out : result_.err).append(buffer, static_cast<std::size_t>(got));
    } else {
      ::close(fds[i].fd);
      (i == 0 ? out_ : err_) = -1;
    }
  }
}

bool Process::prints(const std::string& text) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (result_.out.find(text) == std::string::npos) {
    if (out_ < 0 || std::chrono::steady_clock::now() > deadline) return false;
    read_some();
  }
  return true;
}

CliResult Process::wait() {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (out_ >= 0 || err_ >= 0) {
    if (std::chrono::steady_clock::now() > deadline) ::kill(pid_, SIGKILL);
    read_some();
  }
  int status = 0;
  ::waitpid(pid_, &status, 0);
  pid_ = -1;
  result_.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return std::move(result_);
}

std::string program() {
  const char* directory = std::getenv("ZSYNC_BIN");
  return std::string(directory == nullptr ? "." : directory) + "/zsyncctl";
}

bool eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    ::poll(nullptr, 0, 2);
  }
  return true;
}

}  // namespace zsync::cli::testing
