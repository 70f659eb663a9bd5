#include "tests/bench/client/measure.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ctime>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace zsync::bench {

int64_t now_ns() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

double Series::quantile_us(double q) const {
  if (values_.empty()) return 0;
  std::vector<int64_t> sorted = values_;
  const double rank = std::ceil(q * static_cast<double>(sorted.size())) - 1;
  const auto index = std::min(sorted.size() - 1, static_cast<size_t>(std::max(0.0, rank)));
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(index),
                   sorted.end());
  return static_cast<double>(sorted[index]) / 1000;
}

Answer& Answer::number(std::string_view name, double value) {
  absl::StrAppendFormat(&body_, "%s\"%s\": %.6f", body_.empty() ? "" : ", ",
                        absl::string_view(name.data(), name.size()), value);
  return *this;
}

Answer& Answer::text(std::string_view name, std::string_view value) {
  absl::StrAppendFormat(&body_, "%s\"%s\": \"%s\"", body_.empty() ? "" : ", ",
                        absl::string_view(name.data(), name.size()),
                        absl::string_view(value.data(), value.size()));
  return *this;
}

Answer& Answer::series(std::string_view name, const Series& series) {
  const std::string prefix(name);
  number(prefix + "_p50_us", series.quantile_us(0.5));
  number(prefix + "_p99_us", series.quantile_us(0.99));
  number(prefix + "_min_us", series.quantile_us(0));
  return number(prefix + "_max_us", series.quantile_us(1));
}

void Answer::print() const {
  std::printf("{%s}\n", body_.c_str());
  std::fflush(stdout);
}

Usage Usage::now() {
  rusage used;
  getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return {seconds(used.ru_utime) + seconds(used.ru_stime), used.ru_nvcsw};
}

int fail(std::string_view what, const absl::Status& status) {
  std::fprintf(stderr, "bench-client: %s: %s\n", std::string(what).c_str(),
               status.ToString().c_str());
  return 1;
}

}  // namespace zsync::bench
