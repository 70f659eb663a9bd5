#include "zsync/trace/context.hpp"

#include <sys/random.h>

#include <cstdlib>
#include <cstring>
#include <random>

#include "absl/strings/str_cat.h"
#include "rt/process_life.hpp"

namespace zsync::trace {
namespace {

constexpr char kDigits[] = "0123456789abcdef";
constexpr size_t kTraceparentLength = 55;  // of version 00
constexpr uint8_t kSampled = 1;
constexpr uint8_t kRandom = 2;

int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

std::optional<uint8_t> byte_of(std::string_view hex) {
  const int high = digit_of(hex[0]);
  const int low = digit_of(hex[1]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<uint8_t>(high << 4 | low);
}

// Random numbers of this thread and process: a child of fork() must not go on with its parent's.
class IdSource {
 public:
  uint64_t next() {
    const uint32_t forks = rt::forked_processes();
    if (forks != forks_) {
      forks_ = forks;
      seed();
    }
    return engine_();
  }

 private:
  void seed() {
    uint64_t seed[4];
    if (getrandom(seed, sizeof seed, 0) != sizeof seed) {
      std::random_device device;
      for (uint64_t& word : seed) word = uint64_t{device()} << 32 | device();
    }
    std::seed_seq sequence(std::begin(seed), std::end(seed));
    engine_.seed(sequence);
  }

  uint32_t forks_ = ~0u;
  std::mt19937_64 engine_;
};

absl::Status refused(absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("traceparent: ", why));
}

}  // namespace

template <size_t kBytes>
std::string Id<kBytes>::to_hex() const {
  std::string hex;
  hex.reserve(kHexLength);
  for (const uint8_t byte : bytes) {
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
  }
  return hex;
}

template <size_t kBytes>
std::optional<Id<kBytes>> Id<kBytes>::from_hex(std::string_view hex) {
  if (hex.size() != kHexLength) return std::nullopt;
  Id id;
  for (size_t i = 0; i < kBytes; ++i) {
    const std::optional<uint8_t> byte = byte_of(hex.substr(2 * i, 2));
    if (!byte) return std::nullopt;
    id.bytes[i] = *byte;
  }
  if (!id.valid()) return std::nullopt;
  return id;
}

template <size_t kBytes>
Id<kBytes> Id<kBytes>::random() {
  static_assert(kBytes % sizeof(uint64_t) == 0);
  static const bool watched = (rt::watch_forks(), true);
  (void)watched;
  thread_local IdSource source;
  Id id;
  do {
    for (size_t i = 0; i < kBytes; i += sizeof(uint64_t)) {
      const uint64_t word = source.next();
      std::memcpy(&id.bytes[i], &word, sizeof word);
    }
  } while (!id.valid());
  return id;
}

template struct Id<16>;
template struct Id<8>;

std::string SpanContext::to_traceparent() const {
  if (!valid()) return {};
  const uint8_t flags = (sampled ? kSampled : 0) | (random ? kRandom : 0);
  return absl::StrCat("00-", trace_id.to_hex(), "-", span_id.to_hex(), "-0",
                      absl::string_view(&kDigits[flags], 1));
}

absl::StatusOr<SpanContext> SpanContext::parse(std::string_view traceparent,
                                               std::string_view tracestate) {
  if (traceparent.size() < kTraceparentLength) return refused("shorter than 55 characters");
  const std::optional<uint8_t> version = byte_of(traceparent.substr(0, 2));
  if (!version || *version == 0xff) return refused("no version that can be");
  if (traceparent[2] != '-' || traceparent[35] != '-' || traceparent[52] != '-') {
    return refused("not VERSION-TRACE-SPAN-FLAGS");
  }
  // A later version may have more behind it, which starts with a dash too.
  if (traceparent.size() > kTraceparentLength &&
      (*version == 0 || traceparent[kTraceparentLength] != '-')) {
    return refused("more than 55 characters");
  }
  const std::optional<TraceId> trace = TraceId::from_hex(traceparent.substr(3, 32));
  if (!trace) return refused("a trace id is 32 lower-case hexadecimal digits, not all zero");
  const std::optional<SpanId> span = SpanId::from_hex(traceparent.substr(36, 16));
  if (!span) return refused("a span id is 16 lower-case hexadecimal digits, not all zero");
  const std::optional<uint8_t> flags = byte_of(traceparent.substr(53, 2));
  if (!flags) return refused("flags are two lower-case hexadecimal digits");
  SpanContext context{*trace, *span, (*flags & kSampled) != 0, (*flags & kRandom) != 0, {}};
  if (absl::StatusOr<TraceState> state = TraceState::parse(tracestate); state.ok()) {
    context.state = *std::move(state);
  }
  return context;
}

std::optional<SpanContext> SpanContext::from_environment() {
  const char* const parent = std::getenv("TRACEPARENT");
  if (!parent) return std::nullopt;
  const char* const state = std::getenv("TRACESTATE");
  absl::StatusOr<SpanContext> context = parse(parent, state ? state : "");
  if (!context.ok()) return std::nullopt;
  return *std::move(context);
}

}  // namespace zsync::trace
