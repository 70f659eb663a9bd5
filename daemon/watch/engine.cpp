#include "daemon/watch/engine.hpp"

#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "daemon/fault/fault.hpp"
#include "watch/content.hpp"
#include "watch/open_source.hpp"
#include "zsync/runtime.hpp"

namespace zsync::daemon {
namespace {

using std::chrono::steady_clock;

constexpr char kTreeFileEnd[] = ".tree";

using watching::SubscriberOptions;
using watching::Subscription;

absl::Status invalid(std::string field, std::string message, std::string hint) {
  return fault(absl::StatusCode::kInvalidArgument, std::move(message),
               {std::move(field), "INVALID", "", std::move(hint), {}});
}

absl::Status check_state_name(const std::string& name, const char* field) {
  const bool sound = std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
  });
  if (sound && !name.empty() && name.size() <= kStateNameBytesMax) return absl::OkStatus();
  return fault(absl::StatusCode::kInvalidArgument,
               absl::StrCat(field, ": \"", name.substr(0, kStateNameBytesMax),
                            "\" is not the name of a state"),
               {field,
                "INVALID",
                absl::StrCat("state_name_bytes_max = ", kStateNameBytesMax),
                "letters, digits, '.', '_' and '-' make a name",
                {}});
}

// Is `root` the directory or one below it?
bool covers(const std::string& directory, const std::string& root) {
  if (directory == "/" || root == directory) return true;
  return root.size() > directory.size() && root.starts_with(directory) &&
         root[directory.size()] == '/';
}

absl::Status check_path(const std::string& path) {
  if (path.empty() || path[0] != '/') {
    return invalid("path", absl::StrCat("watching \"", path, "\": not an absolute path"),
                   "pass an absolute path: the daemon does not know your working directory");
  }
  if (path.find('\0') != std::string::npos) {
    return invalid("path", "watching a path with a NUL byte", "pass the path of a directory");
  }
  return absl::OkStatus();
}

