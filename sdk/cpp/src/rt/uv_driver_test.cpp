#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "rt/driver.hpp"

namespace zsync::rt {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kPatience{2};

// Wakes the driver when a park does not end by itself.
class Watchdog {
 public:
  explicit Watchdog(Driver& driver) : thread_([this, &driver] { watch(driver); }) {}
  ~Watchdog() {
    {
      std::lock_guard<std::mutex> guard(mutex_);
      ended_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }

  void parked() {
    std::lock_guard<std::mutex> guard(mutex_);
    ++parks_;
    changed_.notify_one();
  }
  int rescues() {
    std::lock_guard<std::mutex> guard(mutex_);
    return rescues_;
  }

 private:
  void watch(Driver& driver) {
    std::unique_lock<std::mutex> guard(mutex_);
    while (!ended_) {
      const int seen = parks_;
      if (changed_.wait_for(guard, kPatience, [&] { return ended_ || parks_ != seen; })) continue;
      ++rescues_;
      driver.wake();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;
  int parks_ = 0;
  int rescues_ = 0;
  std::thread thread_;
};

// libuv counts whole milliseconds and runs due timers before it polls: a millisecond that began
// between the start of the timer and the loop once left a worker asleep without any deadline.
TEST(UvDriver, AParkEndsAtItsDeadlineThoughAMillisecondBeginsMeanwhile) {
  std::unique_ptr<Driver> driver = std::move(make_uv_driver()).value();
  Watchdog watchdog(*driver);
  for (int i = 0; i < 300 && watchdog.rescues() == 0; ++i) {
    const auto offset = 1ms - i * 20ns;
    while (Clock::now().time_since_epoch() % 1ms < offset - 200ns) {
    }
    driver->park(Clock::now() + 1us);
    watchdog.parked();
  }
  EXPECT_EQ(watchdog.rescues(), 0);
}

TEST(UvDriver, AWakeBeforeAParkEndsIt) {
  std::unique_ptr<Driver> driver = std::move(make_uv_driver()).value();
  Watchdog watchdog(*driver);
  for (int i = 0; i < 100; ++i) {
    driver->wake();
    driver->park(std::nullopt);
    driver->wake();
    driver->park(Clock::now() + 1h);
    watchdog.parked();
  }
  EXPECT_EQ(watchdog.rescues(), 0);
}

}  // namespace
}  // namespace zsync::rt
