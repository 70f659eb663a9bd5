// Glob patterns over relative paths, compiled once and matched in time proportional to pattern
// times path.
#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace zsync::watching {

inline constexpr size_t kGlobBytesMax = 4096;      // length of one pattern
inline constexpr size_t kGlobBraceDepthMax = 16;   // `{` inside `{`
inline constexpr size_t kGlobProgramMax = 60'000;  // instructions of one compiled pattern
inline constexpr size_t kGlobCountMax = 1024;      // patterns of one set

// A pattern as a nondeterministic automaton over bytes. It is simulated with the set of all states
// at once, so no pattern, however hostile, makes it backtrack. Glob and the ignore rules compile to
// it.
class GlobProgram {
 public:
  // Git's wildmatch(3): with `pathname`, `*` and classes stop at '/' and `**` spans directories. A
  // malformed pattern gives a program that matches nothing, as git has it.
  static GlobProgram from_wildmatch(std::string_view pattern, bool pathname);

  // The dialect of Glob, without its anchoring. Errors: InvalidArgument, naming the pattern as
  // `written`.
  static absl::StatusOr<GlobProgram> from_glob(std::string_view pattern, std::string_view written);

  // Threads: any number at once.
  [[nodiscard]] bool matches(std::string_view text) const;

 private:
  friend class GlobCompiler;
  enum class Op : uint8_t { byte, any, not_slash, continuation, set, split, jump, match };
  struct Instruction {
    Op op = Op::match;
    uint8_t byte = 0;
    uint16_t first = 0;   // split, jump: where to go on; set: which set
    uint16_t second = 0;  // split: the other way
  };
  [[nodiscard]] bool accepts(const Instruction& instruction, uint8_t byte) const;

  std::vector<Instruction> code_;
  std::vector<std::bitset<256>> sets_;
};

// One glob of a user.
//
//   *       any run of characters within one path component      ?    one character (UTF-8) within
//   a component
//   **      as a whole component: any number of components        [a-z] [!a-z]  one character of a
//   set, [[:alpha:]] too {a,b}   either, may be nested                                 \x   the
//   character x itself
//
// A pattern without a slash is matched against the base name at any depth; any other one against
// the whole path from the root, as if it began with '/'. A trailing slash means everything below.
// Dot files are ordinary files.
//
// Threads: const members may be called by any number of threads at once.
class Glob {
 public:
  // Errors: InvalidArgument: empty, too long, unbalanced brackets or braces, a leading '!', which
  // belongs in the ignore list.
  static absl::StatusOr<Glob> compile(std::string_view pattern);

  [[nodiscard]] bool matches(std::string_view path) const { return program_.matches(path); }
  [[nodiscard]] const std::string& pattern() const { return pattern_; }

 private:
  Glob(std::string pattern, GlobProgram program)
      : pattern_(std::move(pattern)), program_(std::move(program)) {}

  std::string pattern_;
  GlobProgram program_;
};

// Any of several globs. The empty set matches every path.
class GlobSet {
 public:
  GlobSet() = default;

  // Errors: InvalidArgument, naming the pattern; more than kGlobCountMax patterns.
  static absl::StatusOr<GlobSet> compile(std::span<const std::string> patterns);

  [[nodiscard]] bool matches(std::string_view path) const;
  [[nodiscard]] bool empty() const { return globs_.empty(); }

 private:
  std::vector<Glob> globs_;
};

}  // namespace zsync::watching