absl::Status check_states(const WatchRequest& request) {
  if (request.defer.size() + request.drop.size() > kFilterStatesMax) {
    return fault(absl::StatusCode::kInvalidArgument,
                 absl::StrCat("filter.defer and filter.drop name ",
                              request.defer.size() + request.drop.size(), " states"),
                 {"filter.defer",
                  "LIMIT",
                  absl::StrCat("filter_states_max = ", kFilterStatesMax),
                  "let several kinds of work hold the same state",
                  {}});
  }
  for (const std::string& name : request.defer) {
    if (absl::Status status = check_state_name(name, "filter.defer"); !status.ok()) return status;
    if (std::count(request.drop.begin(), request.drop.end(), name) == 0) continue;
    return invalid("filter.drop", absl::StrCat("state \"", name, "\" is to defer and to drop"),
                   "name it in one of filter.defer and filter.drop");
  }
  for (const std::string& name : request.drop) {
    if (absl::Status status = check_state_name(name, "filter.drop"); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<SubscriberOptions> check(const WatchRequest& request, size_t paths_max) {
  if (absl::Status path = check_path(request.path); !path.ok()) return path;
  if (absl::Status states = check_states(request); !states.ok()) return states;
  SubscriberOptions options;
  absl::StatusOr<watching::GlobSet> globs = watching::GlobSet::compile(request.globs);
  if (!globs.ok()) {
    return invalid("filter.globs", std::string(globs.status().message()),
                   "*, ?, **, {a,b} and [a-z] are understood; exclusions belong in filter.ignore");
  }
  options.globs = *std::move(globs);
  if (absl::Status times = watching::check_times(request.settle, request.max_wait); !times.ok()) {
    const std::string text(times.message());
    const std::string field = text.substr(0, text.find(':'));
    return fault(absl::StatusCode::kInvalidArgument, absl::StrCat("filter.", text),
                 {absl::StrCat("filter.", field),
                  "LIMIT",
                  absl::StrCat("settle_max = 60 s, max_wait_max = 600 s"),
                  text,
                  {}});
  }
  if (!request.since.empty() && !watching::parse_clock(request.since)) {
    return invalid("since", absl::StrCat("\"", request.since, "\" is not a clock"),
                   "pass the clock of an earlier batch (c:INSTANCE:NUMBER), or leave it out");
  }
  options.settle = request.settle;
  options.max_wait = request.max_wait;
  options.since = request.since;
  options.sync = request.sync;
  options.defer = request.defer;
  options.drop = request.drop;
  if (request.changed_content) options.listing_max = watching::kContentFilesMax;
  options.paths_max = paths_max;
  return options;
}

struct Resolved {
  std::string path;  // canonical
  int error = 0;
};

Resolved resolve(const std::string& path) {
  const std::unique_ptr<char, void (*)(void*)> canonical(::realpath(path.c_str(), nullptr), ::free);
  if (canonical == nullptr) return {"", errno};
  struct stat st = {};
  if (::stat(canonical.get(), &st) != 0) return {"", errno};
  if (!S_ISDIR(st.st_mode)) return {"", ENOTDIR};
  return {canonical.get(), 0};
}

absl::Status unresolved(const std::string& path, int error) {
  absl::StatusCode code = absl::ErrnoToStatusCode(error);
  if (error == ENOTDIR) code = absl::StatusCode::kFailedPrecondition;
  if (error == ENAMETOOLONG || error == ELOOP) code = absl::StatusCode::kNotFound;
  return WatchEngine::explained(
      absl::Status(code, absl::StrCat("watching \"", path, "\": ", std::strerror(error))));
}

std::string key_of(const std::string& canonical, const WatchRequest& request) {
  std::string key = absl::StrCat(canonical, absl::string_view("\0", 1), request.gitignore ? 1 : 0);
  for (const std::string& pattern : request.ignore) {
    absl::StrAppend(&key, absl::string_view("\0", 1), pattern);
  }
  return key;
}

// The key itself stands in the file, so that two of one name only cost each other the history.
std::string name_of_file(const std::string& key) {
  uint64_t hash = 14695981039346656037U;  // FNV-1a, 64 bits
  for (const char c : key) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211U;
  return absl::StrCat(absl::Hex(hash, absl::kZeroPad16), kTreeFileEnd);
}

// Files that nobody has needed for long, and what a killed daemon left half written.
void clear_out(const std::string& directory) {
  namespace fs = std::filesystem;
  std::error_code error;
  const auto old = fs::file_time_type::clock::now() - kTreeFileKept;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    const std::string name = entry.path().filename().string();
    const bool whole = name.ends_with(kTreeFileEnd);
    const auto written = entry.last_write_time(error);
    if (whole && (error || written >= old)) continue;
    if (whole || name.ends_with(".new")) fs::remove(entry.path(), error);
  }
}

}  // namespace

WatchEngine::WatchEngine(WatchEngineOptions options, UlidGenerator& ids)
    : options_(std::move(options)), ids_(ids) {
  if (options_.state_dir.empty()) return;
  std::error_code error;
  std::filesystem::create_directories(options_.state_dir, error);
  clear_out(options_.state_dir);
}

absl::Status WatchEngine::explained(const absl::Status& status) {
  const std::string message(status.message());
  switch (status.code()) {
    case absl::StatusCode::kNotFound:
      return fault(status.code(), message,
                   {"path", "NOT_FOUND", "", "make the directory first, or check the path", {}});
    case absl::StatusCode::kFailedPrecondition:
      return fault(status.code(), message,
                   {"path",
                    "NOT_A_DIRECTORY",
                    "",
                    "watch the directory the file is in, and pass "
                    "its name as a glob",
                    {}});
    case absl::StatusCode::kPermissionDenied:
      return fault(status.code(), message,
                   {"path", "PERMISSION", "", "the daemon must be able to read the directory", {}});
    case absl::StatusCode::kInvalidArgument:
      return fault(status.code(), message,
                   {"filter.ignore",
                    "LIMIT",
                    absl::StrCat("ignore_patterns_max = ", watching::kIgnorePatternsMax),
                    "put the patterns in a .gitignore file",
                    {}});
    case absl::StatusCode::kResourceExhausted: {
      const std::vector<std::string> halves =
          absl::StrSplit(message, absl::MaxSplits("raise it with: ", 1));
      return fault(status.code(), message,
                   {"path", "SYSTEM_LIMIT", "", halves.size() == 2 ? halves[1] : message, {}});
    }
    default:
      return status;
  }
}

Task<absl::StatusOr<Subscription>> WatchEngine::subscribe(WatchRequest request) {
  absl::StatusOr<SubscriberOptions> options = check(request, options_.subscriber_paths_max);
  if (!options.ok()) co_return options.status();
  const Resolved root = co_await rt::call_blocking([path = request.path] { return resolve(path); });
  if (root.error != 0) co_return unresolved(request.path, root.error);
  const std::string key = key_of(root.path, request);
  absl::StatusOr<Subscription> joined = try_join(key, *options);
  if (joined.ok() || !absl::IsNotFound(joined.status())) co_return joined;
  watching::FilterOptions filter;
  filter.ignore = request.ignore;
  filter.gitignore = request.gitignore;
  Opened opened =
      co_await rt::call_blocking([this, &key, path = root.path, filter = std::move(filter),
                                  shared = hub()] { return open(key, path, filter, shared); });
  if (!opened.source.ok()) co_return explained(opened.source.status());
  co_return add(key, std::move(opened), *std::move(options));
}

WatchEngine::Opened WatchEngine::open(const std::string& key, const std::string& path,
                                      watching::FilterOptions filter,
                                      std::shared_ptr<watching::InotifyHub> hub) {
  std::unique_ptr<watching::TreeFile> file;
  watching::SourceOptions how;
  how.filter = std::move(filter);
  how.hub = std::move(hub);
  if (!options_.state_dir.empty()) {
    file = std::make_unique<watching::TreeFile>(
        absl::StrCat(options_.state_dir, "/", name_of_file(key)), key);
    how.recall = [&file] { return file->read(); };
  }
  auto source = watching::open_source(path, std::move(how));
  return {std::move(source), std::move(file)};
}

// Errors: kNotFound when the root is not followed at the moment.
absl::StatusOr<Subscription> WatchEngine::try_join(const std::string& key,
                                                   SubscriberOptions options) {
  rt::LockGuard guard(lock_);
  return join(key, std::move(options));
}

absl::StatusOr<Subscription> WatchEngine::join(const std::string& key, SubscriberOptions options) {
  if (stopping_) return absl::UnavailableError("the daemon is stopping");
  const auto found = roots_.find(key);
  if (found != roots_.end()) {
    absl::StatusOr<Subscription> subscription = found->second.shared->subscribe(std::move(options));
    if (subscription.ok() || !absl::IsUnavailable(subscription.status())) return subscription;
  } else if (roots_.size() >= options_.roots_max) {
    make_room();
    if (roots_.size() >= options_.roots_max) {
      return fault(absl::StatusCode::kResourceExhausted,
                   absl::StrCat(roots_.size(), " directory trees are being watched"),
                   {"path",
                    "LIMIT",
                    absl::StrCat("watch.roots_max = ", options_.roots_max),
                    "end a watch (see `zsyncctl watch list`), watch a common parent, or raise "
                    "watch.roots_max",
                    {}});
    }
  }
  return absl::NotFoundError("");
}

// Null where the system has no instance to give: then the root tries for itself, fails, and is
// polled.
std::shared_ptr<watching::InotifyHub> WatchEngine::hub() {
  rt::LockGuard guard(lock_);
  if (hub_ != nullptr || stopping_) return hub_;
  absl::StatusOr<std::shared_ptr<watching::InotifyHub>> opened =
      watching::InotifyHub::open("/", true);
  if (!opened.ok()) return nullptr;
  hub_ = *std::move(opened);
  (void)followers_.spawn(watching::InotifyHub::read(hub_));
  return hub_;
}

absl::StatusOr<Subscription> WatchEngine::add(const std::string& key, Opened opened,
                                              SubscriberOptions options) {
  auto root = std::make_shared<watching::SharedRoot>(*std::move(opened.source), ids_.next(),
                                                     options_.linger, std::move(opened.file));
  absl::StatusOr<Subscription> subscription = absl::NotFoundError("");
  {
    rt::LockGuard guard(lock_);
    // Somebody else may have opened the same root meanwhile.
    absl::StatusOr<Subscription> joined = join(key, options);
    if (joined.ok() || !absl::IsNotFound(joined.status())) return joined;
    for (const auto& [at, state] : states_) {
      if (!covers(at.first, root->path())) continue;
      for (uint32_t i = 0; i < state.holders; ++i) (void)root->post_state(at.second, true);
    }
    subscription = root->subscribe(std::move(options));
    if (!subscription.ok()) return subscription;
    roots_[key] = {root, {}};
  }
  (void)followers_.spawn(follow(this, key, std::move(root)));
  return subscription;
}

Task<void> WatchEngine::follow(WatchEngine* self, std::string key,
                               std::shared_ptr<watching::SharedRoot> root) {
  co_await watching::SharedRoot::run(root);
  self->forget(key, root);
}

void WatchEngine::forget(const std::string& key,
                         const std::shared_ptr<watching::SharedRoot>& root) {
  const bool failed = !root->facts().ended.ok();
  rt::LockGuard guard(lock_);
  const auto found = roots_.find(key);
  if (found == roots_.end() || found->second.shared != root) return;
  if (failed && !stopping_) {
    found->second.failed_at = steady_clock::now();
  } else {
    roots_.erase(found);
  }
}

StateHold::~StateHold() {
  if (engine_ != nullptr) (void)engine_->leave(id_);
}

Task<absl::StatusOr<StateHold>> WatchEngine::hold_state(StateRequest request) {
  if (absl::Status path = check_path(request.path); !path.ok()) co_return path;
  if (absl::Status name = check_state_name(request.name, "name"); !name.ok()) co_return name;
  const Resolved root = co_await rt::call_blocking([path = request.path] { return resolve(path); });
  if (root.error != 0) co_return unresolved(request.path, root.error);
  const absl::StatusOr<Posted> posted = enter(root.path, request);
  if (!posted.ok()) co_return posted.status();
  const std::string id = "hold_" + ids_.next();
  auto left = std::make_shared<Notify>();
  StateHold hold(*this, id, root.path, left);
  {
    rt::LockGuard guard(lock_);
    holds_[id] = {root.path, request.name, std::move(left)};
  }
  for (const auto& [shared, number] : *posted) co_await shared->taken(number);
  co_return hold;
}

absl::StatusOr<WatchEngine::Posted> WatchEngine::enter(const std::string& path,
                                                       const StateRequest& request) {
  rt::LockGuard guard(lock_);
  if (stopping_) return absl::UnavailableError("the daemon is stopping");
  const auto found = states_.find({path, request.name});
  if (found == states_.end() && states_.size() >= kStatesMax) {
    return fault(absl::StatusCode::kResourceExhausted,
                 absl::StrCat(states_.size(), " states are held"),
                 {"name",
                  "LIMIT",
                  absl::StrCat("states_max = ", kStatesMax),
                  "leave one (see `zsyncctl watch state list`), or hold one of a common parent",
                  {}});
  }
  State& state = states_[{path, request.name}];
  if (state.holders++ == 0) {
    state.pid = request.pid;
    state.since_unix_nano = request.now_unix_nano;
  }
  // Also for the second holder: it may not go on before the first one's entering is in force.
  return post(path, request.name, true);
}

std::optional<WatchEngine::Posted> WatchEngine::leave(const std::string& hold) {
  rt::LockGuard guard(lock_);
  const auto held = holds_.find(hold);
  if (held == holds_.end()) return std::nullopt;
  const Hold left = std::move(held->second);
  holds_.erase(held);
  const auto found = states_.find({left.path, left.name});
  if (--found->second.holders == 0) states_.erase(found);
  left.left->notify_all();
  return post(left.path, left.name, false);
}

Task<absl::Status> WatchEngine::leave_state(std::string hold) {
  const std::optional<Posted> posted = leave(hold);
  if (!posted) {
    co_return fault(absl::StatusCode::kNotFound, absl::StrCat("no state is held as \"", hold, "\""),
                    {"hold", "NOT_FOUND", "", "it has been left already", {}});
  }
  for (const auto& [shared, number] : *posted) co_await shared->taken(number);
  co_return absl::OkStatus();
}

WatchEngine::Posted WatchEngine::post(const std::string& path, const std::string& name,
                                      bool entered) {
  Posted posted;
  for (const auto& [key, root] : roots_) {
    if (!covers(path, root.shared->path())) continue;
    posted.emplace_back(root.shared, root.shared->post_state(name, entered));
  }
  return posted;
}

std::vector<StateFacts> WatchEngine::states() {
  std::vector<StateFacts> out;
  rt::LockGuard guard(lock_);
  for (const auto& [at, state] : states_) {
    StateFacts facts{at.first, at.second, state.holders, state.pid, state.since_unix_nano, 0};
    for (const auto& [key, root] : roots_) {
      if (!covers(at.first, root.shared->path())) continue;
      const watching::RootFacts of_root = root.shared->facts();
      const auto silent = of_root.silent.find(at.second);
      if (silent == of_root.silent.end()) continue;
      facts.silent += static_cast<uint32_t>(silent->second.deferring + silent->second.dropping);
    }
    out.push_back(std::move(facts));
  }
  return out;
}

// Drops what is remembered of failures.
void WatchEngine::make_room() {
  std::erase_if(roots_, [](const auto& entry) {
    return entry.second.failed_at != steady_clock::time_point();
  });
}

std::vector<watching::RootFacts> WatchEngine::list() {
  std::vector<watching::RootFacts> facts;
  rt::LockGuard guard(lock_);
  const auto old = steady_clock::now() - kRootFailureKept;
  std::erase_if(roots_, [old](const auto& entry) {
    const auto failed_at = entry.second.failed_at;
    return failed_at != steady_clock::time_point() && failed_at < old;
  });
  for (const auto& [key, root] : roots_) facts.push_back(root.shared->facts());
  return facts;
}

size_t WatchEngine::roots() {
  rt::LockGuard guard(lock_);
  return static_cast<size_t>(std::count_if(roots_.begin(), roots_.end(), [](const auto& entry) {
    return !entry.second.shared->ended();
  }));
}

uint64_t WatchEngine::directories() {
  rt::LockGuard guard(lock_);
  return hub_ == nullptr ? 0 : hub_->watches();
}

uint64_t WatchEngine::unshared() {
  rt::LockGuard guard(lock_);
  uint64_t sum = 0;
  for (const auto& [key, root] : roots_) {
    const watching::RootFacts facts = root.shared->facts();
    sum += facts.directories * std::max<size_t>(facts.subscribers, 1);
  }
  return sum;
}

Task<void> WatchEngine::stop() {
  {
    rt::LockGuard guard(lock_);
    stopping_ = true;
  }
  followers_.cancel_all();
  co_await followers_.join_all();
}

}  // namespace zsync::daemon
