#include "daemon/shim/descriptors.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace zsync::daemon::shim {

segment_log::Fd keep_only_socket(int fd) {
  struct stat info;
  const bool connected = ::fstat(fd, &info) == 0 && S_ISSOCK(info.st_mode);
  (void)::close_range(static_cast<unsigned>(connected ? fd + 1 : fd), ~0u, 0);
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int standard = 0; standard < 3; ++standard) (void)::dup2(null, standard);
  if (null > 2) (void)::close(null);
  if (!connected) return segment_log::Fd();
  (void)::fcntl(fd, F_SETFD, FD_CLOEXEC);
  return segment_log::Fd(fd);
}

}  // namespace zsync::daemon::shim
