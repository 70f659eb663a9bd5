// Decides when changes make a command run. Time and content are inputs.
//
// One run at a time. A path triggers when its content differs from what it was when the last run
// that knew of it began: a formatter that rewrites a file makes one following run, which finds the
// file as it left it and settles. Whatever a person changes during a run differs too, and is never
// lost.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace zsync::cli {

// Whether a path matches a glob: `*` and `?` within one part, `**` across parts, [set]; a glob
// without a slash matches the last part of any path.
bool glob_matches(const std::string& glob, const std::string& path);

// Threads: one at a time.
class WatchTrigger {
 public:
  using Time = std::chrono::steady_clock::time_point;
  // The content of a path as a hash; empty for one that is gone.
  using Hash = std::function<std::string(const std::string& path)>;

  // Following runs in a row over the same paths, after which the command is taken for a loop.
  static constexpr int kFollowingRunsMax = 3;
  // A batch that arrives so soon after a run ended, beside the time in which it settles, may still
  // be of the run's making. A person who saves once more is slower.
  static constexpr std::chrono::milliseconds kAftermath{300};
  static constexpr std::chrono::milliseconds kSettle{50};  // the daemon's own
  // Contents remembered; past it all are forgotten, which costs at most one run too many.
  static constexpr std::size_t kPathsMax = 200'000;

  struct Decision {
    enum class Action { kWait, kRun, kStop };
    Action action = Action::kWait;
    std::vector<std::string> paths;  // kRun: what changed; kStop: what keeps changing
  };

  // Paths that match one of `writes` never trigger.
  WatchTrigger(std::vector<std::string> writes, Hash hash,
               std::chrono::nanoseconds settle = kSettle)
      : writes_(std::move(writes)), hash_(std::move(hash)), aftermath_(settle + kAftermath) {}

  // A batch of changes; kRun starts a run now. During a run it is only kept.
  Decision changed(const std::vector<std::string>& paths, Time now);
  // The run has ended; kRun starts the following one now.
  Decision finished(Time now);

 private:
  Decision decide(const std::vector<std::string>& paths, bool following);

  std::vector<std::string> writes_;
  Hash hash_;
  std::chrono::nanoseconds aftermath_;
  bool running_ = false;
  bool ran_ = false;
  Time ended_{};
  std::set<std::string> pending_;            // changed during the run
  std::map<std::string, std::string> seen_;  // content when the last run that knew of it began
  int following_runs_ = 0;
  std::set<std::string> common_;  // in each of the last following_runs_ runs
};

}  // namespace zsync::cli
