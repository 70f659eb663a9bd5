#include "daemon/tasks/array.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "daemon/fault/fault.hpp"

namespace zsync::daemon {
namespace {

absl::Status invalid(const char* field, std::string message, std::string hint,
                     std::string limit = "") {
  return fault(absl::StatusCode::kInvalidArgument, std::move(message),
               {field, limit.empty() ? "INVALID" : "LIMIT", std::move(limit), std::move(hint), {}});
}

absl::Status bad_indexes(const std::string& text) {
  return invalid("spec.array.indexes", absl::StrCat("\"", text, "\" names no indexes"),
                 "write 0-9, 1,4,7-9 or 0-100/10");
}

absl::Status too_many() {
  return invalid("spec.array", absl::StrCat("the array has more than ", kSubmitBatchMax, " tasks"),
                 "submit it in several arrays",
                 absl::StrCat("submit_batch_max = ", kSubmitBatchMax));
}

bool index_of(absl::string_view text, int64_t& value) {
  return !text.empty() && absl::ascii_isdigit(static_cast<unsigned char>(text[0])) &&
         absl::SimpleAtoi(text, &value) && value <= kArrayIndexMax;
}

absl::Status check_axes(const std::vector<MatrixAxis>& axes) {
  if (axes.size() > kMatrixAxesMax) {
    return invalid("spec.array.matrix", absl::StrCat("the matrix has ", axes.size(), " axes"),
                   "use fewer", absl::StrCat("matrix_axes_max = ", kMatrixAxesMax));
  }
  std::set<std::string> seen{"index"};
  for (const MatrixAxis& axis : axes) {
    const bool sound = !axis.name.empty() && axis.name.size() <= kNameBytesMax &&
                       !absl::ascii_isdigit(static_cast<unsigned char>(axis.name[0])) &&
                       std::all_of(axis.name.begin(), axis.name.end(), [](unsigned char c) {
                         return absl::ascii_isalnum(c) || c == '_';
                       });
    if (!sound) {
      return invalid("spec.array.matrix", absl::StrCat("\"", axis.name, "\" is no name of an axis"),
                     "use letters, digits and _, from a letter on");
    }
    if (!seen.insert(absl::AsciiStrToLower(axis.name)).second) {
      return invalid("spec.array.matrix",
                     absl::StrCat("the axis \"", axis.name, "\" is there twice, or is index"),
                     "give each axis a name of its own");
    }
    if (axis.values.empty()) {
      return invalid("spec.array.matrix",
                     absl::StrCat("the axis \"", axis.name, "\" has no values"),
                     "write os=linux,mac");
    }
    for (const std::string& value : axis.values) {
      if (value.size() <= kMatrixValueBytesMax) continue;
      return invalid("spec.array.matrix",
                     absl::StrCat("a value of \"", axis.name, "\" has ", value.size(), " bytes"),
                     "name a file instead",
                     absl::StrCat("matrix_value_bytes_max = ", kMatrixValueBytesMax));
    }
  }
  return absl::OkStatus();
}

using Values = std::map<std::string, std::string>;

absl::StatusOr<std::vector<Values>> combinations(const std::vector<MatrixAxis>& axes) {
  std::vector<Values> all(1);
  for (const MatrixAxis& axis : axes) {
    if (all.size() * axis.values.size() > kSubmitBatchMax) return too_many();
    std::vector<Values> longer;
    for (const Values& values : all) {
      for (const std::string& value : axis.values) {
        longer.push_back(values);
        longer.back()[axis.name] = value;
      }
    }
    all = std::move(longer);
  }
  return all;
}

// In one pass, so that a value with braces is not looked at again.
std::string filled(const std::string& text, const Values& values) {
  std::string result;
  size_t at = 0;
  while (at < text.size()) {
    const size_t open = text.find('{', at);
    if (open == std::string::npos) break;
    result.append(text, at, open - at);
    at = open;
    const size_t close = text.find('}', open);
    auto found = close == std::string::npos ? values.end()
                                            : values.find(text.substr(open + 1, close - open - 1));
    if (found == values.end()) {
      result += text[at++];
    } else {
      result += found->second;
      at = close + 1;
    }
  }
  return result + text.substr(std::min(at, text.size()));
}

}  // namespace

absl::StatusOr<std::vector<int64_t>> parse_indexes(const std::string& text) {
  std::vector<int64_t> indexes;
  std::set<int64_t> seen;
  for (absl::string_view part : absl::StrSplit(text, ',')) {
    const std::vector<absl::string_view> step = absl::StrSplit(part, '/');
    const std::vector<absl::string_view> ends = absl::StrSplit(step[0], '-');
    int64_t every = 1;
    int64_t first = 0;
    int64_t last = 0;
    const bool sound = step.size() <= 2 && ends.size() <= 2 && index_of(ends[0], first) &&
                       index_of(ends.back(), last) && first <= last &&
                       (step.size() == 1 || (index_of(step[1], every) && every > 0));
    if (!sound) return bad_indexes(text);
    for (int64_t index = first; index <= last; index += every) {
      if (!seen.insert(index).second) {
        return invalid("spec.array.indexes", absl::StrCat("index ", index, " is there twice"),
                       "name each index once");
      }
      if (indexes.size() == kSubmitBatchMax) return too_many();
      indexes.push_back(index);
    }
  }
  return indexes;
}

absl::StatusOr<std::vector<TaskSpec>> expand(const TaskSpec& spec, const ArraySpec& array,
                                             const std::string& id) {
  if (array.indexes.empty() == array.matrix.empty()) {
    return invalid("spec.array",
                   array.matrix.empty() ? "an array has neither indexes nor a matrix"
                                        : "an array has both indexes and a matrix",
                   "give one of them");
  }
  std::vector<Values> members;
  std::vector<int64_t> indexes;
  if (!array.indexes.empty()) {
    absl::StatusOr<std::vector<int64_t>> parsed = parse_indexes(array.indexes);
    if (!parsed.ok()) return parsed.status();
    indexes = std::move(*parsed);
    members.resize(indexes.size());
  } else {
    if (absl::Status status = check_axes(array.matrix); !status.ok()) return status;
    absl::StatusOr<std::vector<Values>> all = combinations(array.matrix);
    if (!all.ok()) return all.status();
    members = std::move(*all);
    for (size_t i = 0; i < members.size(); ++i) indexes.push_back(static_cast<int64_t>(i));
  }
  std::vector<TaskSpec> tasks;
  for (size_t i = 0; i < members.size(); ++i) {
    TaskSpec& task = tasks.emplace_back(spec);
    auto member = std::make_shared<TaskArray>();
    member->id = id;
    member->index = indexes[i];
    member->size = static_cast<uint32_t>(members.size());
    member->values = members[i];
    Values values = members[i];
    values["index"] = absl::StrCat(indexes[i]);
    for (std::string& word : task.argv) word = filled(word, values);
    task.name = filled(task.name, values);
    if (!task.idempotency_key.empty())
      absl::StrAppend(&task.idempotency_key.edit(), "#", indexes[i]);
    task.array = std::move(member);
  }
  return tasks;
}

}  // namespace zsync::daemon
