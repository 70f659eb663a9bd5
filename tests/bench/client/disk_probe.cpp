#include "tests/bench/client/disk_probe.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>

#include "tests/bench/client/measure.hpp"

namespace zsync::bench {
namespace {

constexpr size_t kFrameHeaderBytes = 24;
constexpr size_t kPageBytes = 4096;

}  // namespace

DiskProbe::DiskProbe(const std::string& directory)
    : path_(directory + "/probe." + std::to_string(getpid())),
      fd_(open(path_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) {}

DiskProbe::~DiskProbe() {
  if (fd_ < 0) return;
  close(fd_);
  unlink(path_.c_str());
}

int64_t DiskProbe::append(int pages) {
  std::array<char, kPageBytes> page;
  page.fill(static_cast<char>(offset_));
  const int64_t start = now_ns();
  for (int i = 0; i < pages; ++i) {
    for (const size_t bytes : {kFrameHeaderBytes, kPageBytes}) {
      if (pwrite(fd_, page.data(), bytes, offset_) != static_cast<ssize_t>(bytes)) return -1;
      offset_ += static_cast<int64_t>(bytes);
    }
  }
  if (fdatasync(fd_) != 0) return -1;
  return now_ns() - start;
}

}  // namespace zsync::bench
