// What every load generator needs: a clock, order statistics, one line of JSON as the answer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace zsync::bench {

// CLOCK_MONOTONIC, which other processes of the machine read as well.
int64_t now_ns();

// Durations in nanoseconds, in the order in which they were taken.
class Series {
 public:
  void add(int64_t ns) { values_.push_back(ns); }
  size_t size() const { return values_.size(); }
  // 0 <= q <= 1, by nearest rank; 0 of an empty series.
  double quantile_us(double q) const;

 private:
  std::vector<int64_t> values_;
};

// One object of numbers and texts, written in the order in which they were added.
class Answer {
 public:
  Answer& number(std::string_view name, double value);
  Answer& text(std::string_view name, std::string_view value);
  // p50, p99, min and max of the series, in microseconds, under NAME_p50_us and so on.
  Answer& series(std::string_view name, const Series& series);
  void print() const;

 private:
  std::string body_;
};

// What this process has used so far.
struct Usage {
  double cpu_seconds = 0;
  int64_t voluntary_switches = 0;
  static Usage now();
};

// Writes the status to stderr and returns the exit code 1.
int fail(std::string_view what, const absl::Status& status);

}  // namespace zsync::bench
