#include "zsync/files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "io/blocking_call.hpp"
#include "io/file_status.hpp"

namespace zsync {
namespace {

using rt::file_status;

constexpr size_t kChunkBytes = 65536;  // read_file()'s first guess where no size is known
constexpr int kNameTriesMax = 100;     // names beside a file that write_file_atomic() tries

absl::Status result_of(int result, const char* doing, const std::string& path) {
  return result == 0 ? absl::OkStatus() : file_status(doing, path, errno);
}

// "" has no directory; a name without one is in the present directory.
std::string directory_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

absl::StatusOr<std::string> read_whole_file(rt::FileCalls& calls, const std::string& path,
                                            size_t bytes_max) {
  const rt::OpenFile file(calls, calls.open(path, O_RDONLY | O_NOCTTY | O_NONBLOCK, 0));
  if (!file) return file_status("read", path, errno);
  struct stat info;
  if (calls.fstat(file.get(), &info) != 0) return file_status("read", path, errno);
  // A byte more than there should be: its lack tells the end, its presence that the limit is
  // passed.
  const size_t most = std::max(bytes_max, bytes_max + 1);
  size_t room = info.st_size > 0 ? static_cast<size_t>(info.st_size) + 1 : kChunkBytes;
  std::string bytes;
  size_t filled = 0;
  while (true) {
    if (filled == bytes.size()) {
      bytes.resize(std::min(most, room));
      room = bytes.size() * 2;
    }
    const ssize_t count =
        calls.read(file.get(), std::as_writable_bytes(std::span(bytes)).subspan(filled));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return file_status("read", path, errno);
    if (count == 0) break;
    filled += static_cast<size_t>(count);
    if (filled > bytes_max) {
      return absl::ResourceExhaustedError(absl::StrCat("read \"", path, "\": it has more than ",
                                                       bytes_max, " bytes; raise the limit"));
    }
  }
  bytes.resize(filled);
  return bytes;
}

absl::Status write_everything(const rt::OpenFile& file, const std::string& bytes,
                              const std::string& path) {
  for (size_t written = 0; written < bytes.size();) {
    const ssize_t count =
        file.calls().pwrite(file.get(), std::as_bytes(std::span(bytes)).subspan(written), written);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return file_status("write", path, errno);
    written += static_cast<size_t>(count);
  }
  return absl::OkStatus();
}

// A new file beside `path`; `name` tells which.
absl::StatusOr<rt::OpenFile> create_beside(rt::FileCalls& calls, const std::string& path,
                                           mode_t mode, std::string& name) {
  static std::atomic<uint32_t> number{0};
  for (int i = 0; i < kNameTriesMax; ++i) {
    name = absl::StrCat(path, ".", ::getpid(), "-", number.fetch_add(1), ".new");
    rt::OpenFile file(calls, calls.open(name, O_WRONLY | O_CREAT | O_EXCL, mode));
    if (file) return file;
    if (errno != EEXIST && errno != EINTR) break;
  }
  return file_status("write", path, errno);
}

absl::Status replace_file(rt::FileCalls& calls, const std::string& path, const std::string& bytes,
                          mode_t mode) {
  struct stat old;
  const bool replaces = calls.stat(path, &old, /*follow=*/false) == 0 && S_ISREG(old.st_mode);
  std::string name;
  absl::StatusOr<rt::OpenFile> file = create_beside(calls, path, replaces ? 0600 : mode, name);
  if (!file.ok()) return file.status();
  absl::Status status = write_everything(*file, bytes, path);
  if (status.ok() && replaces) {
    status = result_of(calls.fchmod(file->get(), old.st_mode & 07777), "write", path);
  }
  if (status.ok()) status = result_of(calls.fsync(file->get()), "sync", path);
  if (status.ok()) status = result_of(calls.rename(name, path), "replace", path);
  if (!status.ok()) {
    (void)calls.unlink(name);
    return status;
  }
  const std::string directory = directory_of(path);
  const rt::OpenFile holder(calls, calls.open(directory, O_RDONLY | O_DIRECTORY, 0));
  if (!holder) return file_status("sync", directory, errno);
  return result_of(calls.fsync(holder.get()), "sync", directory);
}

absl::Status make_directories(rt::FileCalls& calls, const std::string& path, mode_t mode) {
  if (path.empty()) return file_status("create", path, ENOENT);
  for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string part = path.substr(0, end);
    if (calls.mkdir(part, mode) != 0) {
      const int error = errno;
      struct stat info;
      const bool there = calls.stat(part, &info, /*follow=*/true) == 0 && S_ISDIR(info.st_mode);
      if (!there) return file_status("create", part, error);
    }
    if (end == std::string::npos) return absl::OkStatus();
  }
}

absl::StatusOr<std::vector<DirectoryEntry>> read_directory(rt::FileCalls& calls,
                                                           const std::string& path,
                                                           size_t entries_max) {
  std::vector<DirectoryEntry> entries;
  if (calls.list(path, entries_max, entries) != 0) {
    if (errno != E2BIG) return file_status("list", path, errno);
    return absl::ResourceExhaustedError(absl::StrCat("list \"", path, "\": it has more than ",
                                                     entries_max, " names; raise the limit"));
  }
  std::sort(entries.begin(), entries.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  return entries;
}

// What the system would take for the end of the path.
absl::Status check_path(const char* doing, const std::string& path) {
  if (path.find('\0') == std::string::npos) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(doing, ": a path has a NUL byte"));
}

}  // namespace

