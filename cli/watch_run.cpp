#include "cli/watch_run.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/durations.hpp"
#include "cli/errors.hpp"
#include "cli/render/text.hpp"
#include "cli/signals.hpp"
#include "cli/spec_flags.hpp"
#include "cli/task_stream.hpp"
#include "watch/trigger.hpp"

namespace zsync::cli {
namespace {

constexpr off_t kHashedBytesMax = 64 << 20;
constexpr std::size_t kLabelBytesMax = 64;

// What the two threads below tell the deciding one.
struct Happening {
  enum class Kind { kChanges, kRunEnded, kWatchEnded, kInterrupt } kind;
  std::vector<std::string> paths;
  absl::Status status;
  std::string traceparent = {};  // of the batch
};

class Happenings {
 public:
  void push(Happening happening) {
    std::lock_guard<std::mutex> lock(mutex_);
    queue_.push_back(std::move(happening));
    changed_.notify_one();
  }
  Happening pop() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return !queue_.empty(); });
    Happening first = std::move(queue_.front());
    queue_.pop_front();
    return first;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Happening> queue_;
};

// The directory's own name, as far as it may stand in a label.
std::string label_of(const std::string& directory) {
  std::string name = directory.substr(directory.rfind('/') + 1);
  for (char& c : name) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '.' && c != '_') c = '-';
  }
  return name.substr(0, kLabelBytesMax);
}

// The task of the moment, on a thread of its own so that changes are taken in meanwhile.
class CommandRun {
 public:
  CommandRun(Context& context, client::Client& client, Happenings& happenings)
      : context_(context), client_(client), happenings_(happenings) {}
  ~CommandRun() { join(); }

  void start(v1::TaskSpec spec) {
    join();
    thread_ = std::thread([this, spec = std::move(spec)]() mutable {
      happenings_.push({Happening::Kind::kRunEnded, {}, run(std::move(spec))});
    });
  }
  void join() {
    if (thread_.joinable()) thread_.join();
  }
  void interrupt(bool kill) {
    const std::string id = this->id();
    if (!id.empty()) (void)request_cancel(client_, id, kill);
  }

 private:
  std::string id() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return id_;
  }
  absl::Status run(v1::TaskSpec spec) {
    client::CallOptions call;
    call.stop = &context_.stop;
    const absl::StatusOr<std::string> id = client_.tasks().submit(std::move(spec), call);
    if (!id.ok()) return id.status();
    {
      std::lock_guard<std::mutex> lock(mutex_);
      id_ = *id;
    }
    const absl::StatusOr<v1::Task> task = stream_task(context_, client_, *id, call);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      id_.clear();
    }
    if (!task.ok()) return task.status();
    explain_end(context_, *task);
    if (const int code = exit_code_of(*task); code != 0) {
      context_.note(absl::StrCat("the command ended with code ", code));
    }
    return absl::OkStatus();
  }

  Context& context_;
  client::Client& client_;
  Happenings& happenings_;
  mutable std::mutex mutex_;
  std::string id_;
  std::thread thread_;
};

void add_changed_files(const v1::WatchBatch& batch, std::vector<std::string>& paths) {
  for (const v1::FileChange& change : batch.changes()) {
    if (change.directory()) continue;
    paths.push_back(exact_path(change));
    if (!change.renamed_from().empty()) paths.push_back(exact_renamed_from(change));
  }
}

absl::Status loop_error(const std::vector<std::string>& paths) {
  return absl::AbortedError(absl::StrCat(
      "the command changes what it is triggered by, ", watching::Trigger::kFollowingRunsMax,
      " times in a row: ", absl::StrJoin(paths, ", "), "; declare it with --writes GLOB"));
}

