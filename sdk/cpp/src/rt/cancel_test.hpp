// Every operation, cancelled at each of three moments: before it starts, while it waits, and while
// it completes. What was cancelled has not happened, and nothing is lost, kept or leaked.
//
// A row is a Subject; tests/lint holds that each operation of a public header has one.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <filesystem>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "rt/models_test.hpp"
#include "zsync/zsync.hpp"

namespace zsync {

// One operation and what it works on; made anew for each round.
class Subject {
 public:
  virtual ~Subject() = default;
  virtual Task<void> prepare() { co_return; }
  // Does it once -> whether it has happened. May throw Cancelled.
  virtual Task<bool> operate() = 0;
  // Lets it complete, from another task, or prepares that it can.
  virtual Task<void> complete() = 0;
  // After both have ended: what was lost, kept or done twice; else nothing. Does it once more where
  // that shows it.
  virtual Task<std::string> wrong(bool happened) = 0;
};

struct CancelRow {
  const char* name;  // header and function
  std::unique_ptr<Subject> (*make)();
  bool waits = true;  // for complete(), so that a cancel comes before it
};
inline void PrintTo(const CancelRow& row, std::ostream* out) { *out << row.name; }

template <typename S>
CancelRow cancel_row(const char* name, bool waits = true) {
  return {name, []() -> std::unique_ptr<Subject> { return std::make_unique<S>(); }, waits};
}

class CancelAtEveryMoment : public ::testing::TestWithParam<CancelRow> {
 protected:
  void SetUp() override {
    one_round(0);  // what is opened once and stays
    descriptors_ = open_descriptors();
  }
  void TearDown() override {
    EXPECT_EQ(alive_, 0) << "a frame was kept";
    EXPECT_EQ(open_descriptors(), descriptors_) << "a descriptor was kept";
  }

  static size_t open_descriptors() {
    const std::filesystem::directory_iterator all("/proc/self/fd");
    return static_cast<size_t>(std::distance(begin(all), end(all)));
  }

  // The task that is cancelled; `counted` lives in its frame.
  static Task<bool> operate(Subject& subject, Counted) {
    try {
      co_return co_await subject.operate();
    } catch (const Cancelled&) {
      co_return false;
    }
  }

  void before_start(bool ready) {
    run(
        [](CancelAtEveryMoment& test, bool completes) -> Task<void> {
          const std::unique_ptr<Subject> subject = test.GetParam().make();
          co_await subject->prepare();
          if (completes) co_await subject->complete();
          TaskHandle<bool> handle = spawn(operate(*subject, Counted(test.alive_)));
          handle.cancel();
          const bool happened = co_await handle;
          EXPECT_FALSE(happened) << "although it was cancelled before";
          if (!completes) co_await subject->complete();
          EXPECT_EQ(co_await subject->wrong(happened), "");
        }(*this, ready),
        config_of(ExecutionModel::caller));
  }

  void while_it_waits() {
    run(
        [](CancelAtEveryMoment& test) -> Task<void> {
          const std::unique_ptr<Subject> subject = test.GetParam().make();
          co_await subject->prepare();
          TaskHandle<bool> handle = spawn(operate(*subject, Counted(test.alive_)));
          for (int i = 0; i < 200; ++i) co_await yield_now();  // through some turns of the driver
          if (test.GetParam().waits) {
            EXPECT_FALSE(handle.done());
          }
          handle.cancel();
          const bool happened = co_await handle;
          if (test.GetParam().waits) {
            EXPECT_FALSE(happened) << "although nobody had completed it";
          }
          co_await subject->complete();
          EXPECT_EQ(co_await subject->wrong(happened), "");
        }(*this),
        config_of(ExecutionModel::caller));
  }

  // `pause`: how many turns the cancel comes after the beginning of the completion.
  void one_round(int pause) {
    run(
        [](CancelAtEveryMoment& test, int turns) -> Task<void> {
          const std::unique_ptr<Subject> subject = test.GetParam().make();
          co_await subject->prepare();
          TaskHandle<bool> handle = spawn(operate(*subject, Counted(test.alive_)));
          for (int i = 0; i < turns % 3; ++i) co_await yield_now();
          TaskHandle<void> completer = spawn(subject->complete());
          for (int i = 0; i < turns; ++i) co_await yield_now();
          handle.cancel();
          const bool happened = co_await handle;
          co_await completer;
          test.seen_[happened] = true;
          EXPECT_EQ(co_await subject->wrong(happened), "");
        }(*this, pause),
        config_of(ExecutionModel::multi_thread));
  }

  std::atomic<int> alive_{0};
  size_t descriptors_ = 0;
  bool seen_[2] = {false, false};
};

inline std::string name_of_row(const ::testing::TestParamInfo<CancelRow>& info) {
  std::string name = info.param.name;
  std::replace_if(name.begin(), name.end(), [](unsigned char c) { return !std::isalnum(c); }, '_');
  return name;
}

}  // namespace zsync
