#include "rt/driver.hpp"

#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "rt/uring.hpp"

namespace zsync {

const char* name_of(Backend backend) noexcept {
  return backend == Backend::io_uring ? "io_uring" : "libuv";
}

const BackendProbe& probe_backends() {
  static const BackendProbe probe = [] {
    BackendProbe found;
    absl::StatusOr<rt::Uring> ring = rt::Uring::open();
    found.io_uring = ring.ok();
    if (ring.ok()) {
      found.defer_taskrun = ring->defer_taskrun();
      found.single_issuer = ring->single_issuer();
    } else {
      found.reason = std::string(ring.status().message());
    }
    return found;
  }();
  return probe;
}

namespace rt {
namespace {

using Make = absl::StatusOr<std::unique_ptr<Driver>> (*)();

absl::StatusOr<Drivers> make_all(Backend backend, size_t count) {
  const Make make = backend == Backend::io_uring ? make_uring_driver : make_uv_driver;
  Drivers drivers;
  drivers.backing.backend = backend;
  for (size_t i = 0; i < count; ++i) {
    absl::StatusOr<std::unique_ptr<Driver>> driver = make();
    if (!driver.ok()) return driver.status();
    drivers.each.push_back(*std::move(driver));
  }
  return drivers;
}

absl::StatusOr<std::optional<Backend>> wanted(const Config& config) {
  const char* word = std::getenv(kBackendVariable);
  if (word == nullptr || *word == '\0') return config.backend;
  for (const Backend backend : {Backend::io_uring, Backend::libuv}) {
    if (absl::string_view(word) == name_of(backend)) return backend;
  }
  return absl::InvalidArgumentError(absl::StrCat(kBackendVariable, " is \"", word,
                                                 "\": set it to io_uring or libuv, or unset it"));
}

}  // namespace

absl::StatusOr<Drivers> make_drivers(const Config& config, size_t count) {
  const absl::StatusOr<std::optional<Backend>> asked = wanted(config);
  if (!asked.ok()) return asked.status();
  if (*asked == Backend::libuv) return make_all(Backend::libuv, count);
  absl::StatusOr<Drivers> drivers = make_all(Backend::io_uring, count);
  if (drivers.ok()) return drivers;
  const absl::Status refused = drivers.status();
  if (asked->has_value()) {
    return absl::Status(refused.code(), absl::StrCat(refused.message(), "; or let ",
                                                     kBackendVariable, " be libuv"));
  }
  drivers = make_all(Backend::libuv, count);
  if (drivers.ok()) drivers->backing.reason = std::string(refused.message());
  return drivers;
}

}  // namespace rt
}  // namespace zsync
