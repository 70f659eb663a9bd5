// An io_context with its threads, and the groups of rows.
#pragma once

#include <boost/asio.hpp>
#include <thread>
#include <utility>
#include <vector>

#include "tests/bench/runtime/rows.hpp"

namespace zsync::bench {

namespace asio = boost::asio;

void spawn_rows(const Settings& settings);
void yield_rows(const Settings& settings);
void sleep_rows(const Settings& settings);
void lateness_rows(const Settings& settings);
void wake_rows(const Settings& settings);
void unix_rows(const Settings& settings);
void tcp_rows(const Settings& settings);

// Lifetime: the destructor waits until the io_context has nothing left to do.
class World {
 public:
  explicit World(const Settings& settings) : context(static_cast<int>(settings.threads)) {
    for (size_t i = 0; i < settings.threads; ++i) {
      threads_.emplace_back([this] { context.run(); });
    }
  }
  ~World() {
    work_.reset();
    for (std::thread& thread : threads_) thread.join();
  }

  asio::io_context context;

 private:
  asio::executor_work_guard<asio::io_context::executor_type> work_ = asio::make_work_guard(context);
  std::vector<std::thread> threads_;
};

}  // namespace zsync::bench
