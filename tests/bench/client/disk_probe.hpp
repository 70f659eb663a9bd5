// What the disk itself takes for the durability that a submit asks for.
#pragma once

#include <cstdint>
#include <string>

namespace zsync::bench {

// Writes as SQLite does with a write-ahead log under synchronous=FULL: a header of 24 bytes and a
// page of 4 KiB at the end of the file, then fdatasync.
//
// Lifetime: the file is removed by the destructor.
class DiskProbe {
 public:
  explicit DiskProbe(const std::string& directory);
  ~DiskProbe();
  DiskProbe(const DiskProbe&) = delete;
  DiskProbe& operator=(const DiskProbe&) = delete;

  bool ok() const { return fd_ >= 0; }
  // Nanoseconds of one append of `pages` pages and its fdatasync; -1 when the disk refused.
  int64_t append(int pages);

 private:
  std::string path_;
  int fd_ = -1;
  int64_t offset_ = 0;
};

}  // namespace zsync::bench
