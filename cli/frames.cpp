#include "cli/frames.hpp"

#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"

namespace zsync::cli {

constexpr std::size_t kHeaderBytes = 4;

absl::Status MessageReader::too_large(std::size_t bytes) const {
  return absl::InvalidArgumentError(
      absl::StrCat(frames_ ? "frame " : "line ", count_ + 1, " of stdin has ", bytes,
                   " bytes or more: message_bytes_max = ", kMessageBytesMax, " bytes"));
}

absl::Status MessageReader::feed(std::string_view bytes, std::vector<std::string>& messages) {
  return frames_ ? feed_frames(bytes, messages) : feed_lines(bytes, messages);
}

absl::Status MessageReader::feed_lines(std::string_view bytes, std::vector<std::string>& messages) {
  while (!bytes.empty()) {
    const std::size_t newline = bytes.find('\n');
    const std::string_view part = bytes.substr(0, newline);
    if (pending_.size() + part.size() > kMessageBytesMax) {
      return too_large(pending_.size() + part.size());
    }
    pending_.append(part);
    if (newline == std::string_view::npos) break;
    messages.push_back(std::exchange(pending_, ""));
    ++count_;
    bytes.remove_prefix(newline + 1);
  }
  return absl::OkStatus();
}

absl::Status MessageReader::feed_frames(std::string_view bytes,
                                        std::vector<std::string>& messages) {
  pending_.append(bytes);
  std::size_t at = 0;
  while (pending_.size() - at >= kHeaderBytes) {
    std::uint32_t length = 0;
    for (std::size_t i = 0; i < kHeaderBytes; ++i) {
      length = length << 8 | static_cast<unsigned char>(pending_[at + i]);
    }
    if (length > kMessageBytesMax) return too_large(length);
    if (pending_.size() - at - kHeaderBytes < length) break;
    messages.push_back(pending_.substr(at + kHeaderBytes, length));
    ++count_;
    at += kHeaderBytes + length;
  }
  pending_.erase(0, at);
  return absl::OkStatus();
}

absl::Status MessageReader::finish(std::vector<std::string>& messages) {
  if (pending_.empty()) return absl::OkStatus();
  if (frames_) {
    return absl::InvalidArgumentError(absl::StrCat("stdin ended inside frame ", count_ + 1,
                                                   ", after ", pending_.size(), " bytes"));
  }
  messages.push_back(std::exchange(pending_, ""));
  ++count_;
  return absl::OkStatus();
}

std::string frame_header(std::size_t bytes) {
  std::string header;
  for (int shift = 24; shift >= 0; shift -= 8)
    header.push_back(static_cast<char>(bytes >> shift & 0xFF));
  return header;
}

}  // namespace zsync::cli
