#include "daemon/projects/step_files.hpp"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <functional>
#include <optional>
#include <set>
#include <string_view>
#include <system_error>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "watch/content.hpp"
#include "watch/glob.hpp"

namespace zsync::daemon {
namespace {

namespace fs = std::filesystem;
using watching::GlobSet;

// The deepest directory, from the root on, that holds all that the glob can match: "src" of
// "src/**/*.c", and the root itself of a glob without a slash, which matches at any depth.
std::string base_of(const std::string& glob) {
  std::vector<std::string> parts = absl::StrSplit(glob, '/');
  parts.pop_back();
  const bool ends_with_slash = glob.ends_with('/');
  if (ends_with_slash && parts.size() == 1) return "";
  std::string base;
  for (const std::string& part : parts) {
    if (part.find_first_of("*?[{\\") != std::string::npos) break;
    if (!part.empty() && part != ".") absl::StrAppend(&base, base.empty() ? "" : "/", part);
  }
  return base;
}

// Directories of which none is below another one.
std::set<std::string> bases_of(const std::vector<std::string>& globs) {
  std::set<std::string> all;
  for (const std::string& glob : globs) all.insert(base_of(glob));
  std::set<std::string> bases;
  for (const std::string& base : all) {
    const bool covered = std::any_of(bases.begin(), bases.end(), [&](const std::string& other) {
      return other.empty() || base.starts_with(other + "/");
    });
    if (!covered) bases.insert(base);
  }
  return bases;
}

absl::Status too_many(const char* what, const char* limit, size_t max) {
  return absl::ResourceExhaustedError(absl::StrCat("more than ", max, " ", what, " (", limit, " = ",
                                                   max, "): name fewer, like src/**"));
}

bool vanished(const std::error_code& error) {
  return error == std::errc::no_such_file_or_directory || error == std::errc::not_a_directory;
}

// Goes through the files below directories of one step.
class Walk {
 public:
  // Gets a file's path from the root on; false ends the walk.
  using Take = std::function<bool(std::string path)>;

  Walk(const std::string& root, const std::atomic<bool>* stop) : root_(root), stop_(stop) {}

  absl::Status files_of(const std::vector<std::string>& globs, const Take& take) {
    for (const std::string& base : bases_of(globs)) {
      std::error_code error;
      // The project's directory may be a link, one in it is not followed.
      if (!base.empty() && !fs::is_directory(fs::symlink_status(path_of(base), error))) continue;
      std::vector<std::string> left{base};
      while (!left.empty()) {
        const std::string directory = std::move(left.back());
        left.pop_back();
        absl::StatusOr<bool> more = read(directory, left, take);
        if (!more.ok()) return more.status();
        if (!*more) return absl::OkStatus();
      }
    }
    return absl::OkStatus();
  }
  absl::Status check_stop() const {
    return stop_ != nullptr && stop_->load() ? absl::CancelledError("nobody waits for it")
                                             : absl::OkStatus();
  }

 private:
  std::string path_of(const std::string& path) const {
    return path.empty() ? root_ : absl::StrCat(root_, "/", path);
  }
  // False: enough. One that vanishes meanwhile ends there.
  absl::StatusOr<bool> read(const std::string& directory, std::vector<std::string>& left,
                            const Take& take) {
    if (absl::Status stopped = check_stop(); !stopped.ok()) return stopped;
    std::error_code error;
    fs::directory_iterator at(path_of(directory), error);
    for (; !error && at != fs::directory_iterator(); at.increment(error)) {
      if (++entries_ > kStepEntriesMax) {
        return too_many("files and directories", "step_entries_max", kStepEntriesMax);
      }
      const std::string name = at->path().filename().string();
      std::string path = directory.empty() ? name : absl::StrCat(directory, "/", name);
      std::error_code gone;
      if (at->is_symlink(gone) || !at->is_directory(gone)) {
        if (!take(std::move(path))) return false;
      } else if (name != ".git") {
        left.push_back(std::move(path));
      }
    }
    if (!error || vanished(error)) return true;
    return absl::UnknownError(absl::StrCat(path_of(directory), ": ", error.message()));
  }

  const std::string root_;
  const std::atomic<bool>* const stop_;
  size_t entries_ = 0;
};

absl::StatusOr<std::vector<std::string>> inputs_of(const StepFiles& files, Walk& walk) {
  absl::StatusOr<GlobSet> inputs = GlobSet::compile(files.inputs);
  if (!inputs.ok()) return inputs.status();
  absl::StatusOr<GlobSet> outputs = GlobSet::compile(files.outputs);
  if (!outputs.ok()) return outputs.status();
  std::vector<std::string> paths;
  absl::Status walked = walk.files_of(files.inputs, [&](std::string path) {
    const bool made = !outputs->empty() && outputs->matches(path);
    if (!made && inputs->matches(path)) paths.push_back(std::move(path));
    return paths.size() <= kStepFilesMax;
  });
  if (!walked.ok()) return walked;
  if (paths.size() > kStepFilesMax) return too_many("inputs", "step_files_max", kStepFilesMax);
  std::sort(paths.begin(), paths.end());
  return paths;
}

absl::StatusOr<bool> has_file(const std::string& glob, Walk& walk) {
  absl::StatusOr<GlobSet> globs = GlobSet::compile(std::array{glob});
  if (!globs.ok()) return globs.status();
  bool found = false;
  absl::Status walked = walk.files_of({glob}, [&](const std::string& path) {
    found = globs->matches(path);
    return !found;
  });
  if (!walked.ok()) return walked;
  return found;
}

std::string print_of(const std::string& text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  ::EVP_Digest(text.data(), text.size(), digest.data(), &size, ::EVP_sha256(), nullptr);
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(digest.data()), size));
}

}  // namespace

absl::StatusOr<StepLook> look_at(const StepFiles& files, const std::atomic<bool>* stop) {
  Walk walk(files.root, stop);
  absl::StatusOr<std::vector<std::string>> paths = inputs_of(files, walk);
  if (!paths.ok()) return paths.status();
  StepLook look;
  for (const std::string& glob : files.outputs) {
    const absl::StatusOr<bool> there = has_file(glob, walk);
    if (!there.ok()) return there.status();
    if (!*there) look.outputs_there = false;
  }
  if (paths->empty()) return look;
  std::string all = absl::StrCat(files.command.size(), ":", files.command);
  for (const std::string& path : *paths) {
    if (absl::Status stopped = walk.check_stop(); !stopped.ok()) return stopped;
    const std::string mark = watching::content_mark(absl::StrCat(files.root, "/", path));
    if (!mark.empty()) absl::StrAppend(&all, path.size(), ":", path, mark.size(), ":", mark);
  }
  look.print = print_of(all);
  return look;
}

absl::Status check_step_glob(const std::string& glob) {
  if (glob.empty()) {
    return absl::InvalidArgumentError("a glob is empty: name files, or take the key away");
  }
  const absl::Status compiled = watching::Glob::compile(glob).status();
  if (!compiled.ok()) return compiled;
  const std::vector<std::string> parts = absl::StrSplit(glob, '/');
  for (size_t i = 0; i < parts.size(); ++i) {
    const bool empty = parts[i].empty() && i != 0 && i + 1 != parts.size();
    const bool dot = parts[i] == "." && i != 0;
    if (!empty && !dot && parts[i] != "..") continue;
    return absl::InvalidArgumentError(
        absl::StrCat("glob \"", glob, "\" has a part \"", parts[i],
                     "\": write the plain path from the project's directory on"));
  }
  return absl::OkStatus();
}

}  // namespace zsync::daemon
