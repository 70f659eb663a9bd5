#include "daemon/channels/spill.hpp"

#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"

namespace zsync::daemon {

std::string Spill::log_dir() const { return absl::StrCat(dir_, "/", generation_); }

absl::Status Spill::open(uint64_t seq) {
  std::error_code error;
  std::filesystem::create_directories(dir_, error);
  if (error) {
    const bool full = error == std::errc::no_space_on_device;
    return absl::Status(
        full ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kUnavailable,
        absl::StrCat("making \"", dir_, "\": ", error.message()));
  }
  ++generation_;
  segment_log::WriterOptions options;
  options.segment_bytes = kSpillSegmentBytes;
  options.first_seq = seq;
  absl::StatusOr<segment_log::Writer> opened = segment_log::Writer::open(log_dir(), options);
  if (!opened.ok()) return opened.status();
  writer_.emplace(std::move(*opened));
  reader_.reset();
  return absl::OkStatus();
}

segment_log::Appended Spill::append(const std::vector<segment_log::Entry>& entries, uint64_t seq) {
  // Nothing of it is needed any more when others were numbered meanwhile.
  if (writer_ && writer_->next_seq() != seq) remove();
  if (!writer_) {
    if (absl::Status opened = open(seq); !opened.ok()) return {0, std::move(opened)};
  }
  return writer_->append(entries);
}

absl::StatusOr<std::vector<Message>> Spill::read(uint64_t seq, size_t max, size_t bytes_max) {
  if (!reader_) {
    absl::StatusOr<segment_log::Reader> opened = segment_log::Reader::open(log_dir(), seq);
    if (!opened.ok()) return opened.status();
    reader_.emplace(std::move(*opened));
  }
  if (reader_->next_seq() != seq) reader_->seek(seq);
  absl::StatusOr<segment_log::Batch> batch = reader_->read(bytes_max);
  if (!batch.ok()) return batch.status();
  std::vector<Message> messages;
  for (const segment_log::Record& record : batch->records) {
    std::optional<Message> message = record.gap ? std::nullopt : decode_message(record);
    if (!message || message->seq != seq + messages.size() || messages.size() == max) break;
    messages.push_back(std::move(*message));
  }
  if (!messages.empty()) return messages;
  return absl::DataLossError(absl::StrCat("message ", seq, " is not in \"", log_dir(), "\""));
}

absl::Status Spill::drop_before(uint64_t seq, bool empty) {
  if (!writer_) return absl::OkStatus();
  if (!empty) return writer_->drop_before(seq);
  remove();
  return absl::OkStatus();
}

void Spill::remove() {
  if (!writer_) return;
  reader_.reset();
  writer_.reset();
  std::error_code error;
  std::filesystem::remove_all(dir_, error);
}

}  // namespace zsync::daemon
