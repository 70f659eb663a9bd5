// The configuration file: whatever it holds is a configuration or one line that says why not.
#include <cstdlib>

#include "daemon/config/config.hpp"
#include "tests/fuzz/input.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  zsync::daemon::ConfigSources sources;
  sources.file.emplace();
  sources.file->path = "/etc/zsyncd.yaml";
  sources.file->content.assign(reinterpret_cast<const char*>(data), size);
  sources.environment["HOME"] = "/home/anna";
  sources.working_directory = "/";
  const auto loaded = zsync::daemon::load_config(sources);
  if (!loaded.ok() && loaded.status().message().find('\n') != absl::string_view::npos) std::abort();
  return 0;
}
