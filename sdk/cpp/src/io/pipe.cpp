#include "zsync/pipe.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace zsync {
namespace {

constexpr size_t kReadBytes = 65536;  // a pipe's usual capacity

}  // namespace

absl::StatusOr<PipeReader> PipeReader::adopt(UniqueFd descriptor) {
  absl::StatusOr<rt::Fd> fd = rt::Fd::adopt(std::move(descriptor));
  if (!fd.ok()) return fd.status();
  return PipeReader(*std::move(fd));
}

absl::StatusOr<PipeWriter> PipeWriter::adopt(UniqueFd descriptor) {
  absl::StatusOr<rt::Fd> fd = rt::Fd::adopt(std::move(descriptor));
  if (!fd.ok()) return fd.status();
  return PipeWriter(*std::move(fd));
}

Task<absl::StatusOr<std::string>> PipeReader::read_to_end(size_t bytes_max) {
  std::string bytes;
  std::string buffer(kReadBytes, '\0');
  while (true) {
    absl::StatusOr<size_t> count = co_await read_some(std::as_writable_bytes(std::span(buffer)));
    if (!count.ok()) co_return count.status();
    if (*count == 0) co_return bytes;
    if (*count > bytes_max - bytes.size()) {
      co_return absl::ResourceExhaustedError(
          absl::StrCat("read: there are more than ", bytes_max, " bytes; raise the limit"));
    }
    bytes.append(buffer, 0, *count);
  }
}

absl::StatusOr<std::pair<PipeReader, PipeWriter>> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return rt::errno_status("making a pipe", errno);
  UniqueFd read_end(ends[0]), write_end(ends[1]);
  absl::StatusOr<PipeReader> reader = PipeReader::adopt(std::move(read_end));
  if (!reader.ok()) return reader.status();
  absl::StatusOr<PipeWriter> writer = PipeWriter::adopt(std::move(write_end));
  if (!writer.ok()) return writer.status();
  return std::pair(*std::move(reader), *std::move(writer));
}

}  // namespace zsync
