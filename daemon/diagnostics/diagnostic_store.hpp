// The rows of diagnostics in the store.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/diagnostics/diagnostic_sets.hpp"
#include "daemon/store/store.hpp"

namespace zsync::daemon {

// Version 13 of the schema.
extern const char kDiagnosticsSchemaV13[];

// A set without diagnostics has no row.
absl::Status put_set(Database& db, const DiagnosticSet& set);
// A task of which all attempts up to this one are in the sets, and what that one has told.
struct RunRow {
  uint32_t attempt = 0;
  DiagnosticCounts counts;
};
absl::Status put_run(Database& db, const std::string& task, const RunRow& row);
absl::Status delete_run(Database& db, const std::string& task);

absl::Status load_sets(Database& db, const std::function<void(DiagnosticSet)>& take);
absl::Status load_runs(Database& db,
                       const std::function<void(const std::string& task, RunRow)>& take);

// How often versions began anew: once for each daemon that has told some.
absl::StatusOr<uint64_t> load_generation(Database& db);
absl::Status put_generation(Database& db, uint64_t generation);

}  // namespace zsync::daemon
