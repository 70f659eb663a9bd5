#include "watch/filter.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "watch/fd.hpp"

namespace zsync::watching {
namespace {

std::string join_path(std::string_view directory, std::string_view name) {
  std::string out(directory);
  if (!out.empty() && out.back() != '/') out += '/';
  out += name;
  return out;
}

// The text of a small file, without the line end; empty when unreadable.
std::string read_line(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  char buffer[4096];
  const ssize_t n = fd ? ::read(fd.get(), buffer, sizeof buffer) : -1;
  std::string_view text(buffer, n > 0 ? static_cast<size_t>(n) : 0);
  while (text.ends_with('\n') || text.ends_with('\r')) text.remove_suffix(1);
  return std::string(text);
}

bool is_directory(const std::string& path) {
  struct stat st = {};
  return ::stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
}

// A linked work tree or a submodule has a file `.git` that names the directory.
// A work tree that is just being made has no HEAD yet; `strict` passes it by.
std::optional<GitDirectories> git_at(const std::string& top, bool strict) {
  GitDirectories out{top, join_path(top, ".git"), {}};
  if (!is_directory(out.git_dir)) {
    const std::string line = read_line(out.git_dir);
    if (!line.starts_with("gitdir: ")) return std::nullopt;
    const std::string target = line.substr(8);
    out.git_dir = target.starts_with('/') ? target : join_path(top, target);
    if (!is_directory(out.git_dir)) return std::nullopt;
  }
  if (strict && ::access(join_path(out.git_dir, "HEAD").c_str(), F_OK) != 0) return std::nullopt;
  const std::string common = read_line(join_path(out.git_dir, "commondir"));
  out.common_dir = common.empty()            ? out.git_dir
                   : common.starts_with('/') ? common
                                             : join_path(out.git_dir, common);
  return out;
}

}  // namespace

std::optional<GitDirectories> find_git(std::string_view directory) {
  std::string at(directory);
  while (true) {
    if (std::optional<GitDirectories> found = git_at(at.empty() ? "/" : at, at != directory))
      return found;
    if (at.empty() || at == "/") return std::nullopt;
    at.resize(at.rfind('/'));
  }
}

// Above the root a `.hg` without `requires`, which every repository has, is somebody's directory.
std::string find_mercurial(std::string_view directory) {
  std::string at(directory);
  while (true) {
    std::string found = join_path(at.empty() ? "/" : at, ".hg");
    const bool whole = at == directory || ::access(join_path(found, "requires").c_str(), F_OK) == 0;
    if (whole && is_directory(found)) return found;
    if (at.empty() || at == "/") return "";
    at.resize(at.rfind('/'));
  }
}

std::optional<std::string> read_ignore_file(int directory_fd, const char* name) {
  Fd fd(::openat(directory_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  struct stat st = {};
  if (!fd || ::fstat(fd.get(), &st) != 0 || !S_ISREG(st.st_mode)) return std::nullopt;
  std::string text;
  char buffer[16384];
  while (true) {
    const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n <= 0) return text;
    text.append(buffer, static_cast<size_t>(n));
    if (text.size() > kIgnoreFileBytesMax) return std::string();
  }
}

absl::StatusOr<Filter> Filter::open(std::string root, FilterOptions options) {
  if (options.ignore.size() > kIgnorePatternsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.ignore.size(), " ignore patterns are more than ", kIgnorePatternsMax,
                     "; put them in a .gitignore file"));
  }
  absl::StatusOr<GlobSet> globs = GlobSet::compile(options.globs);
  if (!globs.ok()) return globs.status();
  Filter filter;
  filter.root_ = std::move(root);
  filter.globs_ = *std::move(globs);
  std::string lines;
  for (const std::string& pattern : options.ignore) absl::StrAppend(&lines, pattern, "\n");
  filter.user_ = IgnoreRules::parse(lines);
  if (options.default_ignores) filter.defaults_ = IgnoreRules::parse(kDefaultIgnores);
  filter.options_ = std::move(options);
  filter.refresh_repository();
  if (filter.options_.gitignore) filter.read_above_root();
  return filter;
}

bool Filter::choose_defaults() {
  const bool outside = options_.default_ignores && !git_;
  if (outside == defaults_outside_git_) return false;
  defaults_outside_git_ = outside;
  defaults_ = IgnoreRules::parse(
      outside ? absl::StrCat(absl::string_view(kDefaultIgnores.data(), kDefaultIgnores.size()),
                             absl::string_view(kDefaultIgnoresOutsideGit.data(),
                                               kDefaultIgnoresOutsideGit.size()))
              : std::string(kDefaultIgnores));
  return true;
}

