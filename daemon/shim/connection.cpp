#include "daemon/shim/connection.hpp"

#include <sys/socket.h>

#include <cerrno>
#include <utility>

namespace zsync::daemon::shim {
namespace {

constexpr size_t kReceiveBytes = 64u << 10;

}  // namespace

Connection::Connection(segment_log::Fd socket) : socket_(std::move(socket)) {}

bool Connection::update(const State& state) {
  while (true) {
    if (!flush()) return false;
    if (wants_write() || !compose(state)) return true;
  }
}

bool Connection::compose(const State& state) {
  if (!hello_sent_) {
    out_ += encode_frame(state.hello);
    paused_sent_ = state.hello.paused_unix_nano;
  }
  hello_sent_ = true;
  if (!started_sent_ && state.hello.pid != 0) {
    out_ +=
        encode_frame(Started{state.hello.pid, state.hello.started_unix_nano, state.cgroup_error});
    started_sent_ = true;
  }
  if (state.stdin_ack.written != ack_sent_.written || state.stdin_ack.closed != ack_sent_.closed) {
    ack_sent_ = state.stdin_ack;
    out_ += encode_frame(ack_sent_);
  }
  if (state.hello.paused_unix_nano != paused_sent_) {
    paused_sent_ = state.hello.paused_unix_nano;
    out_ += encode_frame(Paused{paused_sent_});
  }
  if (!output_outstanding_ && state.hello.output_bytes != output_sent_) {
    out_ += encode_frame(Output{state.hello.last_seq, state.hello.output_bytes});
    output_sent_ = state.hello.output_bytes;
    output_outstanding_ = true;
  }
  if (!exited_sent_ && state.exit) {
    out_ += encode_frame(*state.exit);
    exited_sent_ = true;
  }
  return !out_.empty();
}

bool Connection::flush() {
  while (!out_.empty()) {
    const ssize_t sent =
        ::send(socket_.get(), out_.data(), out_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return errno == EAGAIN;
    out_.erase(0, static_cast<size_t>(sent));
  }
  return true;
}

bool Connection::receive(std::vector<Frame>& frames) {
  char buffer[kReceiveBytes];
  const ssize_t got = ::recv(socket_.get(), buffer, sizeof(buffer), MSG_DONTWAIT);
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  if (got == 0) return false;
  in_.push({buffer, static_cast<size_t>(got)});
  while (std::optional<Frame> frame = in_.next()) {
    if (frame->type == FrameType::kAckOutput) output_outstanding_ = false;
    frames.push_back(*std::move(frame));
  }
  return !in_.broken();
}

}  // namespace zsync::daemon::shim
