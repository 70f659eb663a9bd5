#include "daemon/shim/attempt.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"

namespace zsync::daemon::shim {
namespace {

using segment_log::Fd;

constexpr size_t kClaimBytesMax = 4096;
constexpr size_t kReadBytes = 4u << 10;
constexpr size_t kStatBytesMax = 1024;

absl::Status failed(int error, absl::string_view doing, absl::string_view path) {
  return absl::ErrnoToStatus(error, absl::StrCat(doing, " \"", path, "\""));
}

absl::Status write_file(const std::string& path, std::string_view bytes, int flags, bool durable) {
  Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0600));
  if (!fd.valid()) return failed(errno, "create", path);
  while (!bytes.empty()) {
    const ssize_t wrote = ::write(fd.get(), bytes.data(), bytes.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return failed(errno, "write", path);
    bytes.remove_prefix(static_cast<size_t>(wrote));
  }
  if (durable && ::fsync(fd.get()) != 0) return failed(errno, "sync", path);
  return absl::OkStatus();
}

// Up to `limit` bytes of a file; nullopt when it does not exist.
absl::StatusOr<std::optional<std::string>> read_file(const std::string& path, size_t limit) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid() && errno == ENOENT) return std::nullopt;
  if (!fd.valid()) return failed(errno, "open", path);
  std::string bytes;
  while (bytes.size() < limit) {
    char part[kReadBytes];
    const ssize_t got = ::read(fd.get(), part, std::min(sizeof part, limit - bytes.size()));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failed(errno, "read", path);
    if (got == 0) break;
    bytes.append(part, static_cast<size_t>(got));
  }
  return bytes;
}

absl::Status sync_dir(const std::string& dir) {
  Fd fd(::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() || ::fsync(fd.get()) != 0) return failed(errno, "sync", dir);
  return absl::OkStatus();
}

std::string parent_of(std::string dir) {
  while (dir.size() > 1 && dir.back() == '/') dir.pop_back();
  const size_t slash = dir.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : dir.substr(0, slash);
}

struct ProcessState {
  char state = 0;
  uint64_t start_ticks = 0;
};

std::optional<ProcessState> read_process(const std::string& name) {
  const auto text = read_file("/proc/" + name + "/stat", kStatBytesMax);
  if (!text.ok() || !text->has_value()) return std::nullopt;
  // The command's name may hold blanks and parentheses: fields count from the last one.
  const size_t close = (*text)->rfind(')');
  if (close == std::string::npos || close + 2 >= (*text)->size()) return std::nullopt;
  const char* at = (*text)->c_str() + close + 2;
  ProcessState process;
  process.state = *at;
  for (int field = 3; field < 22; ++field) {
    at = std::strchr(at, ' ');
    if (at == nullptr) return std::nullopt;
    ++at;
  }
  process.start_ticks = std::strtoull(at, nullptr, 10);
  return process;
}

std::string read_boot_id() {
  const auto text = read_file("/proc/sys/kernel/random/boot_id", kStatBytesMax);
  if (!text.ok() || !text->has_value()) return "";
  return (*text)->substr(0, (*text)->find('\n'));
}

// Asked once: it changes with the machine's start only. "": it cannot be read now.
std::string boot_id_of_machine() {
  static std::mutex mutex;
  static std::string known;
  std::lock_guard guard(mutex);
  if (known.empty()) known = read_boot_id();
  return known;
}

// Gives a file its final name, whole at once, unless somebody has that name; false: errno says why.
bool give_name(const std::string& file, const std::string& name) {
  if (::renameat2(AT_FDCWD, file.c_str(), AT_FDCWD, name.c_str(), RENAME_NOREPLACE) == 0) {
    return true;
  }
  // Some file systems can only link so.
  if (errno != EINVAL || ::link(file.c_str(), name.c_str()) != 0) return false;
  (void)::unlink(file.c_str());
  return true;
}

absl::StatusOr<bool> put_claim(const std::string& dir, const Claim& claim) {
  static std::atomic<uint32_t> counter = 0;
  const std::string path = dir + "/" + kClaimFile;
  const std::string aside = absl::StrCat(path, ".", ::getpid(), ".", counter.fetch_add(1));
  absl::Status status = write_file(aside, encode_claim(claim), O_TRUNC, false);
  if (status.ok() && give_name(aside, path)) return true;
  const int error = errno;
  (void)::unlink(aside.c_str());
  if (!status.ok()) return status;
  if (error != EEXIST) return failed(error, "create", path);
  return false;
}

absl::Status preallocate_exit(const std::string& dir, bool durable) {
  const std::string path = dir + "/" + kExitFile;
  Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd.valid()) return failed(errno, "create", path);
  const int error = ::posix_fallocate(fd.get(), 0, kExitFileBytes);
  if (error != 0) return failed(error, "allocate", path);
  if (durable && ::fsync(fd.get()) != 0) return failed(errno, "sync", path);
  return absl::OkStatus();
}

}  // namespace

