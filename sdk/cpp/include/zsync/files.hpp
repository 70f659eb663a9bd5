// Whole files and directories: read, replace, rename, list. Cancel: as told in zsync/file.hpp.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "zsync/file.hpp"
#include "zsync/task.hpp"

namespace zsync {

inline constexpr size_t kReadFileBytesMax = size_t{1} << 30;       // bytes; read_file()'s default
inline constexpr size_t kDirectoryEntriesMax = size_t{1'000'000};  // list_directory()'s default

// One name in a directory.
struct DirectoryEntry {
  std::string name;  // without the directory
  FileKind kind;     // of the name itself: a symlink is a symlink
};

// The content of a file, also of one whose size is not known before (/proc).
//
// Errors: kNotFound, kPermissionDenied, ...; kResourceExhausted when it has more than `bytes_max`
//         bytes.
Task<absl::StatusOr<std::string>> read_file(std::string path, size_t bytes_max = kReadFileBytesMax);

// Replaces a file: whoever opens `path` finds the old content or the new one, never a part, also
// after a power cut. Written aside in the same directory, synced, renamed, directory synced. An
// existing file keeps its permissions, and is replaced by a new inode: other hard links to it keep
// the old content, and a symlink is replaced itself. `bytes` are taken along, so that nothing has
// to outlive the task.
//
// Errors: kNotFound for a missing directory, kPermissionDenied, kResourceExhausted for a full disk;
//         the old file is as it was then, and nothing is left aside. After `sync` with the
//         directory's name the new file stands there, but a power cut may undo it.
Task<absl::Status> write_file_atomic(std::string path, std::string bytes, mode_t mode = 0644);

// Gives a file or directory another name on the same file system; a file of that name is replaced.
//
// Errors: kNotFound, kPermissionDenied, kFailedPrecondition (a directory that is not empty), ...
Task<absl::Status> rename_file(std::string from, std::string to);
// Removes a file, or a symlink itself. Errors: kNotFound; kFailedPrecondition for a directory.
Task<absl::Status> remove_file(std::string path);
// Makes a directory and those above it that are missing; one that is there already is no error.
Task<absl::Status> create_directories(std::string path, mode_t mode = 0777);

// What is in a directory (itself and its parent aside), sorted by name; of one that changes
// meanwhile what is new or gone may be missing.
//
// Errors: kNotFound, kPermissionDenied, ...; kResourceExhausted for more than `entries_max` names.
Task<absl::StatusOr<std::vector<DirectoryEntry>>> list_directory(
    std::string path, size_t entries_max = kDirectoryEntriesMax);

// Whether a symlink stands for itself or for what it points to.
enum class Symlinks { follow, keep };

// What is known about a file. Errors: kNotFound, ...
Task<absl::StatusOr<FileMetadata>> file_metadata(std::string path,
                                                 Symlinks symlinks = Symlinks::follow);

}  // namespace zsync
