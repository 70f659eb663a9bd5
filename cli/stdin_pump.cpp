#include "cli/stdin_pump.hpp"

#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/io.hpp"

namespace zsync::cli {

constexpr std::size_t kReadBytes = 64u << 10;

bool stdin_is_fed(int fd) {
  struct stat info;
  if (::fstat(fd, &info) != 0 || ::isatty(fd) == 1) return false;
  return !(S_ISCHR(info.st_mode) && info.st_rdev == makedev(1, 3));
}

StdinPump::StdinPump(client::Client& client, std::string id, int fd)
    : wake_(::eventfd(0, EFD_CLOEXEC)),
      thread_([this, &client, id = std::move(id), fd] { run(client, id, fd); }) {}

StdinPump::~StdinPump() {
  stop_.cancel();
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_, &one, sizeof one);
  if (thread_.joinable()) thread_.join();
  ::close(wake_);
}

absl::StatusOr<std::uint64_t> StdinPump::wait() {
  if (thread_.joinable()) thread_.join();
  return result_;
}

void StdinPump::run(client::Client& client, const std::string& id, int fd) {
  client::CallOptions call;
  call.stop = &stop_;
  client::TaskInput input = client.tasks().input(id, call);
  std::vector<char> buffer(kReadBytes);
  while (true) {
    if (wait_readable(fd, wake_, -1) == Readable::kWoken) {
      result_ = absl::CancelledError("the task has ended");
      return;
    }
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got < 0) {
      result_ = absl::UnknownError(absl::StrCat("read stdin: ", std::strerror(errno)));
      return;
    }
    if (got == 0 || !input.write(std::string_view(buffer.data(), static_cast<std::size_t>(got)))) {
      break;
    }
  }
  result_ = input.finish();
}

}  // namespace zsync::cli
