// For the shim's tests: a daemon's end of a connection, and a fixture around the real zsync-shim,
// found in the folder that ZSYNC_BIN names.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "daemon/shim/attempt.hpp"
#include "daemon/shim/launcher.hpp"
#include "daemon/store/segment_log_crc.hpp"

namespace zsync::daemon::shim {

inline constexpr int kShimNotExecuted = 3;
inline constexpr int kBoundMs = 20'000;  // of any single wait

// The daemon's end of one connection, answering as a daemon does.
class Daemon {
 public:
  explicit Daemon(segment_log::Fd socket) : socket_(std::move(socket)) {}

  // The next frame, Output frames acknowledged; nullopt at the end of the connection.
  std::optional<Frame> next() {
    while (true) {
      if (std::optional<Frame> frame = reader_.next()) {
        if (frame->type == FrameType::kOutput) send(encode_frame(FrameType::kAckOutput));
        return frame;
      }
      pollfd polled{socket_.get(), POLLIN, 0};
      if (::poll(&polled, 1, kBoundMs) <= 0) return std::nullopt;
      char buffer[65536];
      const ssize_t got = ::recv(socket_.get(), buffer, sizeof(buffer), 0);
      if (got <= 0) return std::nullopt;
      reader_.push({buffer, static_cast<size_t>(got)});
    }
  }
  std::optional<Frame> until(FrameType type) {
    while (std::optional<Frame> frame = next()) {
      if (frame->type == type) return frame;
    }
    return std::nullopt;
  }
  void send(std::string_view bytes) {
    while (!bytes.empty()) {
      pollfd polled{socket_.get(), POLLOUT, 0};
      ASSERT_GT(::poll(&polled, 1, kBoundMs), 0);
      const ssize_t sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent < 0) return;
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
  }

 private:
  segment_log::Fd socket_;
  FrameReader reader_;
};

class ShimFixture : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* bin = std::getenv("ZSYNC_BIN");
    if (bin == nullptr) GTEST_SKIP() << "ZSYNC_BIN does not name the folder of zsync-shim";
    program_ = std::string(bin) + "/zsync-shim";
    std::string pattern = (std::filesystem::temp_directory_path() / "shim_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    dir_ = root_ + "/1";
  }
  void TearDown() override {
    for (const pid_t pid : spawned_) {
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
    }
    if (root_.empty()) return;
    (void)::umount2((root_ + "/disk").c_str(), MNT_DETACH);
    std::filesystem::remove_all(root_);
  }

  Spec spec_of(std::vector<std::string> argv) {
    Spec spec;
    spec.task_id = "task_test";
    spec.argv = std::move(argv);
    spec.env = {"PATH=/usr/local/bin:/usr/bin:/bin", "ZSYNC_TASK_ID=task_test"};
    spec.cwd = root_;
    spec.kill_grace_ms = 5000;
    return spec;
  }
  Spec shell(const std::string& line) { return spec_of({"/bin/sh", "-c", line}); }

  void create(const Spec& spec, std::string_view input = {}) {
    const absl::Status status = create_attempt(dir_, spec, input);
    ASSERT_TRUE(status.ok()) << status;
  }
  Daemon spawn() {
    absl::StatusOr<SpawnedShim> shim = spawn_shim(program_, dir_);
    EXPECT_TRUE(shim.ok()) << shim.status();
    spawned_.push_back(shim->pid);
    pidfd_ = std::move(shim->pidfd);
    return Daemon(std::move(shim->connection));
  }
  // The next connection after one that was lost; the shim notices that by itself.
  Daemon reconnect() {
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(kBoundMs);
    while (true) {
      absl::StatusOr<segment_log::Fd> socket = connect_shim(dir_);
      if (socket.ok()) return Daemon(*std::move(socket));
      if (std::chrono::steady_clock::now() > until) {
        ADD_FAILURE() << socket.status();
        return Daemon(segment_log::Fd());
      }
      ::sched_yield();
    }
  }
  // Waits for the shim process that was spawned last.
  void reap(bool killed = false) {
    pollfd polled{pidfd_.get(), POLLIN, 0};
    ASSERT_EQ(::poll(&polled, 1, kBoundMs), 1) << "the shim does not end";
    int status = 0;
    ASSERT_EQ(::waitpid(spawned_.back(), &status, 0), spawned_.back());
    spawned_.pop_back();
    if (killed) return;
    ASSERT_TRUE(WIFEXITED(status)) << "the shim was killed by signal " << WTERMSIG(status);
    EXPECT_TRUE(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == kShimNotExecuted)
        << "the shim's own exit code is " << WEXITSTATUS(status);
  }
  ExitRecord finish(Daemon& daemon) {
    const std::optional<Frame> exited = daemon.until(FrameType::kExited);
    EXPECT_TRUE(exited.has_value());
    const absl::StatusOr<std::optional<ExitRecord>> record = read_exit(dir_);
    EXPECT_TRUE(record.ok() && record->has_value());
    reap();
    return record.ok() && record->has_value() ? **record : ExitRecord();
  }
  ExitRecord run(const Spec& spec, std::string_view input = {}) {
    create(spec, input);
    Daemon daemon = spawn();
    return finish(daemon);
  }

  struct Output {
    std::string out[3];  // by stream
    std::vector<segment_log::Gap> gaps;
    uint64_t last_seq = 0;
    uint64_t end_offset = 0;
  };
  Output output() {
    Output all;
    absl::StatusOr<segment_log::Reader> reader = segment_log::Reader::open(log_dir(dir_));
    EXPECT_TRUE(reader.ok());
    while (true) {
      absl::StatusOr<segment_log::Batch> batch = reader->read();
      EXPECT_TRUE(batch.ok()) << batch.status();
      if (!batch.ok()) return all;
      for (const segment_log::Record& record : batch->records) {
        EXPECT_EQ(record.gap ? record.gap->from : record.seq, all.last_seq + 1);
        EXPECT_EQ(record.offset, all.end_offset);
        all.last_seq = record.seq;
        all.end_offset += record.gap ? record.gap->bytes : record.payload.size();
        if (record.gap) all.gaps.push_back(*record.gap);
        if (!record.gap) all.out[record.stream].append(record.payload);
      }
      if (batch->at_end) return all;
    }
  }
  // Waits until the command has printed `line`, by Output frames.
  void until_printed(Daemon& daemon, const std::string& line) {
    while (output().out[1].find(line) == std::string::npos) {
      if (!daemon.until(FrameType::kOutput)) FAIL() << "never printed: " << line;
    }
  }
  static bool exists(pid_t pid) { return ::kill(pid, 0) == 0; }

  std::string program_;
  std::string root_;
  std::string dir_;
  std::vector<pid_t> spawned_;
  segment_log::Fd pidfd_;
};

}  // namespace zsync::daemon::shim
