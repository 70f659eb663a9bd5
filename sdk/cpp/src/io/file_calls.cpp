#include "io/file_calls.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <optional>

#include "io/file_status.hpp"
#include "zsync/rt/scheduler.hpp"

namespace zsync::rt {
namespace {

// nullopt: it is gone again.
std::optional<FileKind> kind_of_entry(const dirent& entry, int directory) {
  if (entry.d_type != DT_UNKNOWN) return kind_of(DTTOIF(entry.d_type));
  struct stat info;
  if (::fstatat(directory, entry.d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) return std::nullopt;
  return kind_of(info.st_mode);
}

class KernelFiles final : public FileCalls {
 public:
  int open(const std::string& path, int flags, mode_t mode) override {
    return ::open(path.c_str(), flags | O_CLOEXEC, mode);
  }
  int close(int fd) override { return ::close(fd); }
  ssize_t read(int fd, std::span<std::byte> into) override {
    return ::read(fd, into.data(), into.size());
  }
  ssize_t pread(int fd, std::span<std::byte> into, uint64_t offset) override {
    return ::pread(fd, into.data(), into.size(), static_cast<off_t>(offset));
  }
  ssize_t pwrite(int fd, std::span<const std::byte> from, uint64_t offset) override {
    return ::pwrite(fd, from.data(), from.size(), static_cast<off_t>(offset));
  }
  ssize_t append(int fd, std::span<const std::byte> from) override {
    const iovec bytes{const_cast<std::byte*>(from.data()), from.size()};
    return ::pwritev2(fd, &bytes, 1, /*not a place*/ -1, RWF_APPEND);
  }
  int fdatasync(int fd) override { return ::fdatasync(fd); }
  int fsync(int fd) override { return ::fsync(fd); }
  int ftruncate(int fd, uint64_t size) override {
    return ::ftruncate(fd, static_cast<off_t>(size));
  }
  int fchmod(int fd, mode_t mode) override { return ::fchmod(fd, mode); }
  int fstat(int fd, struct stat* info) override { return ::fstat(fd, info); }
  int stat(const std::string& path, struct stat* info, bool follow) override {
    return ::fstatat(AT_FDCWD, path.c_str(), info, follow ? 0 : AT_SYMLINK_NOFOLLOW);
  }
  int rename(const std::string& from, const std::string& to) override {
    return ::rename(from.c_str(), to.c_str());
  }
  int unlink(const std::string& path) override { return ::unlink(path.c_str()); }
  int mkdir(const std::string& path, mode_t mode) override { return ::mkdir(path.c_str(), mode); }
  int list(const std::string& path, size_t entries_max,
           std::vector<DirectoryEntry>& entries) override;
};

int KernelFiles::list(const std::string& path, size_t entries_max,
                      std::vector<DirectoryEntry>& entries) {
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(path.c_str()), &::closedir);
  if (!directory) return -1;
  while (true) {
    errno = 0;
    const dirent* entry = ::readdir(directory.get());
    if (!entry) return errno == 0 ? 0 : -1;
    std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    const std::optional<FileKind> kind = kind_of_entry(*entry, ::dirfd(directory.get()));
    if (!kind) continue;
    if (entries.size() == entries_max) {
      errno = E2BIG;
      return -1;
    }
    entries.push_back({std::move(name), *kind});
  }
}

}  // namespace

FileCalls& kernel_files() {
  static constinit KernelFiles calls;
  return calls;
}

FileCalls& Driver::files() { return kernel_files(); }

}  // namespace zsync::rt
