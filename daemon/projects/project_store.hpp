// The rows of projects in the store.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "daemon/projects/project_run.hpp"
#include "daemon/store/store.hpp"

namespace zsync::daemon {

struct ProjectRecord {
  std::string id;
  uint32_t uid = 0;  // who brought it up last
  std::string name;
  std::string root;                        // absolute
  std::string file;                        // its name there
  std::string text;                        // of the file
  std::map<std::string, std::string> env;  // of its commands; empty: the daemon's
  int64_t created_unix_nano = 0;
};

// Versions of the schema.
extern const char kProjectSchemaV10[];
extern const char kProjectSchemaV14[];

absl::Status put_project(Database& db, const ProjectRecord& record);
absl::Status put_unit(Database& db, const std::string& project_id, const UnitRow& row);
absl::Status delete_unit(Database& db, const std::string& project_id, const std::string& unit);
absl::Status delete_project(Database& db, const std::string& project_id);
// Each project with the rows of its units. The first error of `take` ends it.
absl::Status load_projects(
    Database& db, const std::function<absl::Status(ProjectRecord, std::vector<UnitRow>)>& take);

}  // namespace zsync::daemon
