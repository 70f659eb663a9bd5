// As runtime/sleep.cpp and runtime/lateness.cpp, with steady_timer. insert + cancel: a timer of an
// hour is waited for and cancelled, until the last handler has been told so.
#include <atomic>
#include <chrono>
#include <deque>
#include <future>
#include <optional>

#include "tests/bench/peers/asio/world.hpp"

namespace zsync::bench {
namespace {

using boost::system::error_code;
using std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr size_t kSleeps = 1'000'000;
constexpr size_t kCancels = 200'000;
constexpr size_t kLive = 10'000;
constexpr size_t kLate = 500;
constexpr int64_t kDelayNs = 1'000'000;
constexpr auto kUntilFirst = 3s;
constexpr auto kLong = 1h;

struct Moment {
  steady_clock::time_point first = steady_clock::now() + kUntilFirst;
  alignas(64) std::atomic<size_t> fired{0};
  alignas(64) std::atomic<size_t> cancelled{0};
  std::atomic<size_t> early{0};
  std::promise<int64_t> last, ended;
};

int64_t ns_of(steady_clock::time_point time) {
  return std::chrono::nanoseconds(time.time_since_epoch()).count();
}

void sleeper(asio::steady_timer& timer, Moment& moment, size_t number) {
  timer.expires_at(moment.first);
  timer.async_wait([&timer, &moment, number](error_code) {
    if (number % 16 == 0 && now_ns() < ns_of(moment.first)) moment.early.fetch_add(1);
    timer.expires_at(moment.first + kLong);
    timer.async_wait([&moment](error_code error) {
      expect(error == asio::error::operation_aborted, "second sleep");
      if (moment.cancelled.fetch_add(1, std::memory_order_relaxed) + 1 == kSleeps) {
        moment.ended.set_value(now_ns());
      }
    });
    if (moment.fired.fetch_add(1, std::memory_order_relaxed) + 1 == kSleeps) {
      moment.last.set_value(now_ns());
    }
  });
}

// Runs a function in a handler and waits for its end.
template <typename Function>
void in_handler(asio::io_context& context, Function function) {
  std::promise<void> done;
  asio::post(context, [&] { function(), done.set_value(); });
  done.get_future().get();
}

double insert_and_cancel(asio::io_context& context) {
  std::atomic<size_t> left{kCancels};
  std::promise<int64_t> done;
  int64_t start = 0;
  in_handler(context, [&] {
    start = now_ns();
    for (size_t i = 0; i < kCancels; ++i) {
      asio::steady_timer timer(context, kLong);
      timer.async_wait([&](error_code) {
        if (left.fetch_sub(1) == 1) done.set_value(now_ns());
      });
      timer.cancel();
    }
  });
  return static_cast<double>(done.get_future().get() - start) / kCancels;
}

void sleep_once(asio::steady_timer& timer, std::vector<int64_t>& late, std::promise<void>& done) {
  if (late.size() == kLate) return done.set_value();
  const int64_t before = now_ns();
  timer.expires_after(1ms);
  timer.async_wait([&timer, &late, &done, before](error_code) {
    late.push_back(now_ns() - before - kDelayNs);
    sleep_once(timer, late, done);
  });
}

}  // namespace

void sleep_rows(const Settings& settings) {
  std::deque<asio::steady_timer> timers;
  World world(settings);
  Moment moment;
  in_handler(world.context, [&] {
    for (size_t i = 0; i < kSleeps; ++i) {
      timers.emplace_back(world.context);
      sleeper(timers.back(), moment, i);
    }
  });
  expect(steady_clock::now() < moment.first, "sleeps: the machine is too busy to start in time");
  const int64_t last = moment.last.get_future().get();
  report("1 M sleeps: fire + insert", "ns/sleep",
         static_cast<double>(last - ns_of(moment.first)) / kSleeps);
  report("1 M sleeps: early", "", static_cast<double>(moment.early.load()));
  report("1 M sleeps: insert + cancel", "ns/sleep", insert_and_cancel(world.context));
  int64_t start = 0;
  in_handler(world.context, [&] {
    start = now_ns();
    for (asio::steady_timer& timer : timers) timer.cancel();
  });
  report("1 M sleeps: cancel + join", "ns/task",
         static_cast<double>(moment.ended.get_future().get() - start) / kSleeps);
  in_handler(world.context, [&] { timers.clear(); });
}

void lateness_rows(const Settings& settings) {
  std::deque<asio::steady_timer> live;
  std::optional<asio::steady_timer> timer;
  std::vector<int64_t> late;
  std::promise<void> done;
  World world(settings);
  in_handler(world.context, [&] {
    for (size_t i = 0; i < kLive; ++i) {
      live.emplace_back(world.context, std::chrono::milliseconds(3'600'000 + i));
      live.back().async_wait([](error_code) {});
    }
  });
  asio::post(world.context, [&] { sleep_once(timer.emplace(world.context), late, done); });
  done.get_future().get();
  size_t early = 0;
  for (const int64_t ns : late) early += ns < 0;
  report("1 ms sleep, 10 k live: late p50", "us", quantile_us(late, 0.5));
  report("1 ms sleep, 10 k live: late p99", "us", quantile_us(late, 0.99));
  report("1 ms sleep, 10 k live: early", "", static_cast<double>(early));
  in_handler(world.context, [&] { live.clear(), timer.reset(); });
}

}  // namespace zsync::bench
