// What the output of one attempt has told so far.
//
// Matchers add to it; it resolves paths, leaves out what was said before, and holds the limits.
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "daemon/diagnostics/diagnostics.hpp"

namespace zsync::daemon {

// What is known of a task before it prints anything.
struct MatchContext {
  std::string cwd;            // absolute
  std::string go_module;      // "example.com/m", of the go.mod that is in force in cwd; or empty
  std::string go_module_dir;  // where that go.mod is
};

// `path` as seen from `base`, without "." and "..".
std::string resolve_path(std::string_view base, std::string_view path);
bool is_below(std::string_view path, std::string_view directory);

class Findings {
 public:
  explicit Findings(MatchContext context) : context_(std::move(context)) {}

  // -> whether it is kept: what was said before is not kept again, nor what is beyond a limit.
  // Relative paths are resolved.
  bool add(Diagnostic diagnostic);
  // Adds a place, or lines to the message, to the diagnostic that was added last, if that one was
  // kept.
  void relate(RelatedPlace place);
  void append(std::string_view line);
  // What follows belongs to none.
  void part() { open_ = nullptr; }
  // A line was too long to be understood.
  void leave_out() { ++left_out_; }

  // make, ninja: whose directory relative paths are seen from.
  void enter(std::string directory);
  void leave(std::string_view directory);
  const std::string& directory() const { return entered_.empty() ? context_.cwd : entered_.back(); }
  const MatchContext& context() const { return context_; }

  const std::map<std::string, std::vector<Diagnostic>>& by_path() const { return by_path_; }
  size_t count() const { return count_; }
  size_t left_out() const { return left_out_; }
  // The paths that differ since the last call.
  std::set<std::string> take_changed();

 private:
  bool has_room(size_t bytes);

  const MatchContext context_;
  std::vector<std::string> entered_;
  std::map<std::string, std::vector<Diagnostic>> by_path_;
  absl::flat_hash_set<std::string> said_;
  std::set<std::string> changed_;
  Diagnostic* open_ = nullptr;  // into by_path_; valid until the next add()
  size_t count_ = 0;
  size_t bytes_ = 0;
  size_t left_out_ = 0;
};

}  // namespace zsync::daemon
