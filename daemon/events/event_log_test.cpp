#include "daemon/events/event_log.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "daemon/store/store_test_support.hpp"

namespace zsync::daemon {
namespace {

constexpr uint64_t kRetentionBytes = 64u << 20;

class EventLogTest : public ::testing::Test {
 protected:
  void SetUp() override { reopen(); }
  void reopen() {
    log_.reset();
    auto opened = EventLog::open(dir_.file("events"), kRetentionBytes, [] { return int64_t{7}; });
    ASSERT_TRUE(opened.ok()) << opened.status();
    log_ = std::move(*opened);
  }
  std::vector<Event> read_all() {
    std::vector<Event> events;
    auto reader = segment_log::Reader::open(log_->dir());
    EXPECT_TRUE(reader.ok());
    while (reader.ok()) {
      auto batch = reader->read();
      EXPECT_TRUE(batch.ok());
      if (!batch.ok() || batch->records.empty()) break;
      for (const segment_log::Record& record : batch->records) {
        auto event = decode_event(record);
        EXPECT_TRUE(event.has_value());
        if (event) events.push_back(std::move(*event));
      }
    }
    return events;
  }

  ScratchDirectory dir_;
  std::unique_ptr<EventLog> log_;
};

TEST_F(EventLogTest, AnEventIsReadBackAsItWasAppended) {
  log_->append("task.ended", "task_1", {{"state", "failed"}, {"exit", "3"}}, "00-trace-01");
  const std::vector<Event> events = read_all();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].seq, 1u);
  EXPECT_EQ(events[0].time_unix_nano, 7);
  EXPECT_EQ(events[0].type, "task.ended");
  EXPECT_EQ(events[0].subject, "task_1");
  EXPECT_EQ(events[0].attributes,
            (std::map<std::string, std::string>{{"state", "failed"}, {"exit", "3"}}));
  EXPECT_EQ(events[0].trace, "00-trace-01");
}

TEST_F(EventLogTest, NumbersGoOnAfterAnotherOpening) {
  log_->append("one", "");
  reopen();
  EXPECT_EQ(log_->last_seq(), 1u);
  log_->append("two", "");
  EXPECT_EQ(log_->last_seq(), 2u);
  const std::vector<Event> events = read_all();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[1].seq, 2u);
}

TEST_F(EventLogTest, WhatManyThreadsAppendIsThereOnceAndInTheOrderOfEach) {
  constexpr int kThreads = 4;
  constexpr int kEach = 2000;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([this, thread] {
      for (int i = 0; i < kEach; ++i) {
        log_->append("event", std::to_string(thread), {{"i", std::to_string(i)}});
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(log_->last_seq(), uint64_t{kThreads} * kEach);
  std::map<std::string, int> next;
  const std::vector<Event> events = read_all();
  ASSERT_EQ(events.size(), size_t{kThreads} * kEach);
  for (const Event& event : events) {
    EXPECT_EQ(event.attributes.at("i"), std::to_string(next[event.subject]++));
  }
}

TEST_F(EventLogTest, WhatIsGatheredIsWrittenAtTheEndAndInOrder) {
  {
    EventLog::Together together(*log_);
    log_->append("one", "");
    {
      EventLog::Together inner(*log_);  // the outer one writes
      log_->append("two", "");
    }
    EXPECT_THAT(read_all(), ::testing::IsEmpty());
  }
  log_->append("three", "");
  const std::vector<Event> events = read_all();
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0].type, "one");
  EXPECT_EQ(events[1].type, "two");
  EXPECT_EQ(events[2].type, "three");
}

TEST_F(EventLogTest, EveryAppendWakesWhoFollows) {
  const uint64_t seen = log_->appended().epoch();
  log_->append("event", "");
  EXPECT_NE(log_->appended().epoch(), seen);
}

}  // namespace
}  // namespace zsync::daemon
