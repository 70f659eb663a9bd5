#include "daemon/options.hpp"

#include <CLI/CLI.hpp>

namespace zsync::daemon {

ParsedOptions parse_options(int argc, char** argv) {
  ParsedOptions parsed;
  CLI::App app("zsyncd: runs, watches and connects the work of one user on one machine.", "zsyncd");
  app.set_version_flag("--version", std::string("zsyncd ") + ZSYNC_VERSION);
  std::string config_file;
  app.add_option("--config", config_file, "YAML file (default ~/.config/zsync/zsyncd.yaml)");
  struct Flag {
    const char* flag;
    const char* key;
    const char* help;
    std::string value;
  };
  Flag flags[] = {
      {"--socket", "socket", "Unix socket to serve", {}},
      {"--state-dir", "state_dir", "directory of the durable state", {}},
      {"--log-format", "log.format", "text or json", {}},
      {"--log-level", "log.level", "debug, info, warning or error", {}},
      {"--idle-exit", "idle_exit", "end after this long without work, e.g. 30m; 0: never", {}},
      {"--workers", "workers", "threads of the runtime; 0: as many as there are CPUs", {}},
  };
  for (Flag& flag : flags) app.add_option(flag.flag, flag.value, flag.help);
  std::string check;
  app.add_option("--check", check,
                 "look at the configuration and at the copy of a store in this directory, and end");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    parsed.exit_code = app.exit(error) == 0 ? 0 : 2;
    return parsed;
  }
  if (!config_file.empty()) parsed.options.config_file = config_file;
  if (!check.empty()) parsed.options.check = check;
  for (Flag& flag : flags) {
    if (app.count(flag.flag) > 0) {
      parsed.options.flags.push_back({flag.flag, flag.key, flag.value});
    }
  }
  return parsed;
}

}  // namespace zsync::daemon
