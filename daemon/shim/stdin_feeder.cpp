#include "daemon/shim/stdin_feeder.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace zsync::daemon::shim {

void StdinFeeder::open(segment_log::Fd pipe) {
  pipe_ = std::move(pipe);
  opened_ = true;
  pump();
}

bool StdinFeeder::take(const StdinData& data) {
  if (data.offset > received_) return false;
  std::string_view fresh = data.data;
  fresh.remove_prefix(std::min<uint64_t>(fresh.size(), received_ - data.offset));
  if (fresh.empty()) return true;
  if (eof_ || received_ + fresh.size() - written_ > kStdinWindowBytes) return false;
  received_ += fresh.size();
  if (closed_) {
    written_ = received_;
    return true;
  }
  buffer_.append(fresh);
  pump();
  return true;
}

void StdinFeeder::take_eof() {
  eof_ = true;
  pump();
}

void StdinFeeder::pump() {
  while (wants_write()) {
    const ssize_t wrote = ::write(pipe_.get(), buffer_.data() + used_, buffer_.size() - used_);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0 && errno == EAGAIN) return;
    if (wrote < 0) return close();
    used_ += static_cast<size_t>(wrote);
    written_ += static_cast<uint64_t>(wrote);
  }
  if (!pipe_.valid()) return;
  buffer_.clear();
  used_ = 0;
  if (eof_) pipe_ = segment_log::Fd();
}

void StdinFeeder::close() {
  if (!opened_) return;  // nobody sends any
  pipe_ = segment_log::Fd();
  buffer_.clear();
  used_ = 0;
  written_ = received_;
  closed_ = true;
}

}  // namespace zsync::daemon::shim