bool Filter::refresh_repository() {
  git_ = find_git(root_);
  mercurial_ = find_mercurial(root_);
  std::string prefix;
  if (git_ && root_.size() > git_->top.size()) {
    prefix = root_.substr(git_->top == "/" ? 1 : git_->top.size() + 1) + "/";
  }
  bool changed = choose_defaults();
  if (prefix != prefix_) {
    nested_.clear();
    prefix_ = prefix;
    changed = true;
  }
  if (!options_.gitignore) return changed;
  std::optional<std::string> text;
  if (git_) text = read_ignore_file(AT_FDCWD, join_path(git_->common_dir, "info/exclude").c_str());
  if (!text) {
    changed |= exclude_ != nullptr;
    exclude_.reset();
  } else if (!exclude_ || exclude_->text != *text) {
    exclude_ = std::make_unique<Source>(Source{*text, IgnoreRules::parse(*text)});
    changed = true;
  }
  if (changed) read_above_root();
  return changed;
}

void Filter::read_above_root() {
  const std::string top = git_ ? git_->top : root_;
  for (size_t end = 0;; end = prefix_.find('/', end) + 1) {
    const std::string directory = prefix_.substr(0, end == 0 ? 0 : end - 1);
    const std::string path = join_path(join_path(top, directory), ".gitignore");
    if (std::optional<std::string> text = read_ignore_file(AT_FDCWD, path.c_str())) {
      nested_[directory] = std::make_unique<Source>(Source{*text, IgnoreRules::parse(*text)});
    }
    if (end == prefix_.size()) return;
  }
}

bool Filter::set_rules(std::string_view directory, const std::optional<std::string>& text) {
  if (!options_.gitignore) return false;
  std::string key = absl::StrCat(prefix_, absl::string_view(directory.data(), directory.size()));
  if (key.ends_with('/')) key.pop_back();
  const auto found = nested_.find(key);
  if (!text) {
    if (found == nested_.end()) return false;
    nested_.erase(found);
    return true;
  }
  if (found != nested_.end() && found->second->text == *text) return false;
  nested_[key] = std::make_unique<Source>(Source{*text, IgnoreRules::parse(*text)});
  return true;
}

void Filter::drop_rules(std::string_view directory) {
  if (!nested_.empty()) set_rules(directory, std::nullopt);
}

void Filter::move_rules(std::string_view from, std::string_view to) {
  if (nested_.empty()) return;
  const std::string old_key = absl::StrCat(prefix_, absl::string_view(from.data(), from.size()));
  const std::string new_key = absl::StrCat(prefix_, absl::string_view(to.data(), to.size()));
  std::vector<std::pair<std::string, std::unique_ptr<Source>>> moved;
  for (auto& [key, source] : nested_) {
    if (key != old_key && !key.starts_with(old_key + "/")) continue;
    moved.emplace_back(new_key + key.substr(old_key.size()), std::move(source));
  }
  absl::erase_if(nested_, [](const auto& entry) { return entry.second == nullptr; });
  for (auto& [key, source] : moved) nested_[key] = std::move(source);
}

void Filter::read_rules_along(std::string_view path) {
  if (!options_.gitignore) return;
  for (size_t end = 0; end != std::string_view::npos;
       end = path.find('/', end == 0 ? 0 : end + 1)) {
    const std::string_view directory = path.substr(0, end);
    const std::string file = join_path(join_path(root_, directory), ".gitignore");
    set_rules(directory, read_ignore_file(AT_FDCWD, file.c_str()));
  }
}

Filter::Scope Filter::scope(std::string_view directory) const {
  Scope out;
  out.directory_ = absl::StrCat(prefix_, absl::string_view(directory.data(), directory.size()));
  if (!out.directory_.empty() && out.directory_.back() != '/') out.directory_ += '/';
  if (!user_.empty()) out.layers_.push_back({&user_, prefix_.size()});
  if (!nested_.empty()) {
    std::string_view at(out.directory_);
    while (true) {
      const std::string_view key = at.substr(0, at.empty() ? 0 : at.size() - 1);
      if (const auto found = nested_.find(absl::string_view(key.data(), key.size()));
          found != nested_.end()) {
        out.layers_.push_back({&found->second->rules, at.size()});
      }
      if (at.empty()) break;
      const size_t slash = key.rfind('/');
      at = slash == std::string_view::npos ? std::string_view() : at.substr(0, slash + 1);
    }
  }
  if (exclude_) out.layers_.push_back({&exclude_->rules, 0});
  if (!defaults_.empty()) out.layers_.push_back({&defaults_, 0});
  return out;
}

bool Filter::Scope::ignored(std::string_view name, bool is_directory) const {
  if (name == ".git") return true;
  if (layers_.empty()) return false;
  const std::string path = absl::StrCat(directory_, absl::string_view(name.data(), name.size()));
  for (const Layer& layer : layers_) {
    const std::string_view below = std::string_view(path).substr(layer.base);
    if (const std::optional<bool> decided = layer.rules->decide(below, name, is_directory))
      return *decided;
  }
  return false;
}

bool Filter::ignored(std::string_view path, bool is_directory) const {
  size_t start = 0;
  while (true) {
    const size_t slash = path.find('/', start);
    const bool last = slash == std::string_view::npos;
    const std::string_view name = path.substr(start, last ? slash : slash - start);
    if (scope(path.substr(0, start)).ignored(name, !last || is_directory)) return true;
    if (last) return false;
    start = slash + 1;
  }
}

}  // namespace zsync::watching
