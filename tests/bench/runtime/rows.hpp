// What the bench programs of the runtime and of its C++ peers share: a clock, order statistics, one
// line of JSON a figure. Needs the standard library only, so that a peer is built without zsync.
#pragma once

#include <poll.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

namespace zsync::bench {

// CLOCK_MONOTONIC.
inline int64_t now_ns() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

// Leaves the processor to what is measured, where being idle is part of the measurement.
inline void pause_us(int64_t us) {
  const timespec pause{us / 1'000'000, us % 1'000'000 * 1'000};
  ppoll(nullptr, 0, &pause, nullptr);
}

// Prints one figure. The metric is named alike in every system, so that the rows stand together.
inline void report(const char* metric, const char* unit, double value) {
  std::printf("{\"metric\": \"%s\", \"unit\": \"%s\", \"value\": %.6f}\n", metric, unit, value);
  std::fflush(stdout);
}

// Ends the program when a bench computed something wrong: its time would mean nothing.
inline void expect(bool right, const char* what) {
  if (right) return;
  std::fprintf(stderr, "bench: wrong result: %s\n", what);
  std::exit(1);
}

// By nearest rank, 0 <= q <= 1; 0 where there is no value.
inline double quantile_us(std::vector<int64_t> ns, double q) {
  if (ns.empty()) return 0;
  std::sort(ns.begin(), ns.end());
  const auto rank = static_cast<size_t>(q * static_cast<double>(ns.size() - 1) + 0.5);
  return static_cast<double>(ns[rank]) / 1000;
}

// Wall time of one thing, divided by how often it was done.
class Stopwatch {
 public:
  double ns_each(double count) const { return static_cast<double>(now_ns() - start_) / count; }
  double per_second(double count) const { return 1e9 / ns_each(count); }

 private:
  int64_t start_ = now_ns();
};

// How a program is called: PROGRAM THREADS [--long] GROUP...
struct Settings {
  size_t threads = 1;      // that run tasks
  bool long_rows = false;  // the sizes that take minutes as well
};

struct Group {
  const char* name;
  void (*run)(const Settings& settings);
};

inline constexpr int kNoSuchGroup = 64;  // exit code

// Runs the groups that are named, in that order.
inline int run_groups(const std::vector<Group>& groups, int argc, char** argv) {
  Settings settings;
  if (argc > 1) settings.threads = std::strtoul(argv[1], nullptr, 10);
  if (settings.threads == 0 || argc < 3) {
    std::fprintf(stderr, "usage: %s THREADS [--long] GROUP...; groups:", argv[0]);
    for (const Group& group : groups) std::fprintf(stderr, " %s", group.name);
    std::fprintf(stderr, "\n");
    return 2;
  }
  for (int i = 2; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--long") {
      settings.long_rows = true;
      continue;
    }
    const auto found = std::find_if(groups.begin(), groups.end(),
                                    [&](const Group& group) { return group.name == word; });
    if (found == groups.end()) return kNoSuchGroup;
    found->run(settings);
  }
  return 0;
}

}  // namespace zsync::bench
