// File: reading and writing files from tasks. Whole files and directories: zsync/files.hpp.
//
//   absl::StatusOr<zsync::File> log = co_await zsync::File::open("app.log", {.write = true,
//                                         .create = zsync::FileCreate::if_missing});
//   absl::Status written = co_await log->append(bytes);
//
// The kernel has no readiness for files: each operation is a few system calls on a thread where
// blocking is allowed (Config::blocking_threads_max), so a slow disk holds up no worker. For many
// small accesses use larger ones.
//
// Cancel, of every operation here and in files.hpp: kCancelled before it has begun, and then
// nothing happened. One that has begun is waited for and gives its result: a buffer is never let go
// before.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "zsync/fd.hpp"
#include "zsync/task.hpp"

namespace zsync {

// What a name in a directory stands for.
enum class FileKind { regular, directory, symlink, socket, fifo, device };

// What the file system knows about a file.
struct FileMetadata {
  FileKind kind;                                   // what it is
  uint64_t size;                                   // bytes; of a symlink: its text
  mode_t mode;                                     // permissions, 07777
  uid_t uid;                                       // its owner
  gid_t gid;                                       // its group
  uint64_t device;                                 // device and inode together name a file
  uint64_t inode;                                  // its number on the device
  std::chrono::system_clock::time_point modified;  // its content
};

// Whether File::open() makes the file.
enum class FileCreate {
  never,       // it has to be there
  if_missing,  // made when it is not there
  always_new,  // it must not be there
};

// How a file is opened.
struct FileOptions {
  bool read = true;                       // for reading
  bool write = false;                     // for writing
  bool truncate = false;                  // emptied; needs `write`
  FileCreate create = FileCreate::never;  // made or not; needs `write`
  mode_t mode = 0666;                     // permissions of a new one, less the umask
};

// An open file, without a position: each operation says where.
//
// Lifetime: closes its descriptor once the last operation on it has ended. Children do not inherit
//           it.
// Threads:  every operation from any task, several at once; moving and destroying by one.
class File {
 public:
  // Holds nothing.
  File() = default;
  // Opens `path`. A FIFO is opened without waiting for its other side.
  //
  // Errors: kNotFound, kPermissionDenied, kAlreadyExists (always_new), kInvalidArgument for options
  //         that contradict each other; kResourceExhausted when there are too many open files.
  static Task<absl::StatusOr<File>> open(std::string path, FileOptions options = {});
  // Takes over a descriptor.
  static File adopt(UniqueFd descriptor, std::string path);

  // Reads from `offset` -> bytes read; fewer than asked for only at the end of the file, 0 there.
  //
  // Errors: the system's, with the path.
  Task<absl::StatusOr<size_t>> read_at(uint64_t offset, std::span<std::byte> into) const;
  // Writes everything at `offset`; beyond the end the gap reads as zeros.
  //
  // Errors: kResourceExhausted when the disk is full: a part may have been written. The system's.
  Task<absl::Status> write_at(uint64_t offset, std::span<const std::byte> from) const;
  // Writes everything at the end, wherever that is then: of several appends at the same time each
  // is whole, unless the disk is full. Errors: as write_at().
  Task<absl::Status> append(std::span<const std::byte> from) const;
  // The same for text, which has to outlive the task.
  Task<absl::Status> append(std::string_view from) const {
    return append(std::as_bytes(std::span(from)));
  }

  // Completes when the disk has what was written, and the metadata needed to read it; not the
  // file's name in its directory. After an error nothing is known about what was written: write it
  // again.
  Task<absl::Status> sync() const;
  // Bytes.
  Task<absl::StatusOr<uint64_t>> size() const;
  // Cuts or lengthens (with zeros) to `size` bytes.
  Task<absl::Status> truncate(uint64_t size) const;
  // Everything that is known about it.
  Task<absl::StatusOr<FileMetadata>> metadata() const;

  // Closes it: where the destructor does so in passing, this waits and tells.
  //
  // Errors: what the system could not write (network file systems); it is closed all the same.
  //         kFailedPrecondition while another operation has it.
  Task<absl::Status> close();

  // The path it was opened with.
  const std::string& path() const;
  // The descriptor, -1: none; it stays this object's.
  int get() const;
  // Whether it is open.
  explicit operator bool() const { return handle_ != nullptr; }

 private:
  struct Handle;
  explicit File(std::shared_ptr<Handle> handle) : handle_(std::move(handle)) {}
  std::shared_ptr<Handle> handle_;  // shared with the operations that are under way
};

}  // namespace zsync
