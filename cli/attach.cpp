#include "cli/attach.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cli/errors.hpp"
#include "cli/signals.hpp"
#include "cli/task_stream.hpp"

namespace zsync::cli {
namespace {

constexpr std::size_t kReadBytes = 4096;
constexpr std::uint64_t kHistoryRecords = 200;  // shown of what a task has printed already

// Keys reach the task as they are typed; the terminal is as before when this is gone.
class RawMode {
 public:
  explicit RawMode(int fd) : fd_(fd), changed_(::tcgetattr(fd, &before_) == 0) {
    termios raw = before_;
    ::cfmakeraw(&raw);
    if (changed_) ::tcsetattr(fd_, TCSADRAIN, &raw);
  }
  ~RawMode() {
    if (changed_) ::tcsetattr(fd_, TCSADRAIN, &before_);
  }
  RawMode(const RawMode&) = delete;
  RawMode& operator=(const RawMode&) = delete;

 private:
  const int fd_;
  termios before_ = {};
  const bool changed_;
};

// SIGWINCH as something to read. Made before any thread, so that all of them have it blocked: one
// that has not would take it and drop it.
class WindowChanges {
 public:
  WindowChanges() {
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGWINCH);
    pthread_sigmask(SIG_BLOCK, &mask, &before_);
    fd_ = ::signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
  }
  ~WindowChanges() {
    ::close(fd_);
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  WindowChanges(const WindowChanges&) = delete;
  WindowChanges& operator=(const WindowChanges&) = delete;

  int fd() const { return fd_; }
  void take() const {
    signalfd_siginfo info;
    while (::read(fd_, &info, sizeof info) > 0) {
    }
  }

 private:
  sigset_t before_;
  int fd_;
};

// What is typed, and the size of the window, on a thread of its own.
class Keyboard {
 public:
  Keyboard(Context& context, client::Client& client, const std::string& id, AttachOptions options,
           const WindowChanges& changes, std::function<void()> detached)
      : context_(context),
        options_(std::move(options)),
        changes_(changes),
        detached_(std::move(detached)),
        wake_(::eventfd(0, EFD_CLOEXEC)),
        thread_([this, &client, id] { run(client, id); }) {}
  ~Keyboard() {
    stop_.cancel();
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(wake_, &one, sizeof one);
    thread_.join();
    ::close(wake_);
  }
  Keyboard(const Keyboard&) = delete;
  Keyboard& operator=(const Keyboard&) = delete;

 private:
  void run(client::Client& client, const std::string& id) {
    client::CallOptions call;
    call.stop = &stop_;
    bool redraw = !options_.started_here;
    while (!done_) {
      client::TaskInput input = client.tasks().input(id, call);
      if (resize(input, std::exchange(redraw, false))) serve(input);
      (void)input.finish(false);
      // The daemon may be starting anew: this waits for it, and says when there is nothing to type
      // on any more. What was typed in between is lost.
      const absl::StatusOr<v1::Task> task = client.tasks().get(id, call);
      if (!task.ok() || client::is_final(task->state())) return;
    }
  }
  // Until the stream of input breaks, or nothing more is typed.
  void serve(client::TaskInput& input) {
    pollfd fds[3] = {{context_.in, POLLIN, 0}, {changes_.fd(), POLLIN, 0}, {wake_, POLLIN, 0}};
    while (!done_) {
      if (::poll(fds, 3, -1) < 0 && errno != EINTR) return;
      if (fds[2].revents != 0) done_ = true;
      if (fds[1].revents != 0) {
        changes_.take();
        if (!resize(input, false)) return;
      }
      if (fds[0].revents != 0 && !type(input)) return;
    }
  }
  // A program draws itself anew when its size has changed, so for somebody who comes later it is
  // changed back and forth.
  bool resize(client::TaskInput& input, bool redraw) {
    const std::optional<v1::TerminalSize> size = terminal_size(context_.in);
    if (!size) return true;
    if (redraw && !input.resize(size->rows() + 1, size->columns())) return false;
    return input.resize(size->rows(), size->columns());
  }
  // False: the stream of input broke, or no more is typed here.
  bool type(client::TaskInput& input) {
    char buffer[kReadBytes];
    const ssize_t got = ::read(context_.in, buffer, sizeof buffer);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) return true;
    if (got <= 0) {
      done_ = true;
      detached_();  // the terminal is gone
      return false;
    }
    std::string pass;
    const bool leave =
        options_.keys.take(std::string_view(buffer, static_cast<std::size_t>(got)), pass);
    if (!pass.empty() && !options_.read_only && !input.write(pass)) return false;
    done_ = leave;
    if (leave) detached_();
    return !leave;
  }

