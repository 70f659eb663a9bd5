// Output of several units at once, each line behind its unit's name.
#include <algorithm>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cli/errors.hpp"
#include "cli/projects.hpp"
#include "cli/signals.hpp"

namespace zsync::cli {
namespace {

constexpr std::size_t kLinesKept = 2000;      // of each unit, the newest ones
constexpr std::size_t kLineBytesMax = 65536;  // then it is cut in two

struct Line {
  std::int64_t time = 0;
  std::size_t number = 0;  // among those of one time
  std::string unit;
  std::string text;  // with its '\n'
};

// Cuts records into lines; a line that has not ended is given by finish().
class LineCutter {
 public:
  template <typename Give>
  void take(const v1::Record& record, const Give& give) {
    std::string& open = open_[record.stream()];
    for (const char letter : record.data()) {
      open += letter;
      if (letter != '\n' && open.size() < kLineBytesMax) continue;
      if (letter != '\n') open += '\n';
      give(record.time_unix_nano(), std::exchange(open, ""));
    }
    last_ = record.time_unix_nano();
  }
  template <typename Give>
  void finish(const Give& give) {
    for (auto& [stream, open] : open_) {
      if (!open.empty()) give(last_, std::exchange(open, "") + "\n");
    }
  }

 private:
  std::map<int, std::string> open_;
  std::int64_t last_ = 0;
};

class PrefixedOutput {
 public:
  PrefixedOutput(Context& context, std::size_t width) : context_(context), width_(width) {}

  void write(const Line& line) {
    std::lock_guard guard(mutex_);
    const std::string pad(width_ - std::min(width_, line.unit.size()), ' ');
    context_.out.write(absl::StrCat(line.unit, pad, " | ", line.text));
  }
  bool flush() {
    std::lock_guard guard(mutex_);
    return context_.out.flush();
  }

 private:
  Context& context_;
  const std::size_t width_;
  std::mutex mutex_;
};

// Threads that follow one task each.
class Followers {
 public:
  Followers(Context& context, client::Client& client, PrefixedOutput& out)
      : context_(context), client_(client), out_(out) {}
  ~Followers() {
    for (std::thread& thread : threads_) thread.join();
  }
  Followers(const Followers&) = delete;
  Followers& operator=(const Followers&) = delete;

  void follow(const std::string& unit, const std::string& task) {
    if (task.empty() || !known_.insert(task).second) return;
    threads_.emplace_back([this, unit, task] {
      LineCutter cutter;
      const auto give = [&](std::int64_t time, std::string text) {
        out_.write({time, 0, unit, std::move(text)});
      };
      client::CallOptions call;
      call.stop = &context_.stop;
      const absl::Status status = client_.tasks().output(
          task, 1, true,
          [&](const v1::TaskOutputBatch& batch) {
            for (const v1::Record& record : batch.records()) cutter.take(record, give);
            return out_.flush();
          },
          call);
      cutter.finish(give);
      if (!out_.flush()) context_.stop.cancel();
    });
  }

 private:
  Context& context_;
  client::Client& client_;
  PrefixedOutput& out_;
  std::set<std::string> known_;
  std::vector<std::thread> threads_;
};

absl::StatusOr<int> print_newest(client::Client& client, const v1::Project& project,
                                 const std::set<std::string>& wanted, PrefixedOutput& out,
                                 const client::CallOptions& call) {
  std::vector<Line> lines;
  std::size_t number = 0;
  for (const v1::ProjectUnit& unit : project.units()) {
    if (!wanted.contains(unit.name()) || unit.task().empty()) continue;
    std::deque<Line> kept;
    LineCutter cutter;
    const auto give = [&](std::int64_t time, std::string text) {
      kept.push_back({time, ++number, unit.name(), std::move(text)});
      if (kept.size() > kLinesKept) kept.pop_front();
    };
    const absl::Status status = client.tasks().output(
        unit.task(), 1, false,
        [&](const v1::TaskOutputBatch& batch) {
          for (const v1::Record& record : batch.records()) cutter.take(record, give);
          return true;
        },
        call);
    if (!status.ok()) return status;
    cutter.finish(give);
    std::move(kept.begin(), kept.end(), std::back_inserter(lines));
  }
  std::sort(lines.begin(), lines.end(), [](const Line& a, const Line& b) {
    return std::pair(a.time, a.number) < std::pair(b.time, b.number);
  });
  for (const Line& line : lines) out.write(line);
  out.flush();
  return static_cast<int>(kExitOk);
}

}  // namespace

absl::StatusOr<int> project_logs(Context& context, const std::string& given,
                                 const std::vector<std::string>& units, bool follow) {
  const std::string name = project_near(given);
  if (name.empty()) {
    return absl::NotFoundError(
        "no zsync.yaml here or in a directory above: name a project with "
        "--project");
  }
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  const auto project = (*client)->projects().get(name, *call);
  if (!project.ok()) return project.status();
  std::set<std::string> wanted(units.begin(), units.end());
  std::set<std::string> known;
  std::size_t width = 0;
  for (const v1::ProjectUnit& unit : project->units()) {
    known.insert(unit.name());
    if (units.empty()) wanted.insert(unit.name());
    if (wanted.contains(unit.name())) width = std::max(width, unit.name().size());
  }
  for (const std::string& unit : units) {
    if (known.contains(unit)) continue;
    const std::string near = closest(unit, {known.begin(), known.end()});
    return absl::NotFoundError(absl::StrCat("project ", project->name(), " has no \"", unit, "\"",
                                            near.empty() ? "" : "; did you mean " + near + "?"));
  }
  PrefixedOutput out(context, width);
  if (!follow) return print_newest(**client, *project, wanted, out, *call);
  const SignalGuard guard([&](int) { context.stop.cancel(); });
  const HangupGuard hangup(context.out.fd(), [&] { context.stop.cancel(); });
  absl::Status status;
  {
    Followers followers(context, **client, out);
    status = (*client)->projects().follow(
        name,
        [&](const v1::Project& now) {
          for (const v1::ProjectUnit& unit : now.units()) {
            if (wanted.contains(unit.name())) followers.follow(unit.name(), unit.task());
          }
          return true;
        },
        *call);
    context.stop.cancel();
  }
  if (!status.ok() && !absl::IsCancelled(status)) return status;
  return static_cast<int>(context.out.broken() ? kExitPipeClosed : kExitInterrupted);
}

}  // namespace zsync::cli
