#include "zsync/tty.hpp"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <vector>

#include "absl/strings/str_cat.h"

namespace zsync {
namespace {

constexpr char kNoKernel[] =
    "a terminal outside a task of a real runtime: a simulation has no kernel";

// Blocks the signal that would stop a program which changes its terminal from the background.
class NoStop {
 public:
  NoStop() {
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTTOU);
    pthread_sigmask(SIG_BLOCK, &stop, &before_);
  }
  ~NoStop() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  NoStop(const NoStop&) = delete;
  NoStop& operator=(const NoStop&) = delete;

 private:
  sigset_t before_;
};

// At once: waiting until the output has gone out could take for ever.
int set_attributes(int terminal, const termios& attributes) {
  while (::tcsetattr(terminal, TCSANOW, &attributes) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

absl::StatusOr<WindowSize> window_size(int terminal) {
  winsize size{};
  if (::ioctl(terminal, TIOCGWINSZ, &size) != 0) {
    return rt::errno_status("reading a terminal's size", errno);
  }
  return WindowSize{size.ws_row, size.ws_col, size.ws_xpixel, size.ws_ypixel};
}

absl::Status set_window_size(int terminal, const WindowSize& size) {
  const winsize raw{size.rows, size.columns, size.width_pixels, size.height_pixels};
  if (::ioctl(terminal, TIOCSWINSZ, &raw) == 0) return absl::OkStatus();
  return rt::errno_status("setting a terminal's size", errno);
}

bool is_master(int terminal) {
  int number = 0;
  return ::ioctl(terminal, TIOCGPTN, &number) == 0;
}

// `gone` is what EIO means: the other side is gone.
Task<absl::StatusOr<size_t>> read_terminal(rt::Fd& fd, std::span<std::byte> into,
                                           absl::StatusOr<size_t> gone) {
  if (absl::Status turn = co_await rt::CheckpointOperation(); !turn.ok()) co_return turn;
  while (true) {
    const ssize_t count = ::read(fd.get(), into.data(), into.size());
    if (count >= 0) co_return static_cast<size_t>(count);
    if (errno == EINTR) continue;
    if (errno == EIO) co_return gone;
    if (errno != EAGAIN) co_return rt::errno_status("read", errno);
    if (absl::Status ready = co_await fd.readable(); !ready.ok()) co_return ready;
  }
}

// The terminal with a description of its own; by its name where /proc is not there.
absl::StatusOr<UniqueFd> reopen(int descriptor) {
  constexpr int kFlags = O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK;
  UniqueFd own(::open(absl::StrCat("/proc/self/fd/", descriptor).c_str(), kFlags));
  char name[PATH_MAX];
  if (!own && errno != EACCES && ::ttyname_r(descriptor, name, sizeof name) == 0) {
    own = UniqueFd(::open(name, kFlags));
  }
  if (own) return own;
  if (errno == EACCES) {
    return absl::PermissionDeniedError(absl::StrCat(
        "opening the terminal of descriptor ", descriptor,
        ": it belongs to another user (su?); run the program in a terminal of its own user"));
  }
  return rt::errno_status(absl::StrCat("opening the terminal of descriptor ", descriptor), errno);
}

}  // namespace

bool is_a_tty(int descriptor) { return ::isatty(descriptor) == 1; }

// -- raw mode

struct RawMode::Saved {
  UniqueFd terminal;
  termios attributes;
};

namespace {

// Terminals to restore, as (descriptor, attributes), when the program calls exit(). Never
// destroyed: a RawMode may end after main().
class RawTerminals {
 public:
  static RawTerminals& get() {
    static RawTerminals* const all = [] {
      auto* made = new RawTerminals;
      (void)::atexit([] { get().restore_all(); });
      return made;
    }();
    return *all;
  }

  void add(int terminal, const termios& attributes) {
    std::lock_guard<std::mutex> guard(mutex_);
    raw_.emplace_back(terminal, attributes);
  }
  void remove(int terminal) {
    std::lock_guard<std::mutex> guard(mutex_);
    std::erase_if(raw_, [terminal](const auto& raw) { return raw.first == terminal; });
  }

 private:
  void restore_all() {
    std::lock_guard<std::mutex> guard(mutex_);
    const NoStop no_stop;
    for (auto raw = raw_.rbegin(); raw != raw_.rend(); ++raw) {
      (void)set_attributes(raw->first, raw->second);
    }
  }

  std::mutex mutex_;
  std::vector<std::pair<int, termios>> raw_;
};

}  // namespace

RawMode::RawMode(std::unique_ptr<Saved> saved) : saved_(std::move(saved)) {
  RawTerminals::get().add(saved_->terminal.get(), saved_->attributes);
}
RawMode::RawMode(RawMode&&) noexcept = default;
RawMode& RawMode::operator=(RawMode&& other) noexcept {
  if (this != &other) {
    (void)restore();
    saved_ = std::move(other.saved_);
  }
  return *this;
}
RawMode::~RawMode() { (void)restore(); }

absl::Status RawMode::restore() {
  const std::unique_ptr<Saved> saved = std::move(saved_);
  if (!saved) return absl::OkStatus();
  RawTerminals::get().remove(saved->terminal.get());
  const NoStop no_stop;
  const int error = set_attributes(saved->terminal.get(), saved->attributes);
  if (error == 0 || error == EIO) return absl::OkStatus();
  return rt::errno_status("restoring a terminal", error);
}

// -- the terminal of a program

absl::StatusOr<Tty> Tty::open(int descriptor) {
  rt::require_kernel(kNoKernel);
  if (!is_a_tty(descriptor)) {
    return absl::InvalidArgumentError(
        absl::StrCat("opening a terminal: descriptor ", descriptor,
                     " is none (a pipe, a file?); ask is_a_tty() before"));
  }
  if (is_master(descriptor)) {
    return absl::InvalidArgumentError(
        absl::StrCat("opening a terminal: descriptor ", descriptor,
                     " plays one for others (the master of a pty); open the pty's path()"));
  }
  absl::StatusOr<UniqueFd> own = reopen(descriptor);
  if (!own.ok()) return own.status();
  return adopt(*std::move(own));
}

absl::StatusOr<Tty> Tty::open_controlling() {
  rt::require_kernel(kNoKernel);
  UniqueFd own(::open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
  if (own) return adopt(std::move(own));
  if (errno != ENXIO) return rt::errno_status("opening /dev/tty", errno);
  return absl::NotFoundError(
      "opening /dev/tty: this process has no controlling terminal (a service, a cron job?)");
}

absl::StatusOr<Tty> Tty::adopt(UniqueFd own) {
  const absl::StatusOr<WindowSize> size = window_size(own.get());
  if (!size.ok()) return size.status();
  absl::StatusOr<rt::Fd> fd = rt::Fd::adopt(std::move(own));
  if (!fd.ok()) return fd.status();
  Tty tty(*std::move(fd));
  tty.seen_ = *size;
  return tty;
}

Task<absl::StatusOr<size_t>> Tty::read_some(std::span<std::byte> into) {
  return read_terminal(
      fd_, into,
      absl::UnavailableError(
          "read: the terminal is gone, or another program has it; come to the foreground"));
}

absl::StatusOr<WindowSize> Tty::size() const { return window_size(get()); }

Task<absl::StatusOr<WindowSize>> Tty::resized() {
  if (absl::Status turn = co_await rt::CheckpointOperation(); !turn.ok()) co_return turn;
  if (!changes_) {
    absl::StatusOr<Signals> changes = Signals::open({SIGWINCH});
    if (!changes.ok()) co_return changes.status();
    changes_ = *std::move(changes);
  }
  while (true) {
    const absl::StatusOr<WindowSize> present = size();
    if (!present.ok()) co_return present;
    if (*present != seen_) co_return seen_ = *present;
    try {
      (void)co_await changes_->next();
    } catch (const Cancelled&) {
      co_return absl::CancelledError();
    }
  }
}

absl::StatusOr<RawMode> Tty::raw_mode(RawModeOptions options) {
  constexpr const char* kDoing = "making a terminal raw";
  // It may outlive this object.
  auto saved = std::make_unique<RawMode::Saved>();
  saved->terminal = UniqueFd(::fcntl(get(), F_DUPFD_CLOEXEC, 0));
  if (!saved->terminal) return rt::errno_status(kDoing, errno);
  if (::tcgetattr(get(), &saved->attributes) != 0) return rt::errno_status(kDoing, errno);
  termios raw = saved->attributes;
  ::cfmakeraw(&raw);
  if (options.signals) raw.c_lflag |= ISIG;
  if (const int error = set_attributes(get(), raw); error != 0) {
    return rt::errno_status(kDoing, error);
  }
  return RawMode(std::move(saved));
}

// -- a new pseudo-terminal

absl::StatusOr<Pty> Pty::open(WindowSize size) {
  rt::require_kernel(kNoKernel);
  constexpr const char* kDoing = "making a pseudo-terminal";
  UniqueFd master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  char name[PATH_MAX];
  if (!master || ::grantpt(master.get()) != 0 || ::unlockpt(master.get()) != 0 ||
      ::ptsname_r(master.get(), name, sizeof name) != 0) {
    return rt::errno_status(kDoing, errno);
  }
  if (absl::Status sized = set_window_size(master.get(), size); !sized.ok()) return sized;
  absl::StatusOr<rt::Fd> fd = rt::Fd::adopt(std::move(master));
  if (!fd.ok()) return fd.status();
  return Pty(*std::move(fd), name);
}

Task<absl::StatusOr<size_t>> Pty::read_some(std::span<std::byte> into) {
  return read_terminal(fd_, into, size_t{0});
}

absl::StatusOr<WindowSize> Pty::size() const { return window_size(get()); }

absl::Status Pty::set_size(WindowSize size) { return set_window_size(get(), size); }

}  // namespace zsync
