// FileCalls: the system calls that files and directories are made of. Two real implementations: the
// kernel's, and a simulated disk's (testing/sim_files.hpp).
//
// Each is the system call of its name: -1 with errno. Threads: any; they may block.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "zsync/files.hpp"

namespace zsync::rt {

class FileCalls {
 public:
  virtual int open(const std::string& path, int flags, mode_t mode) = 0;
  virtual int close(int fd) = 0;
  virtual ssize_t read(int fd, std::span<std::byte> into) = 0;
  virtual ssize_t pread(int fd, std::span<std::byte> into, uint64_t offset) = 0;
  virtual ssize_t pwrite(int fd, std::span<const std::byte> from, uint64_t offset) = 0;
  virtual ssize_t append(int fd, std::span<const std::byte> from) = 0;
  virtual int fdatasync(int fd) = 0;
  virtual int fsync(int fd) = 0;
  virtual int ftruncate(int fd, uint64_t size) = 0;
  virtual int fchmod(int fd, mode_t mode) = 0;
  virtual int fstat(int fd, struct stat* info) = 0;
  virtual int stat(const std::string& path, struct stat* info, bool follow) = 0;
  virtual int rename(const std::string& from, const std::string& to) = 0;
  virtual int unlink(const std::string& path) = 0;
  virtual int mkdir(const std::string& path, mode_t mode) = 0;
  // What is in a directory, in any order; E2BIG: more than `entries_max`.
  virtual int list(const std::string& path, size_t entries_max,
                   std::vector<DirectoryEntry>& entries) = 0;

 protected:
  ~FileCalls() = default;
};

// The machine's own.
FileCalls& kernel_files();

// An open file. Lifetime: closes it; `calls` outlives it.
class OpenFile {
 public:
  OpenFile(FileCalls& calls, int descriptor) : calls_(&calls), descriptor_(descriptor) {}
  OpenFile(OpenFile&& other) noexcept : calls_(other.calls_), descriptor_(other.release()) {}
  OpenFile& operator=(OpenFile&&) = delete;
  ~OpenFile() {
    if (descriptor_ >= 0) calls_->close(descriptor_);
  }

  FileCalls& calls() const { return *calls_; }
  int get() const { return descriptor_; }
  [[nodiscard]] int release() { return std::exchange(descriptor_, -1); }
  explicit operator bool() const { return descriptor_ >= 0; }

 private:
  FileCalls* calls_;
  int descriptor_;
};

}  // namespace zsync::rt
