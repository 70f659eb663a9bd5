#include "watch/tree_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "watch/bytes.hpp"

namespace zsync::watching {
namespace {

constexpr std::string_view kMagic = "zsync tree 1";
constexpr size_t kFrameHeadBytes = 8;

// FNV-1a over words of 8 bytes: it finds what a torn write leaves, no more.
uint32_t check_of(std::string_view bytes) {
  uint64_t hash = 14695981039346656037U ^ bytes.size();
  size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + at, 8);
    hash = (hash ^ word) * 1099511628211U;
    hash ^= hash >> 29;
  }
  for (; at < bytes.size(); ++at)
    hash = (hash ^ static_cast<unsigned char>(bytes[at])) * 1099511628211U;
  return static_cast<uint32_t>(hash ^ (hash >> 32));
}

void put_frame(std::string& out, std::string_view bytes) {
  put_number(out, static_cast<uint32_t>(bytes.size()));
  put_number(out, check_of(bytes));
  out.append(bytes);
}

// Nullopt at the end, and at a tail that is torn.
std::optional<std::string_view> take_frame(ByteReader& in) {
  const auto size = in.number<uint32_t>();
  const auto check = in.number<uint32_t>();
  const std::string_view bytes = in.take(size);
  if (!in.ok() || check_of(bytes) != check) return std::nullopt;
  return bytes;
}

std::optional<std::string> whole(const std::string& path) {
  Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat st = {};
  if (!file || ::fstat(file.get(), &st) != 0) return std::nullopt;
  if (st.st_size < 0 || static_cast<size_t>(st.st_size) > 2 * kTreeFileBytesMax)
    return std::nullopt;
  std::string bytes(static_cast<size_t>(st.st_size), '\0');
  size_t have = 0;
  while (have < bytes.size()) {
    const ssize_t n = ::read(file.get(), bytes.data() + have, bytes.size() - have);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    have += static_cast<size_t>(n);
  }
  bytes.resize(have);
  return bytes;
}

std::optional<std::vector<TreeLife>> take_head(std::string_view head, std::string_view key) {
  ByteReader in(head);
  if (in.text() != kMagic || in.text() != key) return std::nullopt;
  std::vector<TreeLife> lives;
  const auto count = in.number<uint32_t>();
  for (uint32_t i = 0; i < count && in.ok(); ++i) {
    TreeLife life;
    life.instance = std::string(in.text());
    life.first = in.number<uint64_t>();
    life.last = in.number<uint64_t>();
    lives.push_back(std::move(life));
  }
  if (!in.ok() || lives.empty()) return std::nullopt;
  return lives;
}

}  // namespace

std::optional<KnownTree> TreeFile::read() const {
  const std::optional<std::string> bytes = whole(path_);
  if (!bytes) return std::nullopt;
  ByteReader in(*bytes);
  const std::optional<std::string_view> head = take_frame(in);
  std::optional<std::vector<TreeLife>> lives = head ? take_head(*head, key_) : std::nullopt;
  const std::optional<std::string_view> snapshot = lives ? take_frame(in) : std::nullopt;
  if (!snapshot) return std::nullopt;
  ByteReader saved(*snapshot);
  const auto verified = saved.number<int64_t>();
  std::optional<Tree> tree = Tree::load(saved.take(snapshot->size() - sizeof verified));
  if (!tree) return std::nullopt;
  KnownTree known{*std::move(tree), *std::move(lives), verified};
  while (const std::optional<std::string_view> frame = take_frame(in)) {
    ByteReader appended(*frame);
    const auto clock = appended.number<uint64_t>();
    const auto until = appended.number<int64_t>();
    constexpr size_t kBefore = sizeof clock + sizeof until;
    if (!appended.ok() || !known.tree.replay(frame->substr(kBefore)) ||
        known.tree.clock() != clock) {
      return std::nullopt;
    }
    if (until != 0) known.verified_ns = until;
  }
  known.lives.back().last = known.tree.clock();
  return known;
}

absl::Status TreeFile::write(const Tree& tree, const std::vector<TreeLife>& lives,
                             int64_t verified_ns) {
  std::string head;
  put_text(head, kMagic);
  put_text(head, key_);
  const size_t kept = std::min(lives.size(), kTreeLivesMax);
  put_number(head, static_cast<uint32_t>(kept));
  for (size_t i = lives.size() - kept; i < lives.size(); ++i) {
    put_text(head, lives[i].instance);
    put_number(head, lives[i].first);
    put_number(head, lives[i].last);
  }
  std::string snapshot;
  put_number(snapshot, verified_ns);
  tree.save(snapshot);
  if (snapshot.size() > kTreeFileBytesMax) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the tree takes more than ", kTreeFileBytesMax >> 20, " MiB on disk"));
  }
  std::string bytes;
  bytes.reserve(head.size() + snapshot.size() + 2 * kFrameHeadBytes);
  put_frame(bytes, head);
  put_frame(bytes, snapshot);
  const std::string fresh = path_ + ".new";
  file_ = Fd(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600));
  absl::Status status = file_ ? put(bytes) : absl::ErrnoToStatus(errno, "open \"" + fresh + "\"");
  if (status.ok() && ::rename(fresh.c_str(), path_.c_str()) != 0)
    status = absl::ErrnoToStatus(errno, "rename \"" + fresh + "\"");
  if (!status.ok()) {
    ::unlink(fresh.c_str());
    return status;
  }
  snapshot_ = bytes.size();
  appended_ = 0;
  return absl::OkStatus();
}

absl::Status TreeFile::append(std::string_view record, uint64_t clock, int64_t verified_ns) {
  std::string frame;
  put_number(frame, clock);
  put_number(frame, verified_ns);
  frame.append(record);
  std::string bytes;
  put_frame(bytes, frame);
  appended_ += bytes.size();
  return put(bytes);
}

absl::Status TreeFile::put(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(file_.get(), bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return absl::ErrnoToStatus(n < 0 ? errno : ENOSPC, "write \"" + path_ + "\"");
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

void TreeFile::discard() {
  file_.reset();
  ::unlink(path_.c_str());
}

}  // namespace zsync::watching
