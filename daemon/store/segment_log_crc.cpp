#include "daemon/store/segment_log_crc.hpp"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#include <nmmintrin.h>
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#endif

namespace zsync::daemon {
namespace {

constexpr uint32_t kPolynomial = 0x82f63b78;  // reflected
constexpr size_t kSlices = 8;

using Tables = std::array<std::array<uint32_t, 256>, kSlices>;

constexpr Tables make_tables() {
  Tables tables{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
    tables[0][i] = crc;
  }
  for (uint32_t i = 0; i < 256; ++i) {
    for (size_t slice = 1; slice < kSlices; ++slice) {
      const uint32_t before = tables[slice - 1][i];
      tables[slice][i] = (before >> 8) ^ tables[0][before & 0xff];
    }
  }
  return tables;
}

constexpr Tables kTables = make_tables();

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t crc32c_by_cpu(uint32_t crc, const void* bytes,
                                                         size_t size) {
  const char* at = static_cast<const char*>(bytes);
  uint64_t state = ~crc;
  for (; size >= 8; size -= 8, at += 8) {
    uint64_t word;
    std::memcpy(&word, at, 8);
    state = _mm_crc32_u64(state, word);
  }
  uint32_t tail = static_cast<uint32_t>(state);
  for (; size > 0; --size, ++at) tail = _mm_crc32_u8(tail, static_cast<uint8_t>(*at));
  return ~tail;
}
// Asks itself: __builtin_cpu_supports() asks for everything at the start of each program, and in a
// virtual machine each question is a way out of it and back.
bool cpu_has_crc32c() {
  unsigned int a = 0, b = 0, c = 0, d = 0;
  __cpuid(1, a, b, c, d);  // every x86-64 has this leaf
  return (c & bit_SSE4_2) != 0;
}
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
uint32_t crc32c_by_cpu(uint32_t crc, const void* bytes, size_t size) {
  const char* at = static_cast<const char*>(bytes);
  uint32_t state = ~crc;
  for (; size >= 8; size -= 8, at += 8) {
    uint64_t word;
    std::memcpy(&word, at, 8);
    state = __crc32cd(state, word);
  }
  for (; size > 0; --size, ++at) state = __crc32cb(state, static_cast<uint8_t>(*at));
  return ~state;
}
bool cpu_has_crc32c() { return true; }
#else
uint32_t crc32c_by_cpu(uint32_t crc, const void* bytes, size_t size) {
  return crc32c_by_table(crc, bytes, size);
}
bool cpu_has_crc32c() { return false; }
#endif

}  // namespace

uint32_t crc32c_by_table(uint32_t crc, const void* bytes, size_t size) {
  const uint8_t* at = static_cast<const uint8_t*>(bytes);
  uint32_t state = ~crc;
  for (; size >= kSlices; size -= kSlices, at += kSlices) {
    const uint32_t low =
        state ^ (static_cast<uint32_t>(at[0]) | static_cast<uint32_t>(at[1]) << 8 |
                 static_cast<uint32_t>(at[2]) << 16 | static_cast<uint32_t>(at[3]) << 24);
    state = kTables[7][low & 0xff] ^ kTables[6][(low >> 8) & 0xff] ^
            kTables[5][(low >> 16) & 0xff] ^ kTables[4][low >> 24] ^ kTables[3][at[4]] ^
            kTables[2][at[5]] ^ kTables[1][at[6]] ^ kTables[0][at[7]];
  }
  for (; size > 0; --size, ++at) state = (state >> 8) ^ kTables[0][(state ^ *at) & 0xff];
  return ~state;
}

uint32_t crc32c(uint32_t crc, const void* bytes, size_t size) {
  static const bool by_cpu = cpu_has_crc32c();
  return by_cpu ? crc32c_by_cpu(crc, bytes, size) : crc32c_by_table(crc, bytes, size);
}

}  // namespace zsync::daemon
