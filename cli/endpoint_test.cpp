#include "zsync/client/endpoint.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>

#include "cli/testing/cli_run.hpp"
#include "zsync/client.hpp"

namespace zsync::cli::testing {
namespace {

using ::testing::HasSubstr;

class Endpoint : public ::testing::Test {
 protected:
  Endpoint() {
    char name[] = "/tmp/zsync-endpoint-XXXXXX";
    directory_ = ::mkdtemp(name);
    ::setenv("ZSYNC_STATE_DIR", (directory_ + "/state").c_str(), 1);
    ::unsetenv("ZSYNC_SOCKET");
  }
  ~Endpoint() override {
    std::ifstream pids(directory_ + "/pids");
    for (int pid; pids >> pid;) ::kill(pid, SIGKILL);
    std::filesystem::remove_all(directory_);
  }
  // A zsyncd that notes its pid, listens after a moment and stays.
  std::string write_daemon() const {
    const std::string path = directory_ + "/zsyncd";
    std::ofstream(path) << "#!/usr/bin/python3\n"
                           "import os, socket, sys, time\n"
                           "open('" +
                               directory_ +
                               "/pids', 'a').write(f'{os.getpid()}\\n')\n"
                               "print('hello log', flush=True)\n"
                               "time.sleep(0.05)\n"
                               "s = socket.socket(socket.AF_UNIX)\n"
                               "s.bind(sys.argv[2])\n"
                               "s.listen(64)\n"
                               "time.sleep(60)\n";
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    return path;
  }
  int daemons() const {
    std::ifstream pids(directory_ + "/pids");
    int count = 0;
    for (int pid; pids >> pid;) ++count;
    return count;
  }
  std::string directory_;
};

TEST_F(Endpoint, TheSocketIsTheOneAskedForElseTheEnvironmentsElseTheRuntimeDirs) {
  EXPECT_EQ(*client::socket_path("/a/b"), "/a/b");
  ::setenv("ZSYNC_SOCKET", "/from/env", 1);
  EXPECT_EQ(*client::socket_path(""), "/from/env");
  ::unsetenv("ZSYNC_SOCKET");
  ::setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
  EXPECT_EQ(*client::socket_path(""), "/run/user/7/zsync/zsyncd.sock");
  ::unsetenv("XDG_RUNTIME_DIR");
  EXPECT_EQ(*client::socket_path(""), directory_ + "/state/zsyncd.sock");
}

TEST_F(Endpoint, AStaleSocketIsToldFromAMissingOne) {
  const std::string path = directory_ + "/s";
  EXPECT_THAT(std::string(client::probe(path).message()), HasSubstr("no zsyncd at " + path + ":"));
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, path.c_str());
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(fd, 1), 0);
  EXPECT_TRUE(client::probe(path).ok());
  ::close(fd);
  EXPECT_THAT(std::string(client::probe(path).message()), HasSubstr("nobody listens"));
}

TEST_F(Endpoint, TenClientsAtOnceStartOneDaemon) {
  const std::string daemon = write_daemon();
  const std::string socket = directory_ + "/s";
  std::vector<std::thread> clients;
  std::atomic<int> started{0}, failed{0};
  for (int i = 0; i < 10; ++i) {
    clients.emplace_back([&] {
      const auto result = client::ensure_daemon(socket, daemon);
      if (!result.ok()) ++failed;
      if (result.ok() && result->started) ++started;
    });
  }
  for (std::thread& one : clients) one.join();
  EXPECT_EQ(failed, 0);
  EXPECT_EQ(started, 1);
  EXPECT_EQ(daemons(), 1);
  std::ifstream log(directory_ + "/state/zsyncd.log");
  std::string line;
  std::getline(log, line);
  EXPECT_EQ(line, "hello log");
}

TEST_F(Endpoint, TheDaemonOutlivesItsStarterInASessionOfItsOwn) {
  const auto result = client::ensure_daemon(directory_ + "/s", write_daemon());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(::getsid(static_cast<pid_t>(result->pid)), result->pid);
}

