// What the integration tests share: a private daemon that is ready, and short ways to talk to it.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/kit/private_daemon.hpp"
#include "zsync/client.hpp"

namespace zsync::integration {

using ::testing::HasSubstr;
using Words = std::vector<std::string>;

class DaemonTest : public ::testing::Test {
 protected:
  // A test that wants other options makes its own daemon first.
  void SetUp() override { start({}); }
  void start(kit::DaemonOptions options) {
    client_.reset();
    own_ = std::make_unique<kit::PrivateDaemon>(std::move(options));
    ASSERT_TRUE(own_->start()) << own_->log();
    connect();
  }
  void connect() {
    auto connected = client::Client::connect({.socket = own_->socket(), .resume = true});
    ASSERT_TRUE(connected.ok()) << connected.status();
    client_ = *std::move(connected);
  }

  void drop_client() { client_.reset(); }

  kit::PrivateDaemon& daemon() { return *own_; }
  client::Tasks tasks() { return client_->tasks(); }
  client::Client& client() { return *client_; }
  kit::Ran ctl(Words words, std::string_view input = {}, kit::StartOptions options = {}) {
    return own_->ctl(std::move(words), input, std::move(options));
  }
  std::string file(std::string_view name) { return own_->dir() / name; }

  // Submits through zsyncctl -> the id.
  std::string submit(Words words) {
    words.insert(words.begin(), {"tasks", "submit", "-q"});
    const kit::Ran ran = ctl(std::move(words));
    EXPECT_EQ(ran.code, 0) << ran.err;
    return ran.out.substr(0, ran.out.find('\n'));
  }
  v1::Task get(const std::string& id) {
    const auto task = tasks().get(id);
    EXPECT_TRUE(task.ok()) << task.status();
    return task.ok() ? *task : v1::Task();
  }
  v1::Task wait(const std::string& id) {
    const auto tasks_ended = tasks().wait({id}, {std::chrono::seconds(30), nullptr});
    EXPECT_TRUE(tasks_ended.ok()) << tasks_ended.status();
    return tasks_ended.ok() ? tasks_ended->tasks(0) : v1::Task();
  }
  // Returns once the task has printed something.
  void wait_for_output(const std::string& id) {
    const absl::Status status = tasks().output(
        id, 1, true, [](const v1::TaskOutputBatch& batch) { return batch.records_size() == 0; },
        {std::chrono::seconds(30), nullptr});
    EXPECT_TRUE(status.ok()) << status;
  }
  std::string output_of(const std::string& id) {
    std::string bytes;
    const absl::Status status = tasks().output(id, 1, true, [&](const v1::TaskOutputBatch& batch) {
      for (const v1::Record& record : batch.records()) bytes += record.data();
      return true;
    });
    EXPECT_TRUE(status.ok()) << status;
    return bytes;
  }
  // What it has printed until now.
  std::string output_so_far(const std::string& id) {
    std::string bytes;
    const absl::Status status = tasks().output(id, 1, false, [&](const v1::TaskOutputBatch& batch) {
      for (const v1::Record& record : batch.records()) bytes += record.data();
      return true;
    });
    EXPECT_TRUE(status.ok()) << status;
    return bytes;
  }
  void expect_nothing_left() {
    EXPECT_TRUE(kit::poll_until([this] {
      return daemon().task_processes().empty() && daemon().shims().empty();
    })) << daemon().task_processes().size()
        << " processes, " << daemon().shims().size() << " shims";
  }

 private:
  std::unique_ptr<kit::PrivateDaemon> own_;
  std::unique_ptr<client::Client> client_;
};

}  // namespace zsync::integration
