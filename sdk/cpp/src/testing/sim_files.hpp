// SimFiles: the open files of one simulated process, behind the system calls that use them.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "io/file_calls.hpp"
#include "testing/sim_disk.hpp"

namespace zsync::testing {

class SimHostState;

class SimFiles final : public rt::FileCalls {
 public:
  SimFiles(SimWorld& world, SimHostState& host) : world_(world), host_(host) {}

  // Every later call fails.
  void stop() {
    stopped_ = true;
    open_.clear();
  }

  // -- rt::FileCalls
  int open(const std::string& path, int flags, mode_t mode) override;
  int close(int fd) override;
  ssize_t read(int fd, std::span<std::byte> into) override;
  ssize_t pread(int fd, std::span<std::byte> into, uint64_t offset) override;
  ssize_t pwrite(int fd, std::span<const std::byte> from, uint64_t offset) override;
  ssize_t append(int fd, std::span<const std::byte> from) override;
  int fdatasync(int fd) override { return fsync(fd); }
  int fsync(int fd) override;
  int ftruncate(int fd, uint64_t size) override;
  int fchmod(int fd, mode_t mode) override;
  int fstat(int fd, struct stat* info) override;
  int stat(const std::string& path, struct stat* info, bool follow) override;
  int rename(const std::string& from, const std::string& to) override;
  int unlink(const std::string& path) override;
  int mkdir(const std::string& path, mode_t mode) override;
  int list(const std::string& path, size_t entries_max,
           std::vector<DirectoryEntry>& entries) override;

 private:
  struct Open {
    std::shared_ptr<SimNode> node;
    std::string path;
    bool readable;
    bool writable;
    uint64_t position = 0;
  };

  // In front of each call: where a crash can fall. False with errno: the process is stopped.
  bool begin();
  // nullptr with errno.
  Open* find(int fd);
  Open* find_writable(int fd);
  SimDiskState& disk();
  ssize_t copy(const Open& file, std::span<std::byte> into, uint64_t offset);

  SimWorld& world_;
  SimHostState& host_;
  bool stopped_ = false;
  std::map<int, Open> open_;
};

}  // namespace zsync::testing
