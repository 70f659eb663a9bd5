// Patterns of users and of .gitignore files, against any path.
#include "tests/fuzz/input.hpp"
#include "watch/gitignore.hpp"
#include "watch/glob.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  zsync::fuzz::Input input(data, size);
  const std::string_view path = input.line();
  const std::string_view name = path.substr(path.rfind('/') + 1);
  const auto glob = zsync::watching::Glob::compile(input.line());
  if (glob.ok()) (void)glob->matches(path);
  const auto rules = zsync::watching::IgnoreRules::parse(input.rest());
  (void)rules.decide(path, name, /*is_directory=*/false);
  (void)rules.decide(path, name, /*is_directory=*/true);
  return 0;
}
