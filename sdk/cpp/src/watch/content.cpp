#include "watch/content.hpp"

#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "watch/fd.hpp"

namespace zsync::watching {
namespace {

// Two changes within it may leave the same time on a file: 10 ms at most on Linux, and some more.
constexpr int64_t kFileClockTickNs = 15'000'000;
constexpr size_t kReadBytes = 64 << 10;

int64_t nanoseconds(const struct timespec& time) {
  return time.tv_sec * int64_t{1'000'000'000} + time.tv_nsec;
}

class Digest {
 public:
  Digest() : context_(::EVP_MD_CTX_new(), ::EVP_MD_CTX_free) {
    ::EVP_DigestInit_ex(context_.get(), ::EVP_sha256(), nullptr);
  }
  void add(std::string_view bytes) {
    ::EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size());
  }
  Content::Print print() {
    std::array<uint8_t, EVP_MAX_MD_SIZE> whole{};
    ::EVP_DigestFinal_ex(context_.get(), whole.data(), nullptr);
    Content::Print out{};
    std::copy_n(whole.begin(), out.size(), out.begin());
    return out;
  }

 private:
  const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context_;
};

// False: it could not be read to its end, or is too large by now.
bool add_file(Digest& digest, const std::string& path) {
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!file) return false;
  std::string buffer(kReadBytes, '\0');
  uint64_t sum = 0;
  while (true) {
    const ssize_t got = ::read(file.get(), buffer.data(), buffer.size());
    if (got == 0) return true;
    if (got < 0 || (sum += static_cast<uint64_t>(got)) > kContentBytesMax) return false;
    digest.add(std::string_view(buffer).substr(0, static_cast<size_t>(got)));
  }
}

bool add_link(Digest& digest, const std::string& path) {
  std::string target(PATH_MAX, '\0');
  const ssize_t size = ::readlink(path.c_str(), target.data(), target.size());
  if (size < 0) return false;
  digest.add(std::string_view(target).substr(0, static_cast<size_t>(size)));
  return true;
}

}  // namespace

Content read_content(const std::string& path) {
  Content content;
  struct stat st = {};
  if (::lstat(path.c_str(), &st) != 0) return content;
  content.there = true;
  content.size = static_cast<uint64_t>(st.st_size);
  content.mtime_ns = nanoseconds(st.st_mtim);
  content.ctime_ns = nanoseconds(st.st_ctim);
  Digest digest;
  digest.add(absl::StrCat(st.st_mode, "\n"));
  bool whole = false;
  if (S_ISREG(st.st_mode) && content.size <= kContentBytesMax) whole = add_file(digest, path);
  if (S_ISLNK(st.st_mode)) whole = add_link(digest, path);
  if (!whole) digest.add(absl::StrCat(content.size, " ", content.mtime_ns, " ", content.ctime_ns));
  content.print = digest.print();
  return content;
}

std::string content_mark(const std::string& path) {
  const Content content = read_content(path);
  if (!content.there) return "";
  return {reinterpret_cast<const char*>(content.print.data()), content.print.size()};
}

void ContentFilter::learn(const Change& entry, int64_t looked_ns) {
  if (entry.is_directory || known_.size() >= files_max_) return;
  const Content content = read_(entry.path);
  const bool same = content.there && content.size == entry.size &&
                    content.mtime_ns == entry.mtime_ns &&
                    content.ctime_ns < looked_ns - kFileClockTickNs;
  if (same) remember(entry.path, content);
}

bool ContentFilter::tells(const Change& change) {
  if (change.is_directory) return true;
  if (!change.renamed_from.empty()) known_.erase(change.renamed_from);
  if (change.kind == ChangeKind::deleted) {
    known_.erase(change.path);
    return true;
  }
  const auto found = known_.find(change.path);
  if (found == known_.end() && known_.size() >= files_max_) return true;
  const Content content = read_(change.path);
  if (change.kind == ChangeKind::modified && found != known_.end() && content.there &&
      found->second == content.print) {
    return false;
  }
  remember(change.path, content);
  return true;
}

void ContentFilter::remember(const std::string& path, const Content& content) {
  if (content.there) {
    known_[path] = content.print;
  } else {
    known_.erase(path);
  }
}

}  // namespace zsync::watching
