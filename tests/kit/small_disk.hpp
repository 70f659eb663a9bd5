// A disk that is soon full.
#pragma once

#include <sys/mount.h>
#include <sys/stat.h>

#include <string>
#include <utility>

namespace zsync::kit {

// A tmpfs of 24 MiB for the length of a test.
class SmallDisk {
 public:
  explicit SmallDisk(std::string path) : path_(std::move(path)) {
    mkdir(path_.c_str(), 0700);
    mounted_ = mount("tmpfs", path_.c_str(), "tmpfs", 0, "size=24m") == 0;
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  ~SmallDisk() {
    if (mounted_) umount2(path_.c_str(), MNT_DETACH);
  }
  // False where that is not allowed.
  bool mounted() const { return mounted_; }

 private:
  const std::string path_;
  bool mounted_ = false;
};

}  // namespace zsync::kit
