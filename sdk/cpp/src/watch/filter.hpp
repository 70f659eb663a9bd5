// What a watch sees of a root: ignore rules, git's ignore files, globs. The same code decides for
// the watcher itself and for anyone who asks whether a path is filtered.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "watch/gitignore.hpp"
#include "watch/glob.hpp"

namespace zsync::watching {

inline constexpr size_t kIgnoreFileBytesMax = 1 << 20;  // a larger ignore file counts as empty
inline constexpr size_t kIgnorePatternsMax = 1024;      // FilterOptions::ignore

// Ignored wherever they stand unless a rule of the user or of git says `!name/`.
inline constexpr std::string_view kDefaultIgnores = ".hg/\n.svn/\n.jj/\nnode_modules/\n.cache/\n";
// The same, outside git repositories only: inside one, sources may live there, and .gitignore says
// where not.
inline constexpr std::string_view kDefaultIgnoresOutsideGit = "target/\nbuild/\n";

struct FilterOptions {
  std::vector<std::string> globs;  // a reported path must match one; empty: every path
  std::vector<std::string>
      ignore;                   // .gitignore syntax, relative to the root; stronger than every file
  bool gitignore = true;        // obey .gitignore files and the repository's info/exclude
  bool default_ignores = true;  // kDefaultIgnores..., weaker than everything else
};

// The repository around a directory.
struct GitDirectories {
  std::string top;         // the work tree
  std::string git_dir;     // holds index.lock
  std::string common_dir;  // holds info/exclude; another one than git_dir in a linked work tree
};

// Nullopt when `directory` (absolute, canonical) is in no work tree.
[[nodiscard]] std::optional<GitDirectories> find_git(std::string_view directory);

// The `.hg` of the Mercurial working directory around `directory` (absolute, canonical); empty when
// there is none.
[[nodiscard]] std::string find_mercurial(std::string_view directory);

// The text of an ignore file that is not a symlink, nullopt when there is none.
[[nodiscard]] std::optional<std::string> read_ignore_file(int directory_fd, const char* name);

// Paths are relative to the root. `.git` is always ignored. As in git, nothing below an ignored
// directory is kept, and a deeper .gitignore is stronger than one above it. When the root lies
// inside a work tree, the .gitignore files between its top and the root count as well. The user's
// global excludes file (core.excludesFile) is not read: pass its lines in `ignore`.
//
// Threads: const members may be called by any number of threads while nobody calls another one.
class Filter {
 public:
  // Reads the ignore files of and above `root` (absolute, canonical), none below it.
  //
  // Errors:  InvalidArgument for a bad glob or too many patterns.
  static absl::StatusOr<Filter> open(std::string root, FilterOptions options);

  // By the rules read so far: is the path, or a directory above it, ignored?
  [[nodiscard]] bool ignored(std::string_view path, bool is_directory) const;
  // Do the globs select the path?
  [[nodiscard]] bool selects(std::string_view path) const { return globs_.matches(path); }
  // True when a watch never reports the path.
  [[nodiscard]] bool filtered(std::string_view path, bool is_directory) const {
    return !selects(path) || ignored(path, is_directory);
  }
  [[nodiscard]] const GlobSet& globs() const { return globs_; }
  [[nodiscard]] const std::optional<GitDirectories>& git() const { return git_; }
  // The `.hg` around the root, which holds wlock; empty: none.
  [[nodiscard]] const std::string& mercurial() const { return mercurial_; }
  [[nodiscard]] const FilterOptions& options() const { return options_; }

  // Reads the .gitignore files of the directories above `path`, for a Filter that no watcher keeps
  // up to date.
  void read_rules_along(std::string_view path);

  // Replaces the rules of a directory's .gitignore (nullopt: there is none). True when the text
  // differs from before.
  bool set_rules(std::string_view directory, const std::optional<std::string>& text);
  // Forgets the rules of a directory that is gone.
  void drop_rules(std::string_view directory);
  // A directory was renamed: its rules and those below it follow.
  void move_rules(std::string_view from, std::string_view to);
  // Looks again for the repository around the root and its info/exclude. True when something
  // differs.
  bool refresh_repository();

  // The rules in force in one directory, to ask about many of its entries.
  //
  // Lifetime: until the next call of a member of the Filter that is not const.
  class Scope {
   public:
    // Is the entry itself ignored, given that the directory is not?
    [[nodiscard]] bool ignored(std::string_view name, bool is_directory) const;

   private:
    friend class Filter;
    struct Layer {
      const IgnoreRules* rules;
      size_t base;  // bytes of the path above the directory of these rules
    };
    std::string directory_;      // from the top, with a trailing slash unless empty
    std::vector<Layer> layers_;  // strongest first
  };
  [[nodiscard]] Scope scope(std::string_view directory) const;

 private:
  struct Source {
    std::string text;
    IgnoreRules rules;
  };
  Filter() = default;
  void read_above_root();
  bool choose_defaults();

  std::string root_;
  FilterOptions options_;
  GlobSet globs_;
  IgnoreRules user_;
  IgnoreRules defaults_;
  bool defaults_outside_git_ = false;
  std::optional<GitDirectories> git_;
  std::string mercurial_;
  std::string prefix_;  // the root's path below the top, with a trailing slash unless empty
  std::unique_ptr<Source> exclude_;
  // By directory from the top. Values are boxed: a Scope points into them.
  absl::flat_hash_map<std::string, std::unique_ptr<Source>> nested_;
};

}  // namespace zsync::watching
