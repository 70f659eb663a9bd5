#include "daemon/store/ulid.hpp"

#include <algorithm>
#include <utility>

namespace zsync::daemon {
namespace {

constexpr char kAlphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";
constexpr uint64_t kTimeMask = (1ull << 48) - 1;
constexpr int kTimeChars = 10;
constexpr int kHalfChars = 8;  // 40 bits, half of the random part

void put(std::string& out, uint64_t bits, int chars) {
  for (int i = chars - 1; i >= 0; --i) out.push_back(kAlphabet[(bits >> (5 * i)) & 31]);
}

}  // namespace

std::string to_string(const Ulid& ulid) {
  std::string out;
  out.reserve(kUlidChars);
  constexpr uint64_t half_mask = (1ull << 40) - 1;
  put(out, ulid.time_ms & kTimeMask, kTimeChars);
  put(out, (static_cast<uint64_t>(ulid.random_high) << 24) | (ulid.random_low >> 40), kHalfChars);
  put(out, ulid.random_low & half_mask, kHalfChars);
  return out;
}

bool is_ulid(std::string_view text) {
  if (text.size() != kUlidChars || text[0] < '0' || text[0] > '7') return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    return std::string_view(kAlphabet).find(c) != std::string_view::npos;
  });
}

UlidGenerator::UlidGenerator(Clock now_ms, Random random)
    : now_ms_(std::move(now_ms)), random_(std::move(random)) {}

std::string UlidGenerator::next() {
  const std::lock_guard lock(mutex_);
  const uint64_t now = std::min(now_ms_(), kTimeMask);
  if (now > last_.time_ms) {
    // The top bit stays free, so that counting up within this millisecond cannot run over.
    last_ = {now, static_cast<uint16_t>(random_() & 0x7fff), random_()};
  } else if (++last_.random_low == 0 && ++last_.random_high == 0) {
    ++last_.time_ms;  // 2^79 ids of one millisecond are used up
  }
  return to_string(last_);
}

}  // namespace zsync::daemon
