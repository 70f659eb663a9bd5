// CRC-32C (Castagnoli, RFC 3720 appendix B.4), by the CPU's instruction where it has one.
#pragma once

#include <cstddef>
#include <cstdint>

namespace zsync::daemon {

// The checksum of `size` bytes at `bytes`, continuing `crc` (0 for the first part).
// crc32c(crc32c(0, a), b) is the checksum of a followed by b.
uint32_t crc32c(uint32_t crc, const void* bytes, size_t size);

// The same by table, whatever the CPU; exists so that the tests can compare the two.
uint32_t crc32c_by_table(uint32_t crc, const void* bytes, size_t size);

}  // namespace zsync::daemon
