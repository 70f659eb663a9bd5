#include "rt/blocking_pool.hpp"

#include <system_error>
#include <utility>

#include "rt/process_life.hpp"

namespace zsync::rt {
namespace {

constinit thread_local const BlockingPool* pool_here = nullptr;

}  // namespace

bool BlockingPool::is_here() const { return pool_here == this; }

void BlockingPool::run(std::function<void()> function) {
  std::unique_lock<std::mutex> guard(mutex_);
  queue_.push_back(std::move(function));
  join_ended();
  if (idle_count_ >= queue_.size() || threads_.size() >= threads_max_) {
    changed_.notify_one();
    return;
  }
  const uint64_t key = next_key_++;
  try {
    threads_.emplace(key, std::thread([this, key] { work(key); }));
  } catch (const std::system_error&) {
    if (!threads_.empty()) return;  // one of them takes it later
    // Better late than never: without any thread the caller has to.
    function = std::move(queue_.back());
    queue_.pop_back();
    guard.unlock();
    function();
  }
}

void BlockingPool::work(uint64_t key) {
  pool_here = this;
  watch_thread_end();
  std::unique_lock<std::mutex> guard(mutex_);
  while (true) {
    if (queue_.empty()) {
      ++idle_count_;
      changed_.wait_for(guard, idle_, [this] { return stopping_ || !queue_.empty(); });
      --idle_count_;
      if (queue_.empty()) break;
    }
    std::function<void()> function = std::move(queue_.front());
    queue_.pop_front();
    guard.unlock();
    function();
    function = nullptr;
    guard.lock();
  }
  ended_.push_back(key);
}

void BlockingPool::join_ended() {
  for (uint64_t key : std::exchange(ended_, {})) {
    auto node = threads_.extract(key);
    node.mapped().join();  // it has released the mutex for the last time
  }
}

void BlockingPool::stop() {
  std::unordered_map<uint64_t, std::thread> threads;
  {
    std::lock_guard<std::mutex> guard(mutex_);
    stopping_ = true;
    threads.swap(threads_);
    changed_.notify_all();
  }
  for (auto& [key, thread] : threads) thread.join();
}

}  // namespace zsync::rt