  Context& context_;
  AttachOptions options_;
  const WindowChanges& changes_;
  const std::function<void()> detached_;
  client::StopSource stop_;
  bool done_ = false;  // of the thread
  int wake_;
  std::thread thread_;
};

absl::StatusOr<v1::Task> show_output(Context& context, client::Client& client, const v1::Task& task,
                                     bool from_the_start, const client::CallOptions& call) {
  std::uint64_t from = 1;
  if (!from_the_start && task.output_records() > kHistoryRecords) {
    from = task.output_records() - kHistoryRecords;
  }
  RecordWriter writer(context, false);
  std::optional<v1::Task> finished;
  const absl::Status status = client.tasks().output(
      task.id(), from, true,
      [&](const v1::TaskOutputBatch& batch) {
        for (const v1::Record& record : batch.records()) writer.write(record);
        if (batch.has_finished()) finished = batch.finished();
        return writer.flush();
      },
      call);
  if (context.out.broken()) return absl::CancelledError("the reader of stdout is gone");
  if (!status.ok()) return status;
  if (finished && client::is_final(finished->state())) return *std::move(finished);
  return client.tasks().get(task.id(), call);
}

absl::StatusOr<char> parse_key(std::string key) {
  if (absl::StartsWithIgnoreCase(key, "ctrl-") && key.size() == 6) {
    const char letter = static_cast<char>(std::toupper(static_cast<unsigned char>(key[5])));
    if (letter >= '@' && letter <= '_') return static_cast<char>(letter - '@');
  }
  if (key.size() == 1) return key[0];
  return usage_error(absl::StrCat("--detach-keys: \"", key,
                                  "\" is no key: give characters or ctrl-A to ctrl-Z, ctrl-@ "
                                  "ctrl-[ ctrl-] ctrl-^ ctrl-_, with commas between"));
}

}  // namespace

absl::StatusOr<DetachKeys> DetachKeys::parse(const std::string& text) {
  DetachKeys keys;
  if (text == "none") return keys;
  for (const std::string& key : std::vector<std::string>(absl::StrSplit(text, ','))) {
    absl::StatusOr<char> parsed = parse_key(key);
    if (!parsed.ok()) return parsed.status();
    keys.sequence_ += *parsed;
  }
  return keys;
}

bool DetachKeys::take(std::string_view typed, std::string& pass) {
  if (sequence_.empty()) {
    pass.append(typed);
    return false;
  }
  for (const char key : typed) {
    while (matched_ > 0 && key != sequence_[matched_]) {
      // The longest end of what was held back that is a beginning again stays held back.
      std::size_t keep = matched_ - 1;
      while (keep > 0 && sequence_.compare(0, keep, sequence_, matched_ - keep, keep) != 0) --keep;
      pass.append(sequence_, 0, matched_ - keep);
      matched_ = keep;
    }
    if (key != sequence_[matched_]) {
      pass += key;
    } else if (++matched_ == sequence_.size()) {
      matched_ = 0;
      return true;
    }
  }
  return false;
}

std::optional<v1::TerminalSize> terminal_size(int fd) {
  winsize window = {};
  if (::ioctl(fd, TIOCGWINSZ, &window) != 0) return std::nullopt;
  v1::TerminalSize size;
  size.set_rows(window.ws_row);
  size.set_columns(window.ws_col);
  return size;
}

absl::StatusOr<int> attach(Context& context,
                           const std::function<absl::StatusOr<std::string>(client::Client&)>& find,
                           AttachOptions options) {
  if (::isatty(context.in) == 0) {
    return usage_error("stdin is no terminal: `zsyncctl logs -f` follows a task without one");
  }
  const WindowChanges changes;
  std::atomic<bool> detached{false};
  const auto leave = [&] {
    detached = true;
    context.stop.cancel();
  };
  const SignalGuard signals([&](int) { leave(); });
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<std::string> id = find(**client);
  if (!id.ok()) return id.status();
  client::CallOptions call;
  call.stop = &context.stop;
  const absl::StatusOr<v1::Task> task = (*client)->tasks().get(*id, call);
  if (!task.ok()) return task.status();
  if (!task->spec().has_terminal()) {
    return absl::FailedPreconditionError(
        absl::StrCat(task->id(), " has no terminal: `zsyncctl logs -f ", task->id(),
                     "` follows it; submit it with --tty to attach"));
  }
  absl::StatusOr<v1::Task> ended = absl::UnknownError("");
  {
    const RawMode raw(context.in);
    const Keyboard keyboard(context, **client, task->id(), options, changes, leave);
    ended = show_output(context, **client, *task, options.started_here, call);
  }
  context.out.flush();
  if (detached || context.out.broken()) {
    context.err.write("\n");  // the screen is the task's up to here
    context.note(absl::StrCat("detached; `zsyncctl tasks attach ", task->id(), "` comes back"));
    return static_cast<int>(kExitOk);
  }
  if (!ended.ok()) return ended.status();
  explain_end(context, *ended);
  return exit_code_of(*ended);
}

}  // namespace zsync::cli
