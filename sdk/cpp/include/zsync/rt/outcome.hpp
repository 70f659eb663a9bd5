// What becomes of a task, as a status.
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace zsync::rt {

// What a finished T looks like without exceptions: Status for void and Status, StatusOr otherwise;
// a StatusOr stays flat.
template <typename T>
struct OutcomeOf {
  using type = absl::StatusOr<T>;
};
template <>
struct OutcomeOf<void> {
  using type = absl::Status;
};
template <>
struct OutcomeOf<absl::Status> {
  using type = absl::Status;
};
template <typename T>
struct OutcomeOf<absl::StatusOr<T>> {
  using type = absl::StatusOr<T>;
};

// Whether a T can say kCancelled itself.
template <typename T>
inline constexpr bool kCarriesStatus = false;
template <>
inline constexpr bool kCarriesStatus<absl::Status> = true;
template <typename T>
inline constexpr bool kCarriesStatus<absl::StatusOr<T>> = true;

}  // namespace zsync::rt