Task<absl::StatusOr<std::string>> read_file(std::string path, size_t bytes_max) {
  if (absl::Status status = check_path("read", path); !status.ok()) co_return status;
  co_return co_await rt::call_on_disk(
      [&calls = rt::files_here(), path = std::move(path), bytes_max] {
        return read_whole_file(calls, path, bytes_max);
      });
}

Task<absl::Status> write_file_atomic(std::string path, std::string bytes, mode_t mode) {
  if (absl::Status status = check_path("write", path); !status.ok()) co_return status;
  co_return co_await rt::call_on_disk([&calls = rt::files_here(), path = std::move(path),
                                       bytes = std::move(bytes),
                                       mode] { return replace_file(calls, path, bytes, mode); });
}

Task<absl::Status> rename_file(std::string from, std::string to) {
  if (absl::Status status = check_path("rename", from + to); !status.ok()) co_return status;
  co_return co_await rt::call_on_disk(
      [&calls = rt::files_here(), from = std::move(from), to = std::move(to)]() {
        if (calls.rename(from, to) == 0) return absl::OkStatus();
        return rt::errno_status(absl::StrCat("rename \"", from, "\" to \"", to, "\""), errno);
      });
}

Task<absl::Status> remove_file(std::string path) {
  if (absl::Status status = check_path("remove", path); !status.ok()) co_return status;
  co_return co_await rt::call_on_disk([&calls = rt::files_here(), path = std::move(path)] {
    return result_of(calls.unlink(path), "remove", path);
  });
}

Task<absl::Status> create_directories(std::string path, mode_t mode) {
  if (absl::Status status = check_path("create", path); !status.ok()) co_return status;
  co_return co_await rt::call_on_disk([&calls = rt::files_here(), path = std::move(path), mode] {
    return make_directories(calls, path, mode);
  });
}

Task<absl::StatusOr<std::vector<DirectoryEntry>>> list_directory(std::string path,
                                                                 size_t entries_max) {
  if (absl::Status status = check_path("list", path); !status.ok()) co_return status;
  co_return co_await rt::call_on_disk(
      [&calls = rt::files_here(), path = std::move(path), entries_max] {
        return read_directory(calls, path, entries_max);
      });
}

Task<absl::StatusOr<FileMetadata>> file_metadata(std::string path, Symlinks symlinks) {
  if (absl::Status status = check_path("stat", path); !status.ok()) co_return status;
  const bool follow = symlinks == Symlinks::follow;
  co_return co_await rt::call_on_disk([&calls = rt::files_here(), path = std::move(path),
                                       follow]() -> absl::StatusOr<FileMetadata> {
    struct stat info;
    if (calls.stat(path, &info, follow) != 0) {
      return file_status("stat", path, errno);
    }
    return rt::metadata_of(info);
  });
}

}  // namespace zsync
