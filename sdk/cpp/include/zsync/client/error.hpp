// The machine-readable half of a daemon's error.
#pragma once

#include <optional>

#include "absl/status/status.h"
#include "zsync/v1/common.pb.h"

namespace zsync::client {

// The payload under which a status of the daemon carries its zsync.v1.ErrorDetail.
inline constexpr char kErrorDetailUrl[] = "type.googleapis.com/zsync.v1.ErrorDetail";

// What the daemon said beyond code and message: field at fault, stable reason, limit, hint, closest
// names. Nullopt where the error was made on this side or the daemon sent none.
//
// Threads: any.
[[nodiscard]] std::optional<v1::ErrorDetail> error_detail(const absl::Status& status);

}  // namespace zsync::client
