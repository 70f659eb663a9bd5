// ULIDs: ids that sort by their time of birth (github.com/ulid/spec), in lower-case Crockford
// base 32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>

namespace zsync::daemon {

inline constexpr size_t kUlidChars = 26;

// 48 bits of milliseconds since the Unix epoch, then 80 bits of randomness.
struct Ulid {
  uint64_t time_ms = 0;
  uint16_t random_high = 0;
  uint64_t random_low = 0;
};

std::string to_string(const Ulid& ulid);
// Exactly 26 characters of [0-9a-hjkmnp-tv-z], the first at most '7'.
bool is_ulid(std::string_view text);

// Makes ids that grow strictly, also within one millisecond and when the clock steps back.
//
// Threads: next() may be called from any thread; the sources are called under its lock.
class UlidGenerator {
 public:
  using Clock = std::function<uint64_t()>;   // milliseconds since the Unix epoch
  using Random = std::function<uint64_t()>;  // 64 random bits

  UlidGenerator(Clock now_ms, Random random);

  std::string next();

 private:
  const Clock now_ms_;
  const Random random_;
  std::mutex mutex_;
  Ulid last_;  // guarded by mutex_
};

}  // namespace zsync::daemon
