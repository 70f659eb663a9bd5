#include "daemon/store/work_span.hpp"

#include <cstring>
#include <string>

#include "daemon/store/ulid.hpp"

namespace zsync::daemon {
namespace {

constexpr uint64_t kAttempts = 1ull << 32;
constexpr uint64_t kWaits = 2ull << 32;

int digit_of(char c) {
  static constexpr std::string_view kDigits = "0123456789abcdefghjkmnpqrstvwxyz";
  return static_cast<int>(kDigits.find(c));
}

// The 128 bits of a ULID, or of any other text a hash of it.
trace::TraceId bits_of(std::string_view id) {
  const size_t prefix = id.rfind('_');
  const std::string_view ulid = prefix == id.npos ? id : id.substr(prefix + 1);
  trace::TraceId bits;
  unsigned __int128 value = 0;
  if (is_ulid(ulid)) {
    for (const char c : ulid) value = value << 5 | static_cast<unsigned>(digit_of(c));
  } else {
    // FNV-1a
    value = (unsigned __int128){0x6c62272e07bb0142} << 64 | 0x62b821756295c58d;
    for (const char c : id) {
      value ^= static_cast<unsigned char>(c);
      value *= (unsigned __int128){0x0000000001000000} << 64 | 0x000000000000013b;
    }
  }
  for (size_t i = bits.bytes.size(); i > 0; --i, value >>= 8)
    bits.bytes[i - 1] = static_cast<uint8_t>(value);
  if (!bits.valid()) bits.bytes.back() = 1;
  return bits;
}

// Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators (OOPSLA 2014): the finalizer,
// which is a bijection.
uint64_t mixed(uint64_t value) {
  value += 0x9e3779b97f4a7c15;
  value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
  value = (value ^ value >> 27) * 0x94d049bb133111eb;
  return value ^ value >> 31;
}

trace::SpanId span_id_of(uint64_t value) {
  trace::SpanId id;
  std::memcpy(id.bytes.data(), &value, sizeof value);
  if (!id.valid()) id.bytes.back() = 1;
  return id;
}

trace::SpanContext part_of(trace::SpanContext work, uint64_t number) {
  uint64_t value = 0;
  std::memcpy(&value, work.span_id.bytes.data(), sizeof value);
  work.span_id = span_id_of(mixed(value ^ mixed(number)));
  return work;
}

}  // namespace

trace::SpanContext work_span(std::string_view id, std::string_view caller_traceparent) {
  trace::SpanContext work;
  const trace::TraceId own = bits_of(id);
  if (absl::StatusOr<trace::SpanContext> caller = trace::SpanContext::parse(caller_traceparent);
      caller.ok()) {
    work = *std::move(caller);
  } else {
    work.trace_id = own;
    work.sampled = true;
  }
  uint64_t random = 0;  // the half that differs also within one millisecond
  std::memcpy(&random, own.bytes.data() + sizeof random, sizeof random);
  work.span_id = span_id_of(mixed(random));
  return work;
}

trace::SpanContext attempt_span(trace::SpanContext work, uint32_t attempt) {
  return part_of(std::move(work), kAttempts + attempt);
}

trace::SpanContext wait_span(trace::SpanContext work, uint32_t wait) {
  return part_of(std::move(work), kWaits + wait);
}

}  // namespace zsync::daemon
