// probe, spawn, start, idle: the disk, processes, the daemon as a process.
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "tests/bench/client/commands.hpp"
#include "tests/bench/client/disk_probe.hpp"
#include "tests/bench/client/measure.hpp"
#include "zsync/client.hpp"

namespace zsync::bench {
namespace {

constexpr int kStartTriesMax = 50'000;  // of 200 us

// What follows `--`.
Words command_of(const Words& words) {
  const auto mark = std::find(words.begin(), words.end(), "--");
  return mark == words.end() ? Words{} : Words(mark + 1, words.end());
}

// The pid, or -1. Output goes to /dev/null.
pid_t start_process(const Words& command) {
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  pid_t pid = -1;
  const int code = posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  return code == 0 ? pid : -1;
}

}  // namespace

int probe(const Words& words) {
  DiskProbe disk(words[0]);
  if (!disk.ok()) return fail(words[0], absl::UnavailableError("cannot write there"));
  Series series;
  for (int i = 0; i < std::atoi(words[1].c_str()); ++i) {
    const int64_t ns = disk.append(std::atoi(words[2].c_str()));
    if (ns < 0) return fail(words[0], absl::UnavailableError("the disk refused a write"));
    series.add(ns);
  }
  Answer().series("fsync", series).print();
  return 0;
}

int spawn(const Words& words) {
  const Words command = command_of(words);
  Series series;
  double cpu_seconds = 0;
  int64_t switches = 0;
  for (int i = 0; i < std::atoi(words[0].c_str()); ++i) {
    const int64_t start = now_ns();
    const pid_t pid = start_process(command);
    int status = -1;
    rusage used{};
    if (pid < 0 || wait4(pid, &status, 0, &used) != pid || status != 0) {
      return fail(command[0], absl::InternalError("did not end with 0"));
    }
    series.add(now_ns() - start);
    cpu_seconds += static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                   static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    switches += used.ru_nvcsw;
  }
  const auto count = static_cast<double>(std::max<size_t>(1, series.size()));
  Answer()
      .series("wall", series)
      .number("cpu_us", cpu_seconds * 1e6 / count)
      .number("switches", static_cast<double>(switches) / count)
      .print();
  return 0;
}

int start(const Words& words) {
  const Words command = command_of(words);
  const int64_t begin = now_ns();
  const pid_t pid = start_process(command);
  if (pid < 0) return fail(command[0], absl::NotFoundError("cannot be started"));
  int tries = kStartTriesMax;
  while (!client::probe(words[0]).ok()) {
    int status = 0;
    if (--tries == 0 || waitpid(pid, &status, WNOHANG) == pid) {
      return fail(command[0], absl::UnavailableError("it does not accept"));
    }
    const timespec pause{0, 200'000};
    ppoll(nullptr, 0, &pause, nullptr);
  }
  const int64_t accepted = now_ns();
  client::Options options;
  options.socket = words[0];
  auto client = client::Client::connect(options);
  if (!client.ok()) return fail("connect", client.status());
  const auto info = (*client)->daemon().info();
  const int64_t replied = now_ns();
  if (!info.ok()) return fail("info", info.status());
  Answer()
      .number("pid", static_cast<double>(pid))
      .number("accept_ms", static_cast<double>(accepted - begin) / 1e6)
      .number("reply_ms", static_cast<double>(replied - begin) / 1e6)
      .print();
  return 0;
}

int idle(const Words& words) {
  client::Options options;
  options.socket = words[0];
  auto client = client::Client::connect(options);
  if (!client.ok()) return fail("connect", client.status());
  const auto info = (*client)->daemon().info();
  if (!info.ok()) return fail("info", info.status());
  std::printf("ready\n");
  std::fflush(stdout);
  poll(nullptr, 0, std::atoi(words[1].c_str()) * 1000);
  return 0;
}

}  // namespace zsync::bench
