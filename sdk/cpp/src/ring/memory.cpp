#include "memory.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace zsync::ring {
namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

absl::Status failed(const char* doing, int error) {
  return absl::ErrnoToStatus(error, absl::StrCat("the memory of a ring: ", doing));
}

std::uint64_t power_of_two(std::uint64_t least) {
  std::uint64_t bytes = kRingBytesMin;
  while (bytes < least) bytes *= 2;
  return bytes;
}

// Header and data, and the data once more behind it.
absl::StatusOr<unsigned char*> map_twice(int fd, std::uint64_t bytes) {
  void* place = ::mmap(nullptr, kHeaderBytes + 2 * bytes, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (place == MAP_FAILED) return failed("mmap", errno);
  auto* base = static_cast<unsigned char*>(place);
  constexpr int kAccess = PROT_READ | PROT_WRITE;
  void* first = ::mmap(base, kHeaderBytes + bytes, kAccess, MAP_SHARED | MAP_FIXED, fd, 0);
  void* again = first == MAP_FAILED
                    ? MAP_FAILED
                    : ::mmap(base + kHeaderBytes + bytes, bytes, kAccess, MAP_SHARED | MAP_FIXED,
                             fd, static_cast<off_t>(kHeaderBytes));
  if (again != MAP_FAILED) return base;
  const int error = errno;
  ::munmap(base, kHeaderBytes + 2 * bytes);
  return failed("mmap", error);
}

}  // namespace

absl::StatusOr<Memory> Memory::make(std::uint64_t bytes) {
  if (bytes > kRingBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("a ring of ", bytes, " bytes (ring_bytes_max = ", kRingBytesMax, ")"));
  }
  bytes = power_of_two(bytes);
  const int fd = ::memfd_create("zsync-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return failed("memfd_create", errno);
  const bool sized = ::ftruncate(fd, static_cast<off_t>(kHeaderBytes + bytes)) == 0 &&
                     ::fcntl(fd, F_ADD_SEALS, kSeals) == 0;
  if (!sized) {
    const int error = errno;
    ::close(fd);
    return failed("ftruncate", error);
  }
  return map(fd);
}

absl::StatusOr<Memory> Memory::map(int fd) {
  struct stat info{};
  const bool there = ::fstat(fd, &info) == 0;
  const std::uint64_t bytes = there && info.st_size > static_cast<off_t>(kHeaderBytes)
                                  ? static_cast<std::uint64_t>(info.st_size) - kHeaderBytes
                                  : 0;
  const bool fits = bytes >= kRingBytesMin && bytes <= kRingBytesMax && (bytes & (bytes - 1)) == 0;
  if (!fits || (::fcntl(fd, F_GET_SEALS) & kSeals) != kSeals) {
    ::close(fd);
    return absl::InvalidArgumentError("this is not the sealed memory of a ring");
  }
  absl::StatusOr<unsigned char*> base = map_twice(fd, bytes);
  if (!base.ok()) {
    ::close(fd);
    return base.status();
  }
  return Memory(fd, *base, bytes);
}

Memory::Memory(Memory&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      base_(std::exchange(other.base_, nullptr)),
      bytes_(other.bytes_) {}

Memory::~Memory() {
  if (base_ != nullptr) ::munmap(base_, kHeaderBytes + 2 * bytes_);
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace zsync::ring
