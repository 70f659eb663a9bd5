// BlockingPool: threads for functions that block, started on demand, ended when idle.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

namespace zsync::rt {

class BlockingPool {
 public:
  BlockingPool(size_t threads_max, std::chrono::milliseconds idle)
      : threads_max_(threads_max), idle_(idle) {}
  ~BlockingPool() { stop(); }

  // Threads: any. Functions are begun in order.
  void run(std::function<void()> function);
  // This thread is one of them.
  bool is_here() const;
  // Runs what is queued, then joins every thread.
  void stop();

 private:
  void work(uint64_t key);
  void join_ended();

  const size_t threads_max_;
  const std::chrono::milliseconds idle_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> queue_;
  std::unordered_map<uint64_t, std::thread> threads_;
  std::vector<uint64_t> ended_;
  uint64_t next_key_ = 0;
  size_t idle_count_ = 0;
  bool stopping_ = false;
};

}  // namespace zsync::rt
