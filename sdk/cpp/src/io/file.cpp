#include "zsync/file.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "io/blocking_call.hpp"
#include "io/file_status.hpp"

namespace zsync {

struct File::Handle {
  rt::OpenFile descriptor;
  std::string path;
};

namespace {

absl::StatusOr<int> open_flags(const std::string& path, const FileOptions& options) {
  const auto refused = [&path](const char* why) {
    return absl::InvalidArgumentError(absl::StrCat("open \"", path, "\": ", why));
  };
  if (path.find('\0') != std::string::npos) return refused("the path has a NUL byte");
  if (!options.read && !options.write) return refused("neither read nor write is asked for");
  if (options.truncate && !options.write) return refused("truncate needs write");
  if (options.create != FileCreate::never && !options.write) return refused("create needs write");
  // O_NONBLOCK: a FIFO must not hold the thread until somebody opens its other side.
  int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  flags |= options.write ? (options.read ? O_RDWR : O_WRONLY) : O_RDONLY;
  if (options.truncate) flags |= O_TRUNC;
  if (options.create != FileCreate::never) flags |= O_CREAT;
  if (options.create == FileCreate::always_new) flags |= O_EXCL;
  return flags;
}

// One system call that may be interrupted.
template <typename Call>
auto retried(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

absl::StatusOr<size_t> read_whole(const rt::OpenFile& file, const std::string& path,
                                  uint64_t offset, std::span<std::byte> into) {
  size_t filled = 0;
  while (filled < into.size()) {
    const std::span<std::byte> rest = into.subspan(filled);
    const ssize_t count =
        retried([&] { return file.calls().pread(file.get(), rest, offset + filled); });
    if (count < 0) return rt::file_status("read", path, errno);
    if (count == 0) break;
    filled += static_cast<size_t>(count);
  }
  return filled;
}

absl::Status write_whole(const rt::OpenFile& file, const std::string& path, uint64_t offset,
                         std::span<const std::byte> from) {
  while (!from.empty()) {
    const ssize_t count = retried([&] { return file.calls().pwrite(file.get(), from, offset); });
    if (count < 0) return rt::file_status("write", path, errno);
    from = from.subspan(static_cast<size_t>(count));
    offset += static_cast<uint64_t>(count);
  }
  return absl::OkStatus();
}

absl::Status append_whole(const rt::OpenFile& file, const std::string& path,
                          std::span<const std::byte> from) {
  while (!from.empty()) {
    const ssize_t count = retried([&] { return file.calls().append(file.get(), from); });
    if (count < 0) return rt::file_status("append", path, errno);
    from = from.subspan(static_cast<size_t>(count));
  }
  return absl::OkStatus();
}

// Gives the function the open file, which stays open until it has ended.
template <typename Handle, typename Function>
Task<std::invoke_result_t<Function&, const Handle&>> on_open_file(std::shared_ptr<Handle> handle,
                                                                  Function function) {
  if (!handle) co_return absl::FailedPreconditionError("the file is closed: open it again");
  co_return co_await rt::call_on_disk(
      [handle = std::move(handle), function = std::move(function)] { return function(*handle); });
}

}  // namespace

namespace rt {

absl::Status file_status(const char* doing, const std::string& path, int error) {
  return errno_status(absl::StrCat(doing, " \"", path, "\""), error);
}

FileKind kind_of(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return FileKind::regular;
    case S_IFDIR:
      return FileKind::directory;
    case S_IFLNK:
      return FileKind::symlink;
    case S_IFSOCK:
      return FileKind::socket;
    case S_IFIFO:
      return FileKind::fifo;
    default:
      return FileKind::device;
  }
}

FileMetadata metadata_of(const struct stat& info) {
  const auto since_epoch =
      std::chrono::seconds(info.st_mtim.tv_sec) + std::chrono::nanoseconds(info.st_mtim.tv_nsec);
  return {.kind = kind_of(info.st_mode),
          .size = static_cast<uint64_t>(info.st_size),
          .mode = info.st_mode & 07777,
          .uid = info.st_uid,
          .gid = info.st_gid,
          .device = info.st_dev,
          .inode = info.st_ino,
          .modified = std::chrono::system_clock::time_point(since_epoch)};
}

}  // namespace rt

Task<absl::StatusOr<File>> File::open(std::string path, FileOptions options) {
  absl::StatusOr<int> flags = open_flags(path, options);
  if (!flags.ok()) co_return flags.status();
  co_return co_await rt::call_on_disk([&calls = rt::files_here(), path = std::move(path),
                                       flags = *flags,
                                       mode = options.mode]() -> absl::StatusOr<File> {
    rt::OpenFile file(calls, retried([&] { return calls.open(path, flags, mode); }));
    if (!file) return rt::file_status("open", path, errno);
    return File(std::make_shared<Handle>(std::move(file), path));
  });
}

File File::adopt(UniqueFd descriptor, std::string path) {
  return File(std::make_shared<Handle>(rt::OpenFile(rt::kernel_files(), descriptor.release()),
                                       std::move(path)));
}

Task<absl::StatusOr<size_t>> File::read_at(uint64_t offset, std::span<std::byte> into) const {
  return on_open_file(handle_, [offset, into](const Handle& file) {
    return read_whole(file.descriptor, file.path, offset, into);
  });
}

Task<absl::Status> File::write_at(uint64_t offset, std::span<const std::byte> from) const {
  return on_open_file(handle_, [offset, from](const Handle& file) {
    return write_whole(file.descriptor, file.path, offset, from);
  });
}

Task<absl::Status> File::append(std::span<const std::byte> from) const {
  return on_open_file(handle_, [from](const Handle& file) {
    return append_whole(file.descriptor, file.path, from);
  });
}

Task<absl::Status> File::sync() const {
  return on_open_file(handle_, [](const Handle& file) -> absl::Status {
    const int result =
        retried([&] { return file.descriptor.calls().fdatasync(file.descriptor.get()); });
    return result == 0 ? absl::OkStatus() : rt::file_status("sync", file.path, errno);
  });
}

Task<absl::StatusOr<uint64_t>> File::size() const {
  absl::StatusOr<FileMetadata> found = co_await metadata();
  if (!found.ok()) co_return found.status();
  co_return found->size;
}

Task<absl::Status> File::truncate(uint64_t size) const {
  return on_open_file(handle_, [size](const Handle& file) -> absl::Status {
    const int result =
        retried([&] { return file.descriptor.calls().ftruncate(file.descriptor.get(), size); });
    return result == 0 ? absl::OkStatus() : rt::file_status("truncate", file.path, errno);
  });
}

Task<absl::StatusOr<FileMetadata>> File::metadata() const {
  return on_open_file(handle_, [](const Handle& file) -> absl::StatusOr<FileMetadata> {
    struct stat info;
    if (file.descriptor.calls().fstat(file.descriptor.get(), &info) != 0) {
      return rt::file_status("stat", file.path, errno);
    }
    return rt::metadata_of(info);
  });
}

Task<absl::Status> File::close() {
  if (!handle_) co_return absl::OkStatus();
  if (handle_.use_count() > 1) {
    co_return absl::FailedPreconditionError(
        absl::StrCat("close \"", handle_->path, "\": an operation is under way; await it first"));
  }
  std::shared_ptr<Handle> handle = std::move(handle_);
  co_return co_await rt::call_on_disk([handle = std::move(handle)]() -> absl::Status {
    // Closed whatever it says: on Linux the number is free even after EINTR.
    if (handle->descriptor.calls().close(handle->descriptor.release()) == 0)
      return absl::OkStatus();
    return rt::file_status("close", handle->path, errno);
  });
}

const std::string& File::path() const {
  static const std::string* const nothing = new std::string;
  return handle_ ? handle_->path : *nothing;
}

int File::get() const { return handle_ ? handle_->descriptor.get() : -1; }

}  // namespace zsync
