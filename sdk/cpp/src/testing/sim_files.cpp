#include "testing/sim_files.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "testing/sim_world.hpp"

namespace zsync::testing {
namespace {

// 0 as it is, anything else as the errno.
int result_of(int error) {
  if (error == 0) return 0;
  errno = error;
  return -1;
}

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void describe(const SimNode& node, struct stat* info) {
  *info = {};
  info->st_ino = node.inode;
  info->st_dev = 1;
  info->st_nlink = 1;
  info->st_mode = (node.directory ? S_IFDIR : S_IFREG) | node.mode;
  info->st_size = static_cast<off_t>(node.bytes.size());
  const auto since = node.modified.time_since_epoch();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since);
  info->st_mtim = {seconds.count(), (since - seconds).count()};
}

}  // namespace

SimDiskState& SimFiles::disk() { return host_.disk().state(); }

bool SimFiles::begin() {
  std::optional<uint64_t>& left = host_.calls_left;
  if (!stopped_ && left && (*left)-- == 0) {
    left.reset();
    host_.crash(host_.call_crash);
  }
  if (stopped_) errno = EIO;
  return !stopped_;
}

SimFiles::Open* SimFiles::find(int fd) {
  if (!begin()) return nullptr;
  const auto found = open_.find(fd);
  if (found != open_.end()) return &found->second;
  errno = EBADF;
  return nullptr;
}

SimFiles::Open* SimFiles::find_writable(int fd) {
  Open* const file = find(fd);
  if (!file || file->writable) return file;
  errno = EBADF;
  return nullptr;
}

int SimFiles::open(const std::string& path, int flags, mode_t mode) {
  if (!begin()) return -1;
  std::shared_ptr<SimNode> node = disk().find(path);
  const bool writable = (flags & O_ACCMODE) != O_RDONLY;
  if (node && (flags & O_CREAT) && (flags & O_EXCL)) return result_of(EEXIST);
  if (!node && !(flags & O_CREAT)) return result_of(ENOENT);
  if (!node) {
    if (const int error = disk().create(path, false, mode, node)) return result_of(error);
  }
  if (node->directory && writable) return result_of(EISDIR);
  if (!node->directory && (flags & O_DIRECTORY)) return result_of(ENOTDIR);
  if ((flags & O_TRUNC) && !node->bytes.empty()) {
    if (const int error = disk().resize(*node, 0)) return result_of(error);
  }
  const int fd = world_.next_descriptor();
  open_[fd] = {std::move(node), SimDiskState::absolute(path), (flags & O_ACCMODE) != O_WRONLY,
               writable};
  return fd;
}

int SimFiles::close(int fd) {
  if (open_.erase(fd) > 0) return 0;
  return result_of(stopped_ ? EIO : EBADF);
}

ssize_t SimFiles::copy(const Open& file, std::span<std::byte> into, uint64_t offset) {
  if (!file.readable) return result_of(EBADF);
  if (file.node->directory) return result_of(EISDIR);
  if (disk().io_fails()) return result_of(EIO);
  const std::string& bytes = file.node->bytes;
  if (offset >= bytes.size()) return 0;
  const size_t count = std::min<size_t>(into.size(), bytes.size() - offset);
  std::memcpy(into.data(), bytes.data() + offset, count);
  return static_cast<ssize_t>(count);
}

ssize_t SimFiles::read(int fd, std::span<std::byte> into) {
  Open* const file = find(fd);
  if (!file) return -1;
  const ssize_t count = copy(*file, into, file->position);
  if (count > 0) file->position += static_cast<uint64_t>(count);
  return count;
}

ssize_t SimFiles::pread(int fd, std::span<std::byte> into, uint64_t offset) {
  const Open* const file = find(fd);
  return file ? copy(*file, into, offset) : -1;
}

ssize_t SimFiles::pwrite(int fd, std::span<const std::byte> from, uint64_t offset) {
  Open* const file = find_writable(fd);
  if (!file) return -1;
  const ssize_t count = disk().write(*file->node, offset, text_of(from));
  return count < 0 ? result_of(static_cast<int>(-count)) : count;
}

ssize_t SimFiles::append(int fd, std::span<const std::byte> from) {
  const auto file = open_.find(fd);
  return pwrite(fd, from, file == open_.end() ? 0 : file->second.node->bytes.size());
}

int SimFiles::fsync(int fd) {
  Open* const file = find(fd);
  return file ? result_of(disk().sync(*file->node, file->path)) : -1;
}

int SimFiles::ftruncate(int fd, uint64_t size) {
  Open* const file = find_writable(fd);
  return file ? result_of(disk().resize(*file->node, size)) : -1;
}

int SimFiles::fchmod(int fd, mode_t mode) {
  Open* const file = find(fd);
  if (!file) return -1;
  file->node->mode = mode & 07777;
  return 0;
}

int SimFiles::fstat(int fd, struct stat* info) {
  const Open* const file = find(fd);
  if (!file) return -1;
  describe(*file->node, info);
  return 0;
}

int SimFiles::stat(const std::string& path, struct stat* info, bool) {
  if (!begin()) return -1;
  const std::shared_ptr<SimNode> node = disk().find(path);
  if (!node) return result_of(ENOENT);
  describe(*node, info);
  return 0;
}

int SimFiles::rename(const std::string& from, const std::string& to) {
  return begin() ? result_of(disk().rename(from, to)) : -1;
}

int SimFiles::unlink(const std::string& path) {
  return begin() ? result_of(disk().remove(path)) : -1;
}

int SimFiles::mkdir(const std::string& path, mode_t mode) {
  if (!begin()) return -1;
  std::shared_ptr<SimNode> created;
  return result_of(disk().create(path, true, mode, created));
}

int SimFiles::list(const std::string& path, size_t entries_max,
                   std::vector<DirectoryEntry>& entries) {
  if (!begin()) return -1;
  const std::shared_ptr<SimNode> directory = disk().find(path);
  if (!directory) return result_of(ENOENT);
  if (!directory->directory) return result_of(ENOTDIR);
  const std::string name = SimDiskState::absolute(path);
  for (const auto& [entry, node] : disk().names()) {
    if (entry == name || SimDiskState::parent_of(entry) != name) continue;
    if (entries.size() == entries_max) return result_of(E2BIG);
    entries.push_back({entry.substr(entry.rfind('/') + 1),
                       node->directory ? FileKind::directory : FileKind::regular});
  }
  return 0;
}

}  // namespace zsync::testing
