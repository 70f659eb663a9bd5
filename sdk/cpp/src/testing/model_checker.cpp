#include "testing/model_checker.hpp"

#include <ucontext.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <unordered_set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "zsync/assert.hpp"

namespace zsync::testing {
namespace {

constexpr size_t kStackBytes = 64 * 1024;

uint64_t mix(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * 0x9e3779b97f4a7c15;
  return hash ^ (hash >> 29);
}

}  // namespace

// One execution. Its threads are contexts of this one thread, so only one runs at a time.
class ModelRun {
 public:
  enum class Access : uint8_t { kNone, kLoad, kStore, kUpdate };

  struct Store {
    ModelledBits* cell;
    ModelledBits::Value value;
  };
  struct Thread {
    std::function<void()> body;
    std::unique_ptr<char[]> stack = std::make_unique<char[]>(kStackBytes);
    ucontext_t context{};
    std::deque<Store> buffer;
    Access next = Access::kNone;            // what it does when it goes on
    const ModelledBits* awaited = nullptr;  // not before this has that value
    uint64_t awaited_bits = 0;
    uint64_t history = 0;  // of everything that it has read
    bool ended = false;
  };
  // A thread goes on, or its oldest store becomes visible.
  struct Step {
    size_t thread;
    bool flush;
  };

  static ModelRun* current;
  static std::vector<ModelledBits*>& cells() {
    static std::vector<ModelledBits*> all;
    return all;
  }

  explicit ModelRun(std::vector<std::function<void()>> bodies) {
    for (std::function<void()>& body : bodies) {
      threads_.push_back(std::make_unique<Thread>());
      threads_.back()->body = std::move(body);
    }
  }

  // Every thread up to its first access.
  void start() {
    current = this;
    for (size_t i = 0; i < threads_.size(); ++i) {
      Thread& thread = *threads_[i];
      getcontext(&thread.context);
      thread.context.uc_stack.ss_sp = thread.stack.get();
      thread.context.uc_stack.ss_size = kStackBytes;
      thread.context.uc_link = &scheduler_;
      makecontext(&thread.context, &ModelRun::run_thread, 0);
      resume(i);
    }
  }
  ~ModelRun() { current = nullptr; }

  std::vector<Step> enabled() const {
    std::vector<Step> steps;
    for (size_t i = 0; i < threads_.size(); ++i) {
      const Thread& thread = *threads_[i];
      const bool waits_for_buffer = thread.next == Access::kUpdate && !thread.buffer.empty();
      const bool waits = thread.awaited && thread.awaited->value_.bits != thread.awaited_bits;
      if (!thread.ended && !waits_for_buffer && !waits) steps.push_back({i, false});
      if (!thread.buffer.empty()) steps.push_back({i, true});
    }
    return steps;
  }

  void take(Step step) {
    if (!step.flush) return resume(step.thread);
    std::deque<Store>& buffer = threads_[step.thread]->buffer;
    buffer.front().cell->value_ = buffer.front().value;
    buffer.pop_front();
  }

  uint64_t state() const {
    uint64_t hash = 0;
    for (const auto& thread : threads_) {
      hash = mix(hash, thread->history);
      for (const Store& store : thread->buffer) {
        hash = mix(mix(hash, store.cell->name_), store.value.origin);
      }
      hash = mix(hash, thread->buffer.size());
    }
    uint64_t memory = 0;  // cells may have been made in another order
    for (const ModelledBits* cell : cells()) memory += mix(cell->name_, cell->value_.origin);
    return mix(hash, memory);
  }

  // -- by the running thread
  Thread* before(Access access) {
    if (!running_) return nullptr;
    Thread* const thread = running_;
    thread->next = access;
    swapcontext(&thread->context, &scheduler_);
    return thread;
  }
  Thread* await(const ModelledBits& cell, uint64_t bits) {
    if (!running_) return nullptr;
    running_->awaited = &cell;
    running_->awaited_bits = bits;
    Thread* const thread = before(Access::kUpdate);
    thread->awaited = nullptr;
    return thread;
  }
  static ModelledBits::Value read(const Thread* thread, const ModelledBits& cell) {
    if (!thread) return cell.value_;
    const auto own = std::find_if(thread->buffer.rbegin(), thread->buffer.rend(),
                                  [&cell](const Store& store) { return store.cell == &cell; });
    return own == thread->buffer.rend() ? cell.value_ : own->value;
  }
  // What a thread does follows from what it has read, so its history also names what it makes.
  static void remember(Thread* thread, uint64_t origin) {
    if (thread) thread->history = mix(thread->history + 1, origin);
  }
  // A name for what the running thread makes now, the same in every execution that comes here.
  uint64_t next_name() {
    remember(running_, 0);
    return mix(running_->history, running_index_ + 1);
  }

