// A directory of one test, gone with it; and the few file calls that tests need.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace zsync::kit {

// Short names below /tmp, so that a socket's path fits.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
};

// nullopt when it cannot be read.
std::optional<std::string> read_file(const std::string& path);
bool write_file(const std::string& path, std::string_view bytes);

}  // namespace zsync::kit
