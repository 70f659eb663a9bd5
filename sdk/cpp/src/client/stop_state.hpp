// The shared half of StopSource: who is to be told of a cancel.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <list>
#include <memory>
#include <mutex>

namespace zsync::client::internal {

// Threads: any. A listener is called under the lock, so remove() returns only when it is not
// running.
class StopState {
 public:
  using Listener = std::list<std::function<void()>>::iterator;

  void cancel() {
    std::lock_guard<std::mutex> lock(mutex_);
    cancelled_ = true;
    for (std::function<void()>& listener : listeners_) listener();
    changed_.notify_all();
  }
  bool cancelled() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return cancelled_;
  }
  bool wait_for(std::chrono::nanoseconds limit) const {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, limit, [this] { return cancelled_; });
  }
  Listener add(std::function<void()> listener) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (cancelled_) listener();
    return listeners_.insert(listeners_.end(), std::move(listener));
  }
  void remove(Listener listener) {
    std::lock_guard<std::mutex> lock(mutex_);
    listeners_.erase(listener);
  }

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  bool cancelled_ = false;
  std::list<std::function<void()>> listeners_;
};

}  // namespace zsync::client::internal
