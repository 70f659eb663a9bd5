// What the store's tests share: a directory of their own, one schema, and commits that wait.
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>

#include "daemon/store/store.hpp"

namespace zsync::daemon {

// Opens once it was counted down to zero. May be destroyed as soon as wait() returns.
class Countdown {
 public:
  explicit Countdown(int count = 1) : count_(count) {}
  void count_down() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (--count_ == 0) opened_.notify_all();
  }
  void wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    opened_.wait(lock, [this] { return count_ <= 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable opened_;
  int count_;
};

class ScratchDirectory {
 public:
  ScratchDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "zsync-store-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~ScratchDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline StoreOptions options_for(const std::string& path) {
  StoreOptions options;
  options.path = path;
  options.migrations = {{1, "CREATE TABLE item(id INTEGER PRIMARY KEY, body BLOB)"}};
  return options;
}

inline std::unique_ptr<Store> open_or_die(StoreOptions options) {
  absl::StatusOr<std::unique_ptr<Store>> store = Store::open(std::move(options));
  EXPECT_TRUE(store.ok()) << store.status();
  return store.ok() ? *std::move(store) : nullptr;
}

inline absl::Status commit_and_wait(Store& store, Store::Work work) {
  absl::Status result;
  Countdown told;
  store.commit(std::move(work), [&](absl::Status status) {
    result = std::move(status);
    told.count_down();
  });
  told.wait();
  return result;
}

inline Store::Work insert(int64_t id, std::string body = "x") {
  return [id, body = std::move(body)](Database& db) {
    return db.run("INSERT INTO item(id, body) VALUES(?, ?)", id, body);
  };
}

inline int64_t count_items(Store& store, int64_t at_least_id = 0) {
  int64_t count = -1;
  const absl::Status status = store.read([&](Database& db) {
    absl::StatusOr<int64_t> found =
        db.query_int("SELECT count(*) FROM item WHERE id >= ?", at_least_id);
    if (found.ok()) count = *found;
    return found.status();
  });
  EXPECT_TRUE(status.ok()) << status;
  return count;
}

// Keeps the writer thread busy from construction until release(), so that a test can fill the
// queue.
class HeldWriter {
 public:
  explicit HeldWriter(Store& store) {
    store.commit(
        [this](Database&) {
          started_.count_down();
          released_.wait();
          return absl::OkStatus();
        },
        [this](absl::Status) { done_.count_down(); });
    started_.wait();
  }
  void release() { released_.count_down(); }
  ~HeldWriter() { done_.wait(); }

 private:
  Countdown started_;
  Countdown released_;
  Countdown done_;
};

}  // namespace zsync::daemon