TEST_F(Endpoint, ADaemonThatEndsAtOnceIsAnErrorThatNamesTheLog) {
  const auto result = client::ensure_daemon(directory_ + "/s", "/bin/false");
  EXPECT_TRUE(absl::IsUnavailable(result.status()));
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("zsyncd.log"));
}

TEST_F(Endpoint, AMissingProgramIsNotFound) {
  EXPECT_TRUE(absl::IsNotFound(client::ensure_daemon(directory_ + "/s", "/no/zsyncd").status()));
}

TEST_F(Endpoint, ConnectingStartsADaemonAndTellsSo) {
  client::Options options;
  options.socket = directory_ + "/s";
  options.autostart = true;
  options.daemon_path = write_daemon();
  long pid = 0;
  options.on_started = [&](long started) { pid = started; };
  const auto client = client::Client::connect(options);
  ASSERT_TRUE(client.ok()) << client.status();
  EXPECT_GT(pid, 0);
  EXPECT_EQ((*client)->socket(), directory_ + "/s");
}

// A runtime directory in which a user's service manager runs, and its systemctl.
class ServiceManager : public Endpoint {
 protected:
  ServiceManager() : path_(variable("PATH")) {
    ::unsetenv("ZSYNC_STATE_DIR");
    ::setenv("XDG_STATE_HOME", (directory_ + "/home").c_str(), 1);
    ::setenv("XDG_RUNTIME_DIR", directory_.c_str(), 1);
    ::setenv("PATH", (directory_ + ":" + path_).c_str(), 1);
    std::filesystem::create_directory(directory_ + "/systemd");
    std::ofstream(directory_ + "/systemd/private");
  }
  ~ServiceManager() override {
    ::setenv("PATH", path_.c_str(), 1);
    ::unsetenv("XDG_RUNTIME_DIR");
    ::unsetenv("XDG_STATE_HOME");
  }
  // `then`: shell lines after its words were noted.
  void write_systemctl(const std::string& then) const {
    const std::string path = directory_ + "/systemctl";
    std::ofstream(path) << "#!/bin/sh\necho \"$@\" >" << directory_ << "/asked\n" << then << "\n";
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  }
  std::string asked() const {
    std::ifstream file(directory_ + "/asked");
    std::string line;
    std::getline(file, line);
    return line;
  }
  static std::string variable(const char* name) {
    const char* value = ::getenv(name);
    return value == nullptr ? "" : value;
  }

  const std::string path_;
  const std::string socket_ = directory_ + "/zsync/zsyncd.sock";
};

TEST_F(ServiceManager, StartsTheSocketUnitForTheDefaultPath) {
  write_systemctl(write_daemon() + " --socket " + socket_ + " &\nwhile [ ! -S " + socket_ +
                  " ]; do sleep 0.01; done");
  const auto result = client::ensure_daemon(socket_, "");
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(result->started);
  EXPECT_EQ(result->pid, 0);
  EXPECT_EQ(asked(), "--user --quiet start zsyncd.socket");
  EXPECT_EQ(daemons(), 1);
}

TEST_F(ServiceManager, ThatDoesNotKnowTheUnitLeavesTheStartToTheClient) {
  write_systemctl("exit 5");
  const std::string program = write_daemon();
  const auto result = client::ensure_daemon(socket_, "");
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_GT(result->pid, 0);
  EXPECT_EQ(asked(), "--user --quiet start zsyncd.socket");
}

TEST_F(ServiceManager, IsNotAskedForAnotherPathOrAnotherProgram) {
  write_systemctl("exit 0");
  const std::string program = write_daemon();
  EXPECT_GT(client::ensure_daemon(directory_ + "/other", "")->pid, 0);
  EXPECT_GT(client::ensure_daemon(socket_, program)->pid, 0);
  EXPECT_EQ(asked(), "");
}

}  // namespace
}  // namespace zsync::cli::testing