 private:
  void resume(size_t index) {
    running_ = threads_[index].get();
    running_index_ = index;
    swapcontext(&scheduler_, &running_->context);
    running_ = nullptr;
  }
  static void run_thread() {
    Thread& thread = *current->running_;
    thread.body();
    thread.ended = true;
    thread.next = Access::kNone;
  }

  std::vector<std::unique_ptr<Thread>> threads_;
  ucontext_t scheduler_{};
  Thread* running_ = nullptr;
  size_t running_index_ = 0;
};

ModelRun* ModelRun::current = nullptr;

namespace {

// Cells that are made before an execution starts are numbered from here.
uint64_t made_outside = 0;

uint64_t name_here() { return ModelRun::current ? ModelRun::current->next_name() : ++made_outside; }

}  // namespace

ModelledBits::ModelledBits(uint64_t bits) : value_{bits, 0}, name_(name_here()) {
  ModelRun::cells().push_back(this);
}
ModelledBits::~ModelledBits() { std::erase(ModelRun::cells(), this); }

uint64_t ModelledBits::load() const {
  ModelRun* const run = ModelRun::current;
  ModelRun::Thread* const thread = run ? run->before(ModelRun::Access::kLoad) : nullptr;
  const Value value = ModelRun::read(thread, *this);
  ModelRun::remember(thread, value.origin);
  return value.bits;
}

void ModelledBits::store(uint64_t bits, bool buffered) {
  ModelRun* const run = ModelRun::current;
  ModelRun::Thread* const thread =
      run ? run->before(buffered ? ModelRun::Access::kStore : ModelRun::Access::kUpdate) : nullptr;
  const Value value{bits, name_here()};
  if (thread && buffered) {
    thread->buffer.push_back({this, value});
  } else {
    value_ = value;
  }
}

uint64_t ModelledBits::compare_exchange(uint64_t expected, uint64_t desired) {
  ModelRun* const run = ModelRun::current;
  ModelRun::Thread* const thread = run ? run->before(ModelRun::Access::kUpdate) : nullptr;
  const Value before = value_;
  ModelRun::remember(thread, before.origin);
  if (before.bits == expected) value_ = {desired, name_here()};
  return before.bits;
}

uint64_t ModelledBits::fetch_add(uint64_t added) {
  ModelRun* const run = ModelRun::current;
  ModelRun::Thread* const thread = run ? run->before(ModelRun::Access::kUpdate) : nullptr;
  const Value before = value_;
  ModelRun::remember(thread, before.origin);
  value_ = {before.bits + added, name_here()};
  return before.bits;
}

void ModelledBits::store_now(uint64_t bits) { value_ = {bits, name_here()}; }

void ModelledBits::await_exchange(uint64_t expected, uint64_t desired) {
  ModelRun* const run = ModelRun::current;
  if (ModelRun::Thread* const thread = run ? run->await(*this, expected) : nullptr) {
    ModelRun::remember(thread, value_.origin);
  }
  value_ = {desired, name_here()};
}

ModelChecker::Result ModelChecker::explore(const std::function<Program()>& make) {
  struct Choice {
    size_t taken;
    size_t count;
  };
  Result result;
  std::unordered_set<uint64_t> seen;
  std::vector<Choice> path;  // of the execution, as far as it was chosen
  while (true) {
    made_outside = 0;
    Program program = make();
    std::string steps;
    bool known = false;  // from here on every order was followed before: only to its end
    {
      ModelRun run(program.threads);
      run.start();
      for (size_t depth = 0;; ++depth) {
        ZS_ASSERT(depth < kStepsMax, "a modelled program does not end: it may not wait in a loop");
        const std::vector<ModelRun::Step> enabled = run.enabled();
        if (enabled.empty()) break;
        size_t choice = 0;
        if (depth < path.size()) {
          choice = path[depth].taken;
        } else if (!known) {
          known = !seen.insert(run.state()).second;
          if (!known) path.push_back({0, enabled.size()});
        }
        const ModelRun::Step step = enabled[choice];
        absl::StrAppend(&steps, " ", step.thread, step.flush ? "'" : "");
        run.take(step);
      }
    }
    if (!known) ++result.executions;
    result.states = seen.size();
    if (std::string wrong = program.check(); !wrong.empty()) {
      result.failure = absl::StrCat(wrong,
                                    "; threads in the order of their steps (': a store of "
                                    "that one becomes visible):",
                                    steps);
      return result;
    }
    while (!path.empty() && path.back().taken + 1 == path.back().count) path.pop_back();
    if (path.empty()) return result;
    ++path.back().taken;
  }
}

}  // namespace zsync::testing
