#include "daemon/projects/step_files.hpp"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <filesystem>
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
  const std::vector<std::string> parts = absl::StrSplit(glob, '/');
  std::string base;
  for (size_t i = 0; i + 1 < parts.size(); ++i) {
    if (parts[i].find_first_of("*?[{\\") != std::string::npos) break;
    if (!parts[i].empty()) absl::StrAppend(&base, base.empty() ? "" : "/", parts[i]);
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

// Calls `take` with each file below the globs' directories, by its path from the root on, until it
// returns false.
template <typename Take>
absl::Status walk(const std::string& root, const std::vector<std::string>& globs, size_t& entries,
                  const Take& take) {
  for (const std::string& base : bases_of(globs)) {
    std::error_code error;
    const fs::path top = base.empty() ? fs::path(root) : fs::path(root) / base;
    if (!fs::is_directory(fs::symlink_status(top, error))) continue;
    fs::recursive_directory_iterator at(top, fs::directory_options::skip_permission_denied, error);
    for (; !error && at != fs::recursive_directory_iterator(); at.increment(error)) {
      if (++entries > kStepEntriesMax) {
        return too_many("files and directories", "step_entries_max", kStepEntriesMax);
      }
      std::error_code gone;
      if (at->is_directory(gone) && !at->is_symlink(gone)) {
        if (at->path().filename() == ".git") at.disable_recursion_pending();
        continue;
      }
      if (!take(at->path().string().substr(root == "/" ? 1 : root.size() + 1))) {
        return absl::OkStatus();
      }
    }
    if (error && error != std::errc::no_such_file_or_directory) {
      return absl::UnknownError(absl::StrCat(top.string(), ": ", error.message()));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> inputs_of(const StepFiles& files, size_t& entries) {
  absl::StatusOr<GlobSet> inputs = GlobSet::compile(files.inputs);
  if (!inputs.ok()) return inputs.status();
  absl::StatusOr<GlobSet> outputs = GlobSet::compile(files.outputs);
  if (!outputs.ok()) return outputs.status();
  std::vector<std::string> paths;
  absl::Status walked = walk(files.root, files.inputs, entries, [&](std::string path) {
    const bool made = !outputs->empty() && outputs->matches(path);
    if (!made && inputs->matches(path)) paths.push_back(std::move(path));
    return paths.size() <= kStepFilesMax;
  });
  if (!walked.ok()) return walked;
  if (paths.size() > kStepFilesMax) return too_many("inputs", "step_files_max", kStepFilesMax);
  std::sort(paths.begin(), paths.end());
  return paths;
}

absl::StatusOr<bool> has_file(const std::string& root, const std::string& glob, size_t& entries) {
  absl::StatusOr<GlobSet> globs = GlobSet::compile(std::array{glob});
  if (!globs.ok()) return globs.status();
  bool found = false;
  absl::Status walked = walk(root, {glob}, entries, [&](const std::string& path) {
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

absl::StatusOr<StepLook> look_at(const StepFiles& files) {
  size_t entries = 0;
  absl::StatusOr<std::vector<std::string>> paths = inputs_of(files, entries);
  if (!paths.ok()) return paths.status();
  std::string all = absl::StrCat(files.command.size(), ":", files.command);
  for (const std::string& path : *paths) {
    const std::string mark = watching::content_mark(absl::StrCat(files.root, "/", path));
    if (!mark.empty()) absl::StrAppend(&all, path.size(), ":", path, mark.size(), ":", mark);
  }
  StepLook look{print_of(all), true};
  for (const std::string& glob : files.outputs) {
    const absl::StatusOr<bool> there = has_file(files.root, glob, entries);
    if (!there.ok()) return there.status();
    if (!*there) look.outputs_there = false;
  }
  return look;
}

}  // namespace zsync::daemon
