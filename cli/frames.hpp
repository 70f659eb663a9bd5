// Messages in a byte stream: lines, or frames with a length of 4 bytes, big endian, before each.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace zsync::cli {

inline constexpr std::size_t kMessageBytesMax = 1u << 20;  // of one channel message

// Cuts messages out of what was read so far.
class MessageReader {
 public:
  explicit MessageReader(bool frames) : frames_(frames) {}

  // Adds bytes and appends every message that is now whole.
  //
  // Errors: kInvalidArgument for a message over kMessageBytesMax; the ones before it are in
  // `messages`.
  absl::Status feed(std::string_view bytes, std::vector<std::string>& messages);

  // The input has ended: a last line without newline is a message, half a frame is an error.
  absl::Status finish(std::vector<std::string>& messages);

 private:
  absl::Status feed_lines(std::string_view bytes, std::vector<std::string>& messages);
  absl::Status feed_frames(std::string_view bytes, std::vector<std::string>& messages);
  absl::Status too_large(std::size_t bytes) const;

  bool frames_;
  std::size_t count_ = 0;
  std::string pending_;
};

// The 4 bytes before a frame of `bytes`.
std::string frame_header(std::size_t bytes);

}  // namespace zsync::cli
