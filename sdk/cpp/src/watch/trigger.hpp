// Decides when changes make a command run. Time and content are inputs. zsyncctl and zsyncd decide
// by it alike.
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
#include <utility>
#include <vector>

#include "watch/glob.hpp"

namespace zsync::watching {

// What ZSYNC_CHANGED names at most: paths, and bytes of them.
inline constexpr size_t kChangedPathsMax = 100;
inline constexpr size_t kChangedBytesMax = 64 << 10;

// Those of them, from the first on, that it names: not names with a newline, and names that are not
// UTF-8.
std::vector<std::string> changed_lines(const std::vector<std::string>& paths);
// The same, a line each.
std::string changed_variable(const std::vector<std::string>& paths);

// Threads: one at a time.
class Trigger {
 public:
  using Time = std::chrono::steady_clock::time_point;
  // The content of a path as a mark; empty for one that is gone.
  using Mark = std::function<std::string(const std::string& path)>;

  // Following runs in a row over the same paths, after which the command is taken for a loop.
  static constexpr int kFollowingRunsMax = 3;
  // A batch that arrives so soon after a run ended, beside the time in which it settles, may still
  // be of the run's making. A person who saves once more is slower.
  static constexpr std::chrono::milliseconds kAftermath{300};
  static constexpr std::chrono::milliseconds kSettleDefault{50};  // the daemon's own
  // Contents remembered; past it all are forgotten, which costs at most one run too many.
  static constexpr size_t kPathsMax = 200'000;

  struct Decision {
    enum class Action { kWait, kRun, kStop };
    Action action = Action::kWait;
    std::vector<std::string> paths;  // kRun: what changed; kStop: what keeps changing
  };

  // What a trigger knows beside what changes, so that another one goes on where it stood.
  struct Memory {
    std::map<std::string, std::string> seen;  // marks when the last run that knew of them began
    int following_runs = 0;
    std::set<std::string> common;  // paths of each of the last following runs
  };

  // Paths that match one of `writes` never trigger; no globs: none of them.
  Trigger(GlobSet writes, Mark mark, std::chrono::nanoseconds settle = kSettleDefault)
      : writes_(std::move(writes)), mark_(std::move(mark)), aftermath_(settle + kAftermath) {}

  // A batch of changes; kRun starts a run now. During a run it is only kept.
  Decision changed(const std::vector<std::string>& paths, Time now);
  // The run has ended; kRun starts the following one now.
  Decision finished(Time now);
  // The run has ended; what is kept stays so.
  void end(Time now);
  // Keeps changes without deciding about them: changed() or finished() takes them along.
  void keep(const std::vector<std::string>& paths);
  // A run of what is kept, even if that is nothing or nothing differs. None may be under way.
  Decision run();
  // What is kept will be told again.
  void forget_kept() { pending_.clear(); }

  // Whether one of the paths can trigger at all.
  [[nodiscard]] bool counts(const std::vector<std::string>& paths) const;
  [[nodiscard]] bool running() const { return running_; }
  [[nodiscard]] size_t kept() const { return pending_.size(); }
  // At most so many paths; where there are more, none, which costs at most one run too many.
  [[nodiscard]] Memory memory(size_t paths_max) const;
  // `running`: a run that an earlier one began is under way.
  void restore(Memory memory, bool running);

 private:
  bool is_written(const std::string& path) const {
    return !writes_.empty() && writes_.matches(path);
  }
  std::vector<std::string> take_kept();
  std::map<std::string, std::string> differing(const std::vector<std::string>& paths) const;
  Decision decide(const std::vector<std::string>& paths, bool following);
  Decision begin(std::map<std::string, std::string> marks);

  GlobSet writes_;
  Mark mark_;
  std::chrono::nanoseconds aftermath_;
  bool running_ = false;
  bool ran_ = false;
  Time ended_{};
  std::set<std::string> pending_;  // changed, and not decided about
  Memory memory_;
};

}  // namespace zsync::watching
