#include "daemon/rpc/write_feed.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "zsync/runtime.hpp"

namespace zsync::daemon {
namespace {

// The writes of a stream as gRPC makes them: one at a time, and their ends in a thread of its own.
class Wire {
 public:
  ~Wire() { close(); }
  void start(const int* message) {
    std::lock_guard<std::mutex> lock(mutex_);
    EXPECT_EQ(writing_, nullptr) << "a second write began before the first one had ended";
    writing_ = message;
    changed_.notify_all();
  }
  // Ends writes through `ended` until close().
  void run(std::function<void(bool)> ended) {
    thread_ = std::thread([this, ended] {
      std::unique_lock<std::mutex> lock(mutex_);
      while (true) {
        changed_.wait(lock, [this] { return closed_ || (writing_ && (!held_ || broken_)); });
        if (!writing_) return;
        if (!broken_) written.push_back(*writing_);
        writing_ = nullptr;
        const bool ok = !broken_;
        lock.unlock();
        ended(ok);
        lock.lock();
      }
    });
  }
  void close() {
    set([this] { closed_ = true; });
    if (thread_.joinable()) thread_.join();
  }
  void hold(bool held) {
    set([this, held] { held_ = held; });
  }
  void tear() {
    set([this] { broken_ = true; });
  }

  std::vector<int> written;  // after close()

 private:
  template <typename Change>
  void set(const Change& change) {
    std::lock_guard<std::mutex> lock(mutex_);
    change();
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  const int* writing_ = nullptr;
  bool held_ = false;
  bool closed_ = false;
  bool broken_ = false;
  std::thread thread_;
};

class WriteFeedTest : public ::testing::Test {
 protected:
  WriteFeedTest()
      : feed_([this] { wire_.tear(); }, [this](const int* message) { wire_.start(message); },
              [this](int& message) { return next(message); }) {
    wire_.run([this](bool ok) { feed_.on_written(ok); });
  }
  void say(int message) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      news_.push_back(message);
    }
    feed_.poke();
  }
  void finish() { runtime_->block_on(feed_.finish()); }
  const std::vector<int>& written() {
    wire_.close();
    return wire_.written;
  }

  std::unique_ptr<Runtime> runtime_ = *Runtime::create({.workers = 2});
  Wire wire_;
  WriteFeed<int> feed_;

 private:
  bool next(int& message) {
    std::lock_guard<std::mutex> lock(mutex_);
    EXPECT_FALSE(looking_.exchange(true)) << "two threads look at once";
    const bool any = !news_.empty();
    if (any) {
      message = news_.front();
      news_.pop_front();
    }
    looking_ = false;
    return any;
  }

  std::mutex mutex_;
  std::deque<int> news_;
  std::atomic<bool> looking_{false};
};

TEST_F(WriteFeedTest, WhatManyThreadsSayIsWrittenOnceAndInOrder) {
  constexpr int kThreads = 4;
  constexpr int kMessages = 5000;  // of each
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([this, thread] {
      for (int i = 0; i < kMessages; ++i) say(i * kThreads + thread);
    });
  }
  for (std::thread& thread : threads) thread.join();
  finish();
  std::vector<int> last(kThreads, -1);
  for (int message : written()) {
    EXPECT_EQ(message / kThreads, last[message % kThreads] + 1);
    last[message % kThreads] = message / kThreads;
  }
  EXPECT_EQ(last, std::vector<int>(kThreads, kMessages - 1));
}

TEST_F(WriteFeedTest, FinishWritesWhatIsLeftAndEndsTheFeed) {
  wire_.hold(true);
  for (int i = 0; i < 3; ++i) say(i);
  std::thread finishing([this] { finish(); });
  wire_.hold(false);
  finishing.join();
  say(3);
  EXPECT_EQ(written(), (std::vector<int>{0, 1, 2}));
}

TEST_F(WriteFeedTest, FinishOfAFeedThatNeverSaidAnythingCompletes) {
  finish();
  say(1);
  EXPECT_TRUE(written().empty());
}

TEST_F(WriteFeedTest, ABrokenStreamIsWrittenNoMoreAndFinishCompletes) {
  say(1);
  wire_.tear();
  for (int i = 2; i < 100; ++i) say(i);
  finish();
  finish();  // also when all has ended
  EXPECT_LE(written().size(), 98u);
}

TEST_F(WriteFeedTest, ACancelledFinishTearsTheStreamThatHoldsItUp) {
  wire_.hold(true);
  say(1);
  TaskHandle<void> finishing = runtime_->spawn(feed_.finish());
  finishing.cancel();
  finishing.join();  // the write is held for ever but for the tear
  EXPECT_TRUE(written().empty());
}

}  // namespace
}  // namespace zsync::daemon