// The deciding loop; returns when there is nothing left to decide.
absl::StatusOr<int> decide(Context& context, const v1::SubscribeWatchRequest& request,
                           watching::Trigger& trigger, CommandRun& run, Happenings& happenings) {
  absl::StatusOr<v1::TaskSpec> spec = make_spec({});
  if (!spec.ok()) return spec.status();
  if (absl::Status set = set_command(*spec, {}, context.command); !set.ok()) return set;
  bool running = false;
  int interrupts = 0;
  std::string cause;  // the span of the first batch that no run has answered
  while (true) {
    const Happening happening = happenings.pop();
    watching::Trigger::Decision decision;
    const auto now = std::chrono::steady_clock::now();
    switch (happening.kind) {
      case Happening::Kind::kWatchEnded:
        if (running) run.interrupt(false);
        if (!happening.status.ok()) return happening.status;
        return static_cast<int>(kExitOk);
      case Happening::Kind::kInterrupt:
        if (!running || ++interrupts > 2) return static_cast<int>(kExitInterrupted);
        run.interrupt(interrupts > 1);
        continue;
      case Happening::Kind::kChanges:
        if (cause.empty()) cause = happening.traceparent;
        decision = trigger.changed(happening.paths, now);
        break;
      case Happening::Kind::kRunEnded:
        running = false;
        if (context.out.broken()) return static_cast<int>(kExitPipeClosed);
        if (interrupts > 0) return static_cast<int>(kExitInterrupted);
        if (!happening.status.ok()) return happening.status;
        decision = trigger.finished(now);
        break;
    }
    if (decision.action == watching::Trigger::Decision::Action::kStop)
      return loop_error(decision.paths);
    if (decision.action == watching::Trigger::Decision::Action::kWait) {
      if (!running) cause.clear();
      continue;
    }
    v1::TaskSpec next = *spec;
    (*next.mutable_env())["ZSYNC_CHANGED"] = watching::changed_variable(decision.paths);
    (*next.mutable_labels())["watch"] = label_of(request.path());
    if (!cause.empty()) next.set_traceparent(std::exchange(cause, ""));
    running = true;
    run.start(std::move(next));
  }
}

}  // namespace

const std::string& exact_path(const v1::FileChange& change) {
  return change.path_bytes().empty() ? change.path() : change.path_bytes();
}

const std::string& exact_renamed_from(const v1::FileChange& change) {
  return change.renamed_from_bytes().empty() ? change.renamed_from() : change.renamed_from_bytes();
}

std::string content_hash(const std::string& path) {
  struct stat info;
  if (::lstat(path.c_str(), &info) != 0) return "";
  std::string facts = absl::StrCat(info.st_mode, " ", info.st_size);
  if (!S_ISREG(info.st_mode) || info.st_size > kHashedBytesMax) {
    return absl::StrCat(facts, " ", info.st_mtim.tv_sec, ".", info.st_mtim.tv_nsec);
  }
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return absl::StrCat(facts, " unreadable");
  std::uint64_t hash = 14695981039346656037u;  // FNV-1a, 64 bits
  char buffer[64 << 10];
  ssize_t got;
  while ((got = ::read(fd, buffer, sizeof buffer)) > 0) {
    for (ssize_t i = 0; i < got; ++i) {
      hash = (hash ^ static_cast<unsigned char>(buffer[i])) * 1099511628211u;
    }
  }
  ::close(fd);
  return absl::StrCat(facts, " ", hash);
}

absl::StatusOr<int> run_on_changes(Context& context, const v1::SubscribeWatchRequest& request,
                                   const std::vector<std::string>& writes) {
  Happenings happenings;
  const SignalGuard signals([&](int) { happenings.push({Happening::Kind::kInterrupt, {}, {}}); });
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  const v1::WatchFilter& filter = request.filter();
  absl::StatusOr<watching::GlobSet> outputs = watching::GlobSet::compile(writes);
  if (!outputs.ok()) return usage_error(absl::StrCat("--writes: ", outputs.status().message()));
  watching::Trigger trigger(
      *std::move(outputs),
      [root = request.path()](const std::string& path) { return content_hash(root + "/" + path); },
      filter.has_settle() ? to_nanoseconds(filter.settle()) : watching::Trigger::kSettleDefault);
  v1::SubscribeWatchRequest traced = request;
  traced.set_traced(true);
  std::thread watching([&] {
    const absl::Status status = (*client)->watch().subscribe(
        traced,
        [&, paths = std::vector<std::string>()](const v1::WatchBatch& batch) mutable {
          add_changed_files(batch, paths);
          // Without a clock it is a part of a batch, and more follows.
          if (!paths.empty() && !batch.clock().empty()) {
            happenings.push(
                {Happening::Kind::kChanges, std::exchange(paths, {}), {}, batch.traceparent()});
          }
          return true;
        },
        *call);
    happenings.push({Happening::Kind::kWatchEnded, {}, status});
  });
  absl::StatusOr<int> result = absl::UnknownError("");
  {
    CommandRun run(context, **client, happenings);
    result = decide(context, request, trigger, run, happenings);
    context.stop.cancel();
  }
  watching.join();
  return result;
}

}  // namespace zsync::cli