absl::Status create_attempt(const std::string& dir, const Spec& spec, std::string_view stdin_bytes,
                            bool durable) {
  const std::string bytes = encode_spec(spec);
  if (spec.argv.empty() || spec.argv[0].empty()) {
    return absl::InvalidArgumentError("argv is empty; name the program to run");
  }
  if (bytes.size() > kSpecBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("spec of ", bytes.size(), " bytes is over spec_bytes_max = ", kSpecBytesMax,
                     "; shorten argv or environment"));
  }
  const bool fresh = ::mkdir(dir.c_str(), 0700) == 0;
  if (!fresh && errno != EEXIST) return failed(errno, "create", dir);
  if (!fresh && ::access((dir + "/" + kSpecFile).c_str(), F_OK) == 0) {
    return absl::AlreadyExistsError(absl::StrCat("attempt \"", dir, "\" has a spec already"));
  }
  // The spec comes last: an attempt without a whole one was never made.
  absl::Status status = preallocate_exit(dir, durable);
  if (status.ok() && spec.stdin_mode == StdinMode::kFile) {
    status = write_file(dir + "/" + kStdinFile, stdin_bytes, O_TRUNC, durable);
  }
  if (status.ok()) status = write_file(dir + "/" + kSpecFile, bytes, O_EXCL, durable);
  if (status.ok() && durable) status = sync_dir(dir);
  if (status.ok() && durable && fresh) status = sync_dir(parent_of(dir));
  if (!status.ok()) {
    for (const char* name : {kSpecFile, kExitFile, kStdinFile}) {
      (void)::unlink((dir + "/" + name).c_str());
    }
    if (fresh) (void)::rmdir(dir.c_str());
  }
  return status;
}

absl::StatusOr<Spec> read_spec(const std::string& dir) {
  const std::string path = dir + "/" + kSpecFile;
  absl::StatusOr<std::optional<std::string>> bytes = read_file(path, kSpecBytesMax);
  if (!bytes.ok()) return bytes.status();
  if (!bytes->has_value()) return absl::NotFoundError(absl::StrCat("no spec at \"", path, "\""));
  std::optional<Spec> spec = decode_spec(**bytes);
  if (!spec) return absl::DataLossError(absl::StrCat("spec \"", path, "\" is damaged"));
  return *std::move(spec);
}

absl::StatusOr<Fd> connect_shim(const std::string& dir) {
  absl::StatusOr<std::optional<Claim>> claim = read_claim(dir);
  if (!claim.ok()) return claim.status();
  if (!claim->has_value())
    return absl::NotFoundError(absl::StrCat("no shim has claimed \"", dir, "\""));
  if ((*claim)->kind == ClaimKind::kRevoked) {
    return absl::FailedPreconditionError(absl::StrCat("the claim of \"", dir, "\" is revoked"));
  }
  Fd dir_fd(::open(dir.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!dir_fd.valid()) return failed(errno, "open", dir);
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid()) return failed(errno, "make a socket for", dir);
  // Through the descriptor the path is short, whatever the directory's length (sun_path holds 107
  // bytes).
  const std::string path =
      absl::StrCat("/proc/self/fd/", dir_fd.get(), "/", kSocketPrefix, (*claim)->pid);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), std::min(path.size(), sizeof(address.sun_path) - 1));
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return absl::UnavailableError(failed(errno, "connect to the shim of", dir).message());
  }
  return socket;
}

absl::StatusOr<std::optional<Claim>> read_claim(const std::string& dir) {
  const std::string path = dir + "/" + kClaimFile;
  absl::StatusOr<std::optional<std::string>> bytes = read_file(path, kClaimBytesMax);
  if (!bytes.ok()) return bytes.status();
  if (!bytes->has_value()) return std::nullopt;
  std::optional<Claim> claim = decode_claim(**bytes);
  if (!claim) return absl::DataLossError(absl::StrCat("claim \"", path, "\" is damaged"));
  return claim;
}

absl::StatusOr<Claim> revoke_claim(const std::string& dir) {
  absl::StatusOr<Claim> mine = claim_of_self(ClaimKind::kRevoked);
  if (!mine.ok()) return mine.status();
  absl::StatusOr<bool> won = put_claim(dir, *mine);
  if (!won.ok()) return won.status();
  if (*won) return mine;
  absl::StatusOr<std::optional<Claim>> theirs = read_claim(dir);
  if (!theirs.ok()) return theirs.status();
  if (!theirs->has_value())
    return absl::AbortedError(absl::StrCat("the claim of \"", dir, "\" was removed"));
  return **theirs;
}

absl::StatusOr<bool> take_claim(const std::string& dir) {
  absl::StatusOr<Claim> mine = claim_of_self(ClaimKind::kShim);
  if (!mine.ok()) return mine.status();
  return put_claim(dir, *mine);
}

void write_exit(const Fd& exit_file, const ExitRecord& record) {
  const std::string bytes = encode_exit(record);
  while (::pwrite(exit_file.get(), bytes.data(), bytes.size(), 0) < 0 && errno == EINTR) {
  }
}

absl::StatusOr<std::optional<ExitRecord>> read_exit(const std::string& dir) {
  absl::StatusOr<std::optional<std::string>> bytes =
      read_file(dir + "/" + kExitFile, kExitFileBytes);
  if (!bytes.ok()) return bytes.status();
  if (!bytes->has_value()) return std::nullopt;
  return decode_exit(**bytes);
}

bool shim_alive(const Claim& claim) {
  if (claim.kind != ClaimKind::kShim || claim.pid <= 0) return false;
  if (claim.boot_id != boot_id_of_machine()) return false;
  const std::optional<ProcessState> process = read_process(std::to_string(claim.pid));
  return process && process->start_ticks == claim.start_ticks && process->state != 'Z' &&
         process->state != 'X';
}

bool shim_alive(const std::string& dir) {
  const absl::StatusOr<std::optional<Claim>> claim = read_claim(dir);
  return claim.ok() && claim->has_value() && shim_alive(**claim);
}

absl::StatusOr<Claim> claim_of_self(ClaimKind kind) {
  const std::optional<ProcessState> process = read_process("self");
  const std::string boot_id = boot_id_of_machine();
  if (!process || boot_id.empty()) {
    return absl::FailedPreconditionError(
        "cannot read /proc/self/stat and the boot id; mount /proc");
  }
  return Claim{kind, ::getpid(), process->start_ticks, boot_id};
}

std::string log_dir(const std::string& dir) { return dir + "/" + kLogDir; }

}  // namespace zsync::daemon::shim
