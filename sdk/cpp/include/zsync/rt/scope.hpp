// BranchScope: a strand that waits for child strands of its own (all, race, any, timeout, shield).
//
// Nobody leaves a scope before every child has ended; cancelling the waiting strand cancels the
// children and goes on waiting.
#pragma once

#include <atomic>
#include <coroutine>
#include <utility>
#include <vector>

#include "zsync/rt/root.hpp"

namespace zsync::rt {

class BranchScope : public Operation {
 public:
  enum class CancelRest : uint8_t {
    kNever,
    kOnError,    // all: the first child that ends with an exception
    kOnFirst,    // race, timeout: the first child that ends
    kOnSuccess,  // any: the first child for which `succeeded` says so
  };

  explicit BranchScope(CancelRest rule, bool shielded = false) : rule_(rule), shielded_(shielded) {}
  ~BranchScope() {
    for (TaskContext* child : children_) child->unref();
  }

  template <typename T>
  RootPromise<T>& add(Task<T> task) {
    RootPromise<T>* promise = make_root(std::move(task)).release();
    promise->on_finish = &BranchScope::child_finished;
    promise->owner = this;
    children_.push_back(promise);
    return *promise;
  }
  void set_success_test(bool (*succeeded)(TaskContext&)) { succeeded_ = succeeded; }

  // The child that triggered the rule; -1: none did.
  int decisive() const { return decisive_.load(std::memory_order_acquire); }
  // The strand was cancelled before the children were started.
  bool refused() const { return cancelled(); }

  bool await_ready() const noexcept { return false; }
  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> handle) {
    return shielded_ ? suspend_uncancellable(*handle.promise().context, handle)
                     : suspend(*handle.promise().context, handle);
  }
  void await_resume() const {
    if (cancelled()) throw Cancelled();
  }

  Start start() final;
  bool withdraw() noexcept final;

 private:
  static void child_finished(void* owner, TaskContext& child);
  void cancel_children(TaskContext* except) noexcept;

  const CancelRest rule_;
  const bool shielded_;
  bool (*succeeded_)(TaskContext&) = nullptr;
  std::vector<TaskContext*> children_;
  std::atomic<size_t> remaining_{0};
  std::atomic<int> decisive_{-1};
};

}  // namespace zsync::rt
