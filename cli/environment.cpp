#include "cli/environment.hpp"

#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cli/words.hpp"

namespace zsync::cli {
namespace {

// A trailing '*' stands for any rest.
constexpr const char* kCapturedVariables[] = {
    // who and where
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "XDG_*", "DBUS_SESSION_BUS_ADDRESS",
    // language, time, terminal
    "LANG", "LANGUAGE", "LC_*", "TZ", "TERM", "COLORTERM", "NO_COLOR", "CLICOLOR*", "FORCE_COLOR",
    "EDITOR", "VISUAL", "PAGER", "DISPLAY", "WAYLAND_DISPLAY",
    // keys and networks
    "SSH_AUTH_SOCK", "GPG_TTY", "GIT_*", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
    "http_proxy", "https_proxy", "no_proxy", "all_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR",
    // building
    "CC", "CXX", "CC_LD", "CXX_LD", "LD", "AR", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS",
    "MAKEFLAGS", "CMAKE_*", "PKG_CONFIG*", "CCACHE_*", "SOURCE_DATE_EPOCH", "LD_LIBRARY_PATH",
    // languages
    "CARGO_*", "RUST*", "GOPATH", "GOROOT", "GOFLAGS", "GOCACHE", "GOPROXY", "GOTOOLCHAIN",
    "JAVA_HOME", "MAVEN_OPTS", "GRADLE_*", "NODE_*", "NPM_*", "npm_config_*", "NVM_DIR", "PYTHON*",
    "VIRTUAL_ENV", "CONDA_*", "PIP_*", "GEM_*", "BUNDLE_*", "CI"};

}  // namespace

bool is_captured(const std::string& name) {
  // The task's record keeps its environment: what looks like a secret is handed on only by name.
  for (const char* secret : {"TOKEN", "SECRET", "PASSWORD", "CREDENTIAL"}) {
    if (absl::StrContains(absl::AsciiStrToUpper(name), secret)) return false;
  }
  for (const char* pattern : kCapturedVariables) {
    const std::string text = pattern;
    if (text.back() == '*' ? absl::StartsWith(name, text.substr(0, text.size() - 1))
                           : name == text) {
      return true;
    }
  }
  return false;
}

absl::StatusOr<std::map<std::string, std::string>> capture_environment(
    const char* const* environment, const EnvironmentFlags& flags) {
  std::map<std::string, std::string> caller;
  for (; environment != nullptr && *environment != nullptr; ++environment) {
    const char* equals = std::strchr(*environment, '=');
    if (equals == nullptr || equals == *environment) continue;
    caller.emplace(std::string(*environment, equals), equals + 1);
  }
  std::map<std::string, std::string> result;
  if (!flags.clear) {
    for (const auto& [name, value] : caller) {
      if (is_captured(name) && is_utf8(name) && is_utf8(value)) result.emplace(name, value);
    }
  }
  for (const std::string& name : flags.pass) {
    const auto found = caller.find(name);
    if (found == caller.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--env-pass ", name, ": not set in this environment"));
    }
    result[name] = found->second;
  }
  for (const std::string& text : flags.set) {
    auto pair = parse_pair(text, "-e");
    if (!pair.ok()) return pair.status();
    result[pair->first] = pair->second;
  }
  for (const auto& [name, value] : result) {
    if (!is_utf8(name) || !is_utf8(value)) {
      return absl::InvalidArgumentError(absl::StrCat("variable ", name, " is not valid UTF-8"));
    }
  }
  return result;
}

}  // namespace zsync::cli
