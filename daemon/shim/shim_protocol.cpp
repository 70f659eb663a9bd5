#include "daemon/shim/shim_protocol.hpp"

#include <bit>
#include <cstring>

#include "daemon/store/segment_log_crc.hpp"

namespace zsync::daemon::shim {
namespace {

static_assert(std::endian::native == std::endian::little, "the protocol is little endian");

constexpr char kSpecMagic[] = "zsyncspe";
constexpr char kClaimMagic[] = "zsynccla";
constexpr char kExitMagic[] = "zsyncexi";
constexpr size_t kMagicBytes = 8;
constexpr size_t kSealBytes = kMagicBytes + 12;
constexpr size_t kFieldHeaderBytes = 6;
constexpr size_t kFrameHeaderBytes = 8;

template <typename T>
void append_raw(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

template <typename T>
T load(const char* at) {
  T value;
  std::memcpy(&value, at, sizeof(value));
  return value;
}

class Fields {
 public:
  Fields& text(uint16_t tag, std::string_view value) {
    append_raw(bytes_, tag);
    append_raw(bytes_, static_cast<uint32_t>(value.size()));
    bytes_.append(value);
    return *this;
  }
  template <typename T>
  Fields& number(uint16_t tag, T value) {
    const uint64_t wide = static_cast<uint64_t>(value);
    return text(tag, {reinterpret_cast<const char*>(&wide), sizeof(wide)});
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

struct Field {
  uint16_t tag = 0;
  std::string_view value;

  template <typename T>
  void to(T& out) const {
    if (value.size() == sizeof(uint64_t)) out = static_cast<T>(load<uint64_t>(value.data()));
  }
  void to(std::string& out) const { out = std::string(value); }
};

// Calls `take` for every field; ends quietly at a cut one, since a CRC has vouched for the whole.
template <typename Take>
void each_field(std::string_view bytes, Take take) {
  while (bytes.size() >= kFieldHeaderBytes) {
    const uint16_t tag = load<uint16_t>(bytes.data());
    const uint32_t size = load<uint32_t>(bytes.data() + 2);
    bytes.remove_prefix(kFieldHeaderBytes);
    if (size > bytes.size()) return;
    take(Field{tag, bytes.substr(0, size)});
    bytes.remove_prefix(size);
  }
}

std::string seal(const char* magic, const Fields& fields) {
  std::string out(magic, kMagicBytes);
  append_raw(out, kProtocolVersion);
  append_raw(out, static_cast<uint32_t>(fields.bytes().size()));
  append_raw(out, crc32c(0, fields.bytes().data(), fields.bytes().size()));
  return out + fields.bytes();
}

std::optional<std::string_view> unseal(const char* magic, std::string_view bytes) {
  if (bytes.size() < kSealBytes || bytes.substr(0, kMagicBytes) != magic) return std::nullopt;
  const uint32_t length = load<uint32_t>(bytes.data() + kMagicBytes + 4);
  const uint32_t crc = load<uint32_t>(bytes.data() + kMagicBytes + 8);
  if (length > bytes.size() - kSealBytes) return std::nullopt;
  const std::string_view fields = bytes.substr(kSealBytes, length);
  if (crc32c(0, fields.data(), fields.size()) != crc) return std::nullopt;
  return fields;
}

std::string frame_of(FrameType type, const Fields& fields) {
  std::string body(1, static_cast<char>(type));
  body += fields.bytes();
  std::string out;
  append_raw(out, static_cast<uint32_t>(body.size()));
  append_raw(out, crc32c(0, body.data(), body.size()));
  return out + body;
}

Fields exit_fields(const ExitRecord& record) {
  Fields fields;
  fields.number(1, record.kind).number(2, record.code).number(3, record.signal);
  fields.number(4, record.error)
      .text(5, std::string_view(record.text).substr(0, kExitTextBytesMax));
  fields.number(6, record.started_unix_nano).number(7, record.finished_unix_nano);
  fields.number(8, record.last_seq).number(9, record.output_bytes).number(10, record.lost_bytes);
  const Usage& usage = record.usage;
  fields.number(11, usage.cpu_user_us).number(12, usage.cpu_system_us);
  fields.number(13, usage.memory_peak_bytes).number(14, usage.io_read_bytes);
  fields.number(15, usage.io_written_bytes).number(16, usage.memory_is_tree);
  fields.number(17, record.by_deadline);
  return fields;
}

void take_end_field(const Field& field, ExitRecord& record) {
  Usage& usage = record.usage;
  switch (field.tag) {
    case 11:
      field.to(usage.cpu_user_us);
      break;
    case 12:
      field.to(usage.cpu_system_us);
      break;
    case 13:
      field.to(usage.memory_peak_bytes);
      break;
    case 14:
      field.to(usage.io_read_bytes);
      break;
    case 15:
      field.to(usage.io_written_bytes);
      break;
    case 16:
      field.to(usage.memory_is_tree);
      break;
    case 17:
      field.to(record.by_deadline);
      break;
    default:
      break;
  }
}

ExitRecord parse_exit(std::string_view bytes) {
  ExitRecord record;
  each_field(bytes, [&](const Field& field) {
    switch (field.tag) {
      case 1:
        field.to(record.kind);
        break;
      case 2:
        field.to(record.code);
        break;
      case 3:
        field.to(record.signal);
        break;
      case 4:
        field.to(record.error);
        break;
      case 5:
        field.to(record.text);
        break;
      case 6:
        field.to(record.started_unix_nano);
        break;
      case 7:
        field.to(record.finished_unix_nano);
        break;
      case 8:
        field.to(record.last_seq);
        break;
      case 9:
        field.to(record.output_bytes);
        break;
      case 10:
        field.to(record.lost_bytes);
        break;
      default:
        take_end_field(field, record);
        break;
    }
  });
  return record;
}

}  // namespace

std::string encode_spec(const Spec& spec) {
  Fields fields;
  fields.text(1, spec.task_id).number(2, spec.attempt);
  for (const std::string& arg : spec.argv) fields.text(3, arg);
  for (const std::string& pair : spec.env) fields.text(4, pair);
  fields.text(5, spec.cwd).number(6, spec.stdin_mode).text(7, spec.cgroup);
  fields.number(8, spec.timeout_ms).number(9, spec.kill_grace_ms);
  fields.number(10, spec.output_bytes_max).number(11, spec.output_head_bytes);
  fields.number(12, spec.segment_bytes).number(13, spec.keep_children);
  fields.number(14, spec.open_files_soft).number(15, spec.nice);
  fields.number(16, spec.io_class).number(17, spec.io_level);
  fields.number(18, spec.memory_bytes_max).number(19, spec.processes_max);
  fields.number(20, spec.terminal.rows).number(21, spec.terminal.columns);
  fields.number(22, spec.deadline_ms).number(23, spec.held);
  return seal(kSpecMagic, fields);
}

namespace {

void take_limit_field(const Field& field, Spec& spec) {
  switch (field.tag) {
    case 14:
      field.to(spec.open_files_soft);
      break;
    case 15:
      field.to(spec.nice);
      break;
    case 16:
      field.to(spec.io_class);
      break;
    case 17:
      field.to(spec.io_level);
      break;
    case 18:
      field.to(spec.memory_bytes_max);
      break;
    case 19:
      field.to(spec.processes_max);
      break;
    case 20:
      field.to(spec.terminal.rows);
      break;
    case 21:
      field.to(spec.terminal.columns);
      break;
    case 22:
      field.to(spec.deadline_ms);
      break;
    case 23:
      field.to(spec.held);
      break;
    default:
      break;
  }
}

}  // namespace

std::optional<Spec> decode_spec(std::string_view bytes) {
  const std::optional<std::string_view> fields = unseal(kSpecMagic, bytes);
  if (!fields) return std::nullopt;
  Spec spec;
  each_field(*fields, [&](const Field& field) {
    switch (field.tag) {
      case 1:
        field.to(spec.task_id);
        break;
      case 2:
        field.to(spec.attempt);
        break;
      case 3:
        spec.argv.emplace_back(field.value);
        break;
      case 4:
        spec.env.emplace_back(field.value);
        break;
      case 5:
        field.to(spec.cwd);
        break;
      case 6:
        field.to(spec.stdin_mode);
        break;
      case 7:
        field.to(spec.cgroup);
        break;
      case 8:
        field.to(spec.timeout_ms);
        break;
      case 9:
        field.to(spec.kill_grace_ms);
        break;
      case 10:
        field.to(spec.output_bytes_max);
        break;
      case 11:
        field.to(spec.output_head_bytes);
        break;
      case 12:
        field.to(spec.segment_bytes);
        break;
      case 13:
        field.to(spec.keep_children);
        break;
      default:
        take_limit_field(field, spec);
        break;
    }
  });
  return spec;
}

std::string encode_claim(const Claim& claim) {
  Fields fields;
  fields.number(1, claim.kind).number(2, claim.pid).number(3, claim.start_ticks);
  fields.text(4, claim.boot_id);
  return seal(kClaimMagic, fields);
}

std::optional<Claim> decode_claim(std::string_view bytes) {
  const std::optional<std::string_view> fields = unseal(kClaimMagic, bytes);
  if (!fields) return std::nullopt;
  Claim claim;
  each_field(*fields, [&](const Field& field) {
    switch (field.tag) {
      case 1:
        field.to(claim.kind);
        break;
      case 2:
        field.to(claim.pid);
        break;
      case 3:
        field.to(claim.start_ticks);
        break;
      case 4:
        field.to(claim.boot_id);
        break;
      default:
        break;
    }
  });
  return claim;
}

std::string encode_exit(const ExitRecord& record) {
  std::string out = seal(kExitMagic, exit_fields(record));
  out.resize(kExitFileBytes, '\0');
  return out;
}

std::optional<ExitRecord> decode_exit(std::string_view bytes) {
  const std::optional<std::string_view> fields = unseal(kExitMagic, bytes);
  if (!fields) return std::nullopt;
  return parse_exit(*fields);
}

std::string encode_frame(const Hello& hello) {
  Fields fields;
  fields.number(1, hello.version).number(2, hello.shim_pid).number(3, hello.pid);
  fields.number(4, hello.started_unix_nano).number(5, hello.last_seq);
  fields.number(6, hello.output_bytes).number(7, hello.stdin_received);
  fields.number(8, hello.canceling).number(9, hello.exited).number(10, hello.paused_unix_nano);
  return frame_of(FrameType::kHello, fields);
}

Hello decode_hello(const Frame& frame) {
  Hello hello;
  each_field(frame.fields, [&](const Field& field) {
    switch (field.tag) {
      case 1:
        field.to(hello.version);
        break;
      case 2:
        field.to(hello.shim_pid);
        break;
      case 3:
        field.to(hello.pid);
        break;
      case 4:
        field.to(hello.started_unix_nano);
        break;
      case 5:
        field.to(hello.last_seq);
        break;
      case 6:
        field.to(hello.output_bytes);
        break;
      case 7:
        field.to(hello.stdin_received);
        break;
      case 8:
        field.to(hello.canceling);
        break;
      case 9:
        field.to(hello.exited);
        break;
      case 10:
        field.to(hello.paused_unix_nano);
        break;
      default:
        break;
    }
  });
  return hello;
}

std::string encode_frame(const Started& started) {
  Fields fields;
  fields.number(1, started.pid).number(2, started.started_unix_nano).text(3, started.cgroup_error);
  return frame_of(FrameType::kStarted, fields);
}

Started decode_started(const Frame& frame) {
  Started started;
  each_field(frame.fields, [&](const Field& field) {
    if (field.tag == 1) field.to(started.pid);
    if (field.tag == 2) field.to(started.started_unix_nano);
    if (field.tag == 3) field.to(started.cgroup_error);
  });
  return started;
}

std::string encode_frame(const Output& output) {
  return frame_of(FrameType::kOutput, Fields().number(1, output.last_seq).number(2, output.bytes));
}

Output decode_output(const Frame& frame) {
  Output output;
  each_field(frame.fields, [&](const Field& field) {
    if (field.tag == 1) field.to(output.last_seq);
    if (field.tag == 2) field.to(output.bytes);
  });
  return output;
}

std::string encode_frame(const StdinAck& ack) {
  return frame_of(FrameType::kStdinAck, Fields().number(1, ack.written).number(2, ack.closed));
}

StdinAck decode_stdin_ack(const Frame& frame) {
  StdinAck ack;
  each_field(frame.fields, [&](const Field& field) {
    if (field.tag == 1) field.to(ack.written);
    if (field.tag == 2) field.to(ack.closed);
  });
  return ack;
}

std::string encode_frame(const Paused& paused) {
  return frame_of(FrameType::kPaused, Fields().number(1, paused.since_unix_nano));
}

Paused decode_paused(const Frame& frame) {
  Paused paused;
  each_field(frame.fields, [&](const Field& field) {
    if (field.tag == 1) field.to(paused.since_unix_nano);
  });
  return paused;
}

std::string encode_frame(const Cancel& cancel) {
  return frame_of(FrameType::kCancel, Fields().number(1, cancel.grace_ms));
}

Cancel decode_cancel(const Frame& frame) {
  Cancel cancel;
  each_field(frame.fields, [&](const Field& field) {
    if (field.tag == 1) field.to(cancel.grace_ms);
  });
  return cancel;
}

std::string encode_frame(const TerminalSize& size) {
  return frame_of(FrameType::kResize, Fields().number(1, size.rows).number(2, size.columns));
}

TerminalSize decode_resize(const Frame& frame) {
  TerminalSize size;
  each_field(frame.fields, [&](const Field& field) {
    if (field.tag == 1) field.to(size.rows);
    if (field.tag == 2) field.to(size.columns);
  });
  return size;
}

std::string encode_frame(const Signal& signal) {
  return frame_of(FrameType::kSignal, Fields().number(1, signal.number));
}

Signal decode_signal(const Frame& frame) {
  Signal signal;
  each_field(frame.fields, [&](const Field& field) {
    if (field.tag == 1) field.to(signal.number);
  });
  return signal;
}

std::string encode_frame(const StdinData& data) {
  return frame_of(FrameType::kStdinData, Fields().number(1, data.offset).text(2, data.data));
}

StdinData decode_stdin_data(const Frame& frame) {
  StdinData data;
  each_field(frame.fields, [&](const Field& field) {
    if (field.tag == 1) field.to(data.offset);
    if (field.tag == 2) data.data = field.value;
  });
  return data;
}

std::string encode_frame(const ExitRecord& record) {
  return frame_of(FrameType::kExited, exit_fields(record));
}

ExitRecord decode_exited(const Frame& frame) { return parse_exit(frame.fields); }

std::string encode_refused(std::string_view text) {
  return frame_of(FrameType::kRefused, Fields().text(1, text));
}

std::string decode_refused(const Frame& frame) {
  std::string text;
  each_field(frame.fields, [&](const Field& field) {
    if (field.tag == 1) field.to(text);
  });
  return text;
}

std::string encode_frame(FrameType type) { return frame_of(type, Fields()); }

std::optional<Frame> FrameReader::next() {
  const std::string_view rest = std::string_view(bytes_).substr(used_);
  if (broken_ || rest.size() < kFrameHeaderBytes) return std::nullopt;
  const uint32_t length = load<uint32_t>(rest.data());
  if (length == 0 || length > kFrameBytesMax) {
    broken_ = true;
    return std::nullopt;
  }
  if (rest.size() < kFrameHeaderBytes + length) return std::nullopt;
  const std::string_view body = rest.substr(kFrameHeaderBytes, length);
  if (crc32c(0, body.data(), body.size()) != load<uint32_t>(rest.data() + 4)) {
    broken_ = true;
    return std::nullopt;
  }
  Frame frame{static_cast<FrameType>(body[0]), std::string(body.substr(1))};
  used_ += kFrameHeaderBytes + length;
  if (used_ == bytes_.size() || used_ > kFrameBytesMax) {
    bytes_.erase(0, used_);
    used_ = 0;
  }
  return frame;
}

}  // namespace zsync::daemon::shim
