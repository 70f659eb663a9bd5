// SpanContext: which trace a piece of work belongs to, as it crosses processes.
//
//   traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
//   tracestate: congo=t61rcWkgMzE,rojo=00f067aa0ba902b7
//
// W3C Trace Context, level 2 (headers `traceparent` and `tracestate`; in the environment of a
// process TRACEPARENT and TRACESTATE).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace zsync::trace {

// An identifier of `kBytes` bytes; all zero: none.
template <size_t kBytes>
struct Id {
  static constexpr size_t kHexLength = 2 * kBytes;  // characters

  std::array<uint8_t, kBytes> bytes{};  // the most significant one first

  // Not all zero.
  bool valid() const { return bytes != std::array<uint8_t, kBytes>{}; }
  // Lower-case, most significant byte first.
  std::string to_hex() const;
  // nullopt: other than kHexLength lower-case hexadecimal digits, or all of them zero.
  static std::optional<Id> from_hex(std::string_view hex);
  // Never all zero. Threads: any.
  static Id random();

  friend bool operator==(const Id&, const Id&) = default;
  friend auto operator<=>(const Id&, const Id&) = default;
};

// Of everything that one cause led to.
using TraceId = Id<16>;
// Of one span in it.
using SpanId = Id<8>;

// What other tracing systems wrote for themselves, which goes along unchanged: `key=value` members,
// the latest writer first.
class TraceState {
 public:
  static constexpr size_t kMembersMax = 32;   // members
  static constexpr size_t kBytesMax = 512;    // bytes of the header that is passed on
  static constexpr size_t kLongMember = 128;  // bytes: longer members are the first to be left out

  TraceState() = default;
  // Errors: kInvalidArgument names the member. More bytes than kBytesMax are no error: members are
  // left out until the rest fits.
  static absl::StatusOr<TraceState> parse(std::string_view header);

  // The value of `key`; nullopt: there is no such member.
  std::optional<std::string_view> get(std::string_view key) const;
  // Writes a member in front, in the place of an older one. Errors: kInvalidArgument for what the
  // format cannot hold.
  absl::Status set(std::string_view key, std::string_view value);
  // As the header; empty: nothing to send.
  const std::string& to_header() const { return header_; }
  // There is no member.
  bool empty() const { return header_.empty(); }

 private:
  std::string header_;
};

// What is passed to whoever goes on with the work.
struct SpanContext {
  TraceId trace_id;      // of the whole
  SpanId span_id;        // that caused what comes next
  bool sampled = false;  // its caller may have recorded it
  bool random = false;   // trace_id's last 7 bytes are random, which samplers rely on
  TraceState state;      // of other systems

  // It has both ids.
  bool valid() const { return trace_id.valid() && span_id.valid(); }

  // The header of version 00; empty for a context that is not valid.
  std::string to_traceparent() const;
  // Reads what a caller sent. A tracestate that is malformed is left out, as the standard asks: it
  // is none of this process's.
  //
  // Errors: kInvalidArgument says what is wrong with traceparent; then start a new trace.
  static absl::StatusOr<SpanContext> parse(std::string_view traceparent,
                                           std::string_view tracestate = {});
  // From TRACEPARENT and TRACESTATE of this process. nullopt: not set, or malformed.
  static std::optional<SpanContext> from_environment();
};

}  // namespace zsync::trace
