// commit(): awaiting the store's group commit.
#pragma once

#include <memory>
#include <utility>

#include "daemon/store/store.hpp"
#include "zsync/future.hpp"
#include "zsync/rt/context.hpp"
#include "zsync/rt/operation.hpp"

namespace zsync::daemon {

// Completes once `work` is on disk, or with why it is not. A cancel does not end the wait: what was
// handed to the store happens.
class CommitOperation final : public rt::Operation {
 public:
  CommitOperation(Store& store, Store::Work work, Store::Done done)
      : store_(store), work_(std::move(work)), done_(std::move(done)) {}

  bool await_ready() const noexcept { return false; }
  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> handle) {
    return suspend_uncancellable(*handle.promise().context, handle);
  }
  absl::Status await_resume() { return std::move(status_); }

  rt::Start start() final {
    context()->show(*this);
    store_.commit(std::move(work_), [this](absl::Status status) {
      status_ = std::move(status);
      if (done_) done_(status_);
      wake();
    });
    return rt::Start::kWaiting;
  }
  bool withdraw() noexcept final { return false; }
  const char* wait_kind() const noexcept final { return "store's commit"; }

 private:
  Store& store_;
  Store::Work work_;
  Store::Done done_;
  absl::Status status_;
};

// `done` is told on the writer thread, before the caller goes on.
inline CommitOperation commit(Store& store, Store::Work work, Store::Done done = nullptr) {
  return CommitOperation(store, std::move(work), std::move(done));
}

// The same for a caller that has something to do meanwhile. A cancel of the caller ends its wait,
// not the work.
inline Future<void> commit_ahead(Store& store, Store::Work work) {
  auto told = std::make_shared<Promise<void>>();
  Future<void> stored = told->future();
  store.commit(std::move(work), [told](absl::Status status) {
    if (status.ok()) {
      told->set_value();
    } else {
      told->set_error(std::move(status));
    }
  });
  return stored;
}

}  // namespace zsync::daemon
