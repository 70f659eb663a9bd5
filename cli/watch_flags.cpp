#include "cli/watch_flags.hpp"

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "cli/durations.hpp"
#include "cli/errors.hpp"

namespace zsync::cli {

void add_watch_selection(Command& app, WatchFlags& flags, const std::string& glob) {
  app.add_option(glob, flags.globs, "Only paths that match; may be repeated")
      ->allow_extra_args(false)
      ->type_name("GLOB");
  app.add_option("--ignore", flags.ignore, "Ignore more, in .gitignore syntax; may be repeated")
      ->allow_extra_args(false)
      ->type_name("PATTERN");
  app.add_flag("--no-gitignore", flags.no_gitignore, "Do not read .gitignore files");
}

void add_watch_pace(Command& app, WatchFlags& flags) {
  app.add_option("--settle", flags.settle, "Quiet time that ends a batch (default 50ms)")
      ->type_name("TIME");
  app.add_flag("--changed-content", flags.changed_content,
               "Not files that were touched, or written anew with what was there");
  app.add_option("--defer", flags.defer,
                 "Be silent while this state is held, and tell afterwards; may be repeated")
      ->allow_extra_args(false)
      ->type_name("STATE");
  app.add_option("--drop", flags.drop,
                 "Never tell what changes while this state is held; may be repeated")
      ->allow_extra_args(false)
      ->type_name("STATE");
}

void add_watch_writes(Command& app, WatchFlags& flags) {
  app.add_option("--writes", flags.writes,
                 "What the command writes: never triggers; may be repeated")
      ->allow_extra_args(false)
      ->type_name("GLOB");
}

absl::StatusOr<std::string> watched_directory(const WatchFlags& flags) {
  std::error_code error;
  const std::filesystem::path root = std::filesystem::canonical(flags.directory, error);
  if (error) {
    return absl::NotFoundError(absl::StrCat("watch ", flags.directory, ": ", error.message()));
  }
  if (!std::filesystem::is_directory(root, error)) {
    return usage_error(absl::StrCat("watch ", flags.directory, ": not a directory"));
  }
  return root.string();
}

absl::StatusOr<v1::WatchFilter> make_watch_filter(const WatchFlags& flags) {
  v1::WatchFilter filter;
  for (const std::string& glob : flags.globs) filter.add_globs(glob);
  for (const std::string& pattern : flags.ignore) filter.add_ignore(pattern);
  filter.set_no_gitignore(flags.no_gitignore);
  filter.set_changed_content(flags.changed_content);
  for (const std::string& name : flags.defer) filter.add_defer(name);
  for (const std::string& name : flags.drop) filter.add_drop(name);
  if (!flags.settle.empty()) {
    absl::Status set = set_duration(flags.settle, "--settle", *filter.mutable_settle());
    if (!set.ok()) return set;
  }
  return filter;
}

}  // namespace zsync::cli
