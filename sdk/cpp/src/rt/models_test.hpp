// What the runtime's tests share: every execution model as a parameter, and counted instances.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <utility>

#include "zsync/zsync.hpp"

namespace zsync {

inline Config config_of(ExecutionModel model) {
  Config config;
  config.model = model;
  config.workers = model == ExecutionModel::multi_thread ? 2 : 1;
  return config;
}

inline std::string name_of_model(const ::testing::TestParamInfo<ExecutionModel>& info) {
  switch (info.param) {
    case ExecutionModel::caller:
      return "caller";
    case ExecutionModel::one_thread:
      return "one_thread";
    case ExecutionModel::multi_thread:
      return "multi_thread";
  }
  return "unknown";
}

class EveryModel : public ::testing::TestWithParam<ExecutionModel> {
 protected:
  template <typename T>
  T run_here(Task<T> task) {
    return run(std::move(task), config_of(GetParam()));
  }
};

// Where one thread runs everything there is one order.
#define ZS_FOR_ONE_WORKER_MODELS(suite)                                                           \
  INSTANTIATE_TEST_SUITE_P(Models, suite,                                                         \
                           ::testing::Values(ExecutionModel::caller, ExecutionModel::one_thread), \
                           name_of_model)

#define ZS_FOR_EVERY_MODEL(suite)                                                                \
  INSTANTIATE_TEST_SUITE_P(Models, suite,                                                        \
                           ::testing::Values(ExecutionModel::caller, ExecutionModel::one_thread, \
                                             ExecutionModel::multi_thread),                      \
                           name_of_model)

// Counts its live instances, copies and moved-from ones too.
class Counted {
 public:
  explicit Counted(std::atomic<int>& alive) : alive_(&alive) { alive_->fetch_add(1); }
  Counted(const Counted& other) : Counted(*other.alive_) {}
  Counted& operator=(const Counted&) = default;
  ~Counted() { alive_->fetch_sub(1); }

 private:
  std::atomic<int>* alive_;
};

// Lets tasks wait until somebody opens it; opened once.
class Gate {
 public:
  void open() { channel_.close(); }
  auto opened() const { return Channel<int>(channel_).recv(); }
  void wait_blocking() { (void)channel_.recv_blocking(); }

 private:
  Channel<int> channel_ = bounded<int>(1);
};

}  // namespace zsync
