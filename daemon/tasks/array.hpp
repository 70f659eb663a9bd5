// Arrays: one specification that becomes many tasks, by indexes or by the combinations of a matrix.
// Pure.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/tasks/task.hpp"

namespace zsync::daemon {

inline constexpr char kArrayIdPrefix[] = "array_";
inline constexpr int64_t kArrayIndexMax = 1'000'000'000;
inline constexpr size_t kMatrixAxesMax = 16;
inline constexpr size_t kMatrixValueBytesMax = 4096;

struct MatrixAxis {
  std::string name;  // of a variable: letters, digits and _, from a letter on
  std::vector<std::string> values;
};

struct ArraySpec {
  std::string indexes;  // "0-9", "1,4,7-9", "0-100/10"
  std::vector<MatrixAxis> matrix;
};

// The indexes that a text names, in its order.
//
// Errors: kInvalidArgument.
absl::StatusOr<std::vector<int64_t>> parse_indexes(const std::string& text);

// The tasks of an array, the last axis changing fastest. In the words of the command and in the
// name {index} and {AXIS} are replaced; other braces stay. Each key gets its task's index behind
// it.
//
// Errors: kInvalidArgument with the field, the limit and the cure.
absl::StatusOr<std::vector<TaskSpec>> expand(const TaskSpec& spec, const ArraySpec& array,
                                             const std::string& id);

}  // namespace zsync::daemon
