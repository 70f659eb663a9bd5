#include "daemon/shim/supervisor.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "daemon/shim/attempt.hpp"

namespace zsync::daemon::shim {
namespace {

using segment_log::Fd;

constexpr size_t kReadBytes = 256u << 10;       // one read; split into records of kRecordBytesMax
constexpr size_t kTerminalBytesMax = 1u << 20;  // more than a terminal holds
constexpr int kReadsPerTurn = 4;                // of one stream, before the other one has its turn
constexpr int64_t kGraceMsMax = 365ll * 24 * 3600 * 1000;

int64_t clock_ns(clockid_t clock) {
  timespec now = {};
  ::clock_gettime(clock, &now);
  return now.tv_sec * 1'000'000'000ll + now.tv_nsec;
}
int64_t now_unix_nano() { return clock_ns(CLOCK_REALTIME); }
int64_t now_ms() { return clock_ns(CLOCK_BOOTTIME) / 1'000'000; }
int64_t bounded_ms(uint64_t ms) {
  return static_cast<int64_t>(std::min<uint64_t>(ms, kGraceMsMax));
}

}  // namespace

Supervisor::Supervisor(Spec spec, Fd signals, Fd exit_file, Listener listener, Fd first_connection)
    : spec_(std::move(spec)),
      signals_(std::move(signals)),
      exit_file_(std::move(exit_file)),
      listener_(std::move(listener)),
      log_(spec_) {
  state_.hello.shim_pid = ::getpid();
  if (first_connection.valid()) connections_.emplace_back(std::move(first_connection));
}

void Supervisor::run() {
  start();
  update_daemons();
  while (!ended()) turn(wait_ms());
  drain();
  record_end();
  update_daemons();
  while (!quit_ && owes_news()) turn(-1);
}

void Supervisor::start() {
  exit_.started_unix_nano = now_unix_nano();
  state_.cgroup_error = tree_.join_cgroup(spec_.cgroup);
  command_ = start_command(spec_);
  if (command_.pid == 0) return fail_start(command_.error, command_.code, command_.text);
  childless_ = false;
  state_.hello.pid = command_.pid;
  state_.hello.started_unix_nano = exit_.started_unix_nano;
  if (command_.input.valid()) stdin_.open(std::move(command_.input));
  if (spec_.timeout_ms > 0) timeout_at_ms_ = now_ms() + bounded_ms(spec_.timeout_ms);
  if (spec_.deadline_ms > 0) deadline_at_ms_ = now_ms() + bounded_ms(spec_.deadline_ms);
}

void Supervisor::fail_start(int error, int code, std::string text) {
  exit_.kind = ExitKind::kExecFailed;
  exit_.error = error;
  exit_.code = code;
  exit_.text = std::move(text);
  std::replace(exit_.text.begin(), exit_.text.end(), '\n', ' ');
  main_done_ = true;
}

// When the run is over; INT64_MAX: when it ends by itself.
int64_t Supervisor::ends_at_ms() const {
  if (ending_) return INT64_MAX;
  const int64_t timeout = timeout_at_ms_ > 0 && paused_at_ms_ == 0 ? timeout_at_ms_ : INT64_MAX;
  return deadline_at_ms_ > 0 ? std::min(timeout, deadline_at_ms_) : timeout;
}

bool Supervisor::ended() {
  if (!main_done_) return false;
  if (childless_ || (spec_.keep_children && ask_ == Ask::kNothing)) return true;
  return ending_ && now_ms() >= kill_at_ms_ + kUnkillableMs;
}

int64_t Supervisor::wait_ms() const {
  int64_t at = ends_at_ms();
  if (ending_) at = std::max(kill_at_ms_, kill_again_at_ms_);
  if (alone() && !listener_.valid()) at = std::min(at, now_ms() + kListenAgainMs);
  if (at == INT64_MAX) return -1;
  return std::clamp<int64_t>(at - now_ms(), 0, 1 << 30);
}

void Supervisor::turn(int64_t wait) {
  std::vector<pollfd> polled = {
      {signals_.get(), POLLIN, 0},
      {listener_.fd(), POLLIN, 0},
      {command_.output[0].get(), POLLIN, 0},
      {command_.output[1].get(), POLLIN, 0},
      {stdin_.fd(), static_cast<short>(stdin_.wants_write() ? POLLOUT : 0), 0}};
  const size_t first = polled.size();
  for (const Connection& connection : connections_) {
    polled.push_back({connection.fd(),
                      static_cast<short>(connection.wants_write() ? POLLIN | POLLOUT : POLLIN), 0});
  }
  if (::poll(polled.data(), polled.size(), static_cast<int>(wait)) < 0) return;
  // Output before the news of an end, so that the records keep the order of events.
  for (int stream = 0; stream < 2; ++stream) {
    if (polled[2 + static_cast<size_t>(stream)].revents != 0) read_output(stream);
  }
  if (polled[4].revents & (POLLERR | POLLHUP)) {
    stdin_.close();
  } else if (polled[4].revents != 0) {
    stdin_.pump();
  }
  size_t at = first;
  for (auto connection = connections_.begin(); connection != connections_.end(); ++at) {
    bool good = true;
    if (polled[at].revents != 0) serve(*connection, polled[at].revents, good);
    connection = good ? std::next(connection) : connections_.erase(connection);
  }
  if (polled[1].revents != 0) accept_daemon();
  if (polled[0].revents != 0) take_signals();
  keep_time();
  update_daemons();
}

void Supervisor::keep_time() {
  if (main_done_ && (childless_ || state_.exit)) return;
  const int64_t now = now_ms();
  if (now >= ends_at_ms()) {
    exit_.by_deadline = ends_at_ms() == deadline_at_ms_;
    begin_end(spec_.kill_grace_ms, Ask::kTimeout);
  }
  if (ending_ && now >= kill_at_ms_ && now >= kill_again_at_ms_) {
    (void)tree_.send(SIGKILL);
    kill_again_at_ms_ = now + kKillAgainMs;
    reap();
  }
}

void Supervisor::take_signals() {
  signalfd_siginfo info;
  while (::read(signals_.get(), &info, sizeof(info)) == sizeof(info)) {
    if (info.ssi_signo != SIGTERM) continue;
    if (state_.exit) quit_ = true;
    begin_end(spec_.kill_grace_ms, Ask::kCancel);
  }
  reap();
}

void Supervisor::reap() {
  if (childless_ || state_.exit) return;
  while (true) {
    int status = 0;
    const pid_t pid = ::waitpid(-1, &status, WNOHANG | __WALL);
    if (pid == 0) break;
    if (pid < 0 && errno == EINTR) continue;
    if (pid < 0) {
      // A group of its own may hold somebody who is no descendant.
      childless_ = !tree_.has_cgroup() || tree_.members().empty();
      break;
    }
    if (pid != command_.pid) continue;
    main_done_ = true;
    stdin_.close();
    exit_.kind = WIFSIGNALED(status) ? ExitKind::kSignaled : ExitKind::kExited;
    exit_.code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
    exit_.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    if (ask_ == Ask::kCancel) exit_.kind = ExitKind::kCanceled;
    if (ask_ == Ask::kTimeout) exit_.kind = ExitKind::kTimedOut;
  }
  const bool leaves = main_done_ && !childless_ && !(spec_.keep_children && ask_ == Ask::kNothing);
  if (leaves && !ending_) begin_end(spec_.kill_grace_ms, Ask::kNothing);
}

// Asks the tree to end, and sets when it will be made to. A later call can only shorten the grace.
void Supervisor::begin_end(uint64_t grace_ms, Ask ask) {
  if (state_.exit || (main_done_ && childless_)) return;
  if (!main_done_ && ask_ == Ask::kNothing) {
    ask_ = ask;
    state_.hello.canceling = ask == Ask::kCancel;
  }
  const int64_t kill_at = now_ms() + bounded_ms(grace_ms);
  if (ending_) {
    kill_at_ms_ = std::min(kill_at_ms_, kill_at);
    return;
  }
  ending_ = true;
  kill_at_ms_ = kill_at;
  paused_at_ms_ = 0;
  state_.hello.paused_unix_nano = 0;
  if (grace_ms == 0) return;  // keep_time kills at once
  (void)tree_.send(SIGTERM);
  (void)tree_.send(SIGCONT);  // a stopped process would not hear it
}

// The kernel tells the terminal's foreground processes (SIGWINCH) when it has changed.
void Supervisor::resize(const TerminalSize& size) {
  const winsize window = {size.rows, size.columns, 0, 0};
  const segment_log::Fd& terminal = command_.output[0];
  if (spec_.terminal.rows != 0 && terminal.valid()) {
    (void)::ioctl(terminal.get(), TIOCSWINSZ, &window);
  }
}

// Stops every process. What is forked meanwhile is stopped as well: send() goes on until nobody new
// shows up.
void Supervisor::pause() {
  if (main_done_ || ending_ || paused_at_ms_ > 0) return;
  (void)tree_.send(SIGSTOP);
  paused_at_ms_ = now_ms();
  state_.hello.paused_unix_nano = now_unix_nano();
}

void Supervisor::resume() {
  if (paused_at_ms_ == 0) return;
  (void)tree_.send(SIGCONT);
  if (timeout_at_ms_ > 0) timeout_at_ms_ += now_ms() - paused_at_ms_;
  paused_at_ms_ = 0;
  state_.hello.paused_unix_nano = 0;
}

// False at the end of the stream, or when nothing is there.
bool Supervisor::read_once(int stream, size_t bytes_max, ssize_t& got) {
  Fd& pipe = command_.output[stream];
  if (!buffer_) buffer_ = std::make_unique_for_overwrite<char[]>(kReadBytes);
  do {
    got = ::read(pipe.get(), buffer_.get(), std::min(bytes_max, kReadBytes));
  } while (got < 0 && errno == EINTR);
  if (got < 0 && errno == EAGAIN) return false;
  if (got <= 0) {
    pipe = Fd();
    return false;
  }
  log_.append(static_cast<uint8_t>(stream + 1), {buffer_.get(), static_cast<size_t>(got)},
              now_unix_nano());
  state_.hello.last_seq = log_.last_seq();
  state_.hello.output_bytes = log_.bytes();
  return true;
}

void Supervisor::read_output(int stream) {
  for (int i = 0; i < kReadsPerTurn; ++i) {
    ssize_t got = 0;
    if (!read_once(stream, kReadBytes, got)) return;
    if (got < static_cast<ssize_t>(kRecordBytesMax)) return;
    // Only busy streams take a big pipe: the kernel counts them against a per-user limit.
    if (i == 0) (void)::fcntl(command_.output[stream].get(), F_SETPIPE_SZ, kPipeBytes);
  }
}

// What is in the pipes now, and no more: somebody outside the tree may hold the other end and go on
// writing.
void Supervisor::drain() {
  for (int stream = 0; stream < 2; ++stream) {
    int left = 0;
    if (!command_.output[stream].valid()) continue;
    if (spec_.terminal.rows != 0) {
      // FIONREAD knows only what has come through the line discipline; a read waits for the rest.
      ssize_t got = 0;
      for (size_t all = 0; all < kTerminalBytesMax && read_once(stream, kReadBytes, got);) {
        all += static_cast<size_t>(got);
      }
      continue;
    }
    if (::ioctl(command_.output[stream].get(), FIONREAD, &left) != 0) continue;
    ssize_t got = 0;
    while (left > 0 && read_once(stream, static_cast<size_t>(left), got))
      left -= static_cast<int>(got);
  }
  command_.output[0] = Fd();
  command_.output[1] = Fd();
  stdin_.close();
}

void Supervisor::record_end() {
  exit_.finished_unix_nano = now_unix_nano();
  exit_.usage = tree_.usage();
  log_.finish(exit_.finished_unix_nano);
  exit_.last_seq = log_.last_seq();
  exit_.output_bytes = log_.bytes();
  exit_.lost_bytes = log_.lost_bytes();
  state_.hello.last_seq = exit_.last_seq;
  write_exit(exit_file_, exit_);
  state_.hello.exited = true;
  state_.exit = exit_;
}

void Supervisor::accept_daemon() {
  while (true) {
    Fd socket = listener_.accept();
    if (!socket.valid()) return;
    if (connections_.size() < kConnectionsMax) connections_.emplace_back(std::move(socket));
  }
}

void Supervisor::serve(Connection& connection, short events, bool& good) {
  if ((events & (POLLIN | POLLERR | POLLHUP)) == 0) return;
  std::vector<Frame> frames;
  good = connection.receive(frames);
  for (const Frame& frame : frames) take_frame(frame, good);
}

void Supervisor::take_frame(const Frame& frame, bool& good) {
  switch (frame.type) {
    case FrameType::kCancel:
      begin_end(decode_cancel(frame).grace_ms, Ask::kCancel);
      break;
    case FrameType::kSignal:
      if (!main_done_) (void)::kill(-command_.pid, decode_signal(frame).number);
      break;
    case FrameType::kResize:
      resize(decode_resize(frame));
      break;
    case FrameType::kPause:
      pause();
      break;
    case FrameType::kResume:
      resume();
      break;
    case FrameType::kStdinData:
      good = good && stdin_.take(decode_stdin_data(frame));
      break;
    case FrameType::kStdinEof:
      stdin_.take_eof();
      break;
    default:
      break;
  }
}

void Supervisor::update_daemons() {
  state_.hello.stdin_received = stdin_.received();
  state_.stdin_ack = stdin_.ack();
  connections_.remove_if([this](Connection& connection) { return !connection.update(state_); });
  if (alone()) (void)listener_.open();
}

// Whether a daemon that wants to know of the command has to come by itself. After the end it reads
// the exit file.
bool Supervisor::alone() const { return connections_.empty() && !state_.exit; }

bool Supervisor::owes_news() const {
  return std::any_of(connections_.begin(), connections_.end(),
                     [](const Connection& connection) { return connection.wants_write(); });
}

}  // namespace zsync::daemon::shim
