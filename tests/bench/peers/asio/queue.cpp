// As runtime/spawn.cpp and runtime/yield.cpp, with asio::post.
#include <atomic>
#include <future>

#include "tests/bench/peers/asio/world.hpp"

namespace zsync::bench {
namespace {

constexpr size_t kTasks = 1'000'000;
constexpr size_t kWarmUp = 50'000;
constexpr size_t kAlone = 1'000'000;
constexpr size_t kAmong = 100;
constexpr size_t kEach = 20'000;

struct Round {
  explicit Round(size_t tasks) : left(tasks) {}
  void end_one() {
    if (left.fetch_sub(1) == 1) done.set_value(now_ns());
  }
  std::atomic<size_t> left;
  std::promise<int64_t> done;
};

// From inside a handler, as the others do it from inside a task.
double post_and_wait(const Settings& settings, size_t tasks) {
  Round round(tasks);
  World world(settings);
  int64_t start = 0;
  asio::post(world.context, [&] {
    start = now_ns();
    for (size_t i = 0; i < tasks; ++i) asio::post(world.context, [&round] { round.end_one(); });
  });
  const int64_t end = round.done.get_future().get();
  return static_cast<double>(end - start) / static_cast<double>(tasks);
}

void repost(asio::io_context& context, Round& round, size_t left) {
  if (left == 0) return round.end_one();
  asio::post(context, [&context, &round, left] { repost(context, round, left - 1); });
}

double yields(const Settings& settings, size_t tasks, size_t each) {
  Round round(tasks);
  World world(settings);
  int64_t start = 0;
  asio::post(world.context, [&] {
    start = now_ns();
    for (size_t i = 0; i < tasks; ++i) repost(world.context, round, each);
  });
  const int64_t end = round.done.get_future().get();
  return static_cast<double>(end - start) / static_cast<double>(tasks * each);
}

}  // namespace

void spawn_rows(const Settings& settings) {
  (void)post_and_wait(settings, kWarmUp);
  report("spawn + join of 1 M", "ns/task", post_and_wait(settings, kTasks));
}

void yield_rows(const Settings& settings) {
  (void)yields(settings, 1, kAlone / 10);
  report("yield_now alone", "ns", yields(settings, 1, kAlone));
  report("yield_now among 100 tasks", "ns", yields(settings, kAmong, kEach));
}

}  // namespace zsync::bench
