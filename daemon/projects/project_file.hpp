// zsync.yaml: its keys, and the project that a file describes. Pure.
//
// One table of keys serves the parser and the published JSON Schema. A file is read whole: every
// problem of it is told at once, each with its line and column.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "daemon/projects/project.hpp"

namespace zsync::daemon {

// Where a key stands: at the top, or in the mapping of a step, a service, and so on.
enum class FileSection : uint8_t { kTop, kStep, kService, kTrigger, kChannel, kReady, kRestart };

enum class FileValue : uint8_t {
  kText,      // one value
  kWords,     // a list of texts
  kNames,     // one name, or a list of names
  kPairs,     // names and their values
  kDuration,  // 200ms, 5s
  kCount,     // a whole number
  kPort,      // auto, or 1 to 65535
  kUnits,     // steps, services, triggers or channels by name
  kChoice,    // one of the words in FileKey::choices
  kCapacity,  // a whole number, or unbounded
  kReady,     // a mapping of FileSection::kReady
  kRestart,   // a word, or a mapping of FileSection::kRestart
  kCommand,   // a list of texts, or a line for the shell
  kUnbuilt,   // reserved: refused with that reason
};

struct FileKey {
  FileSection section;
  std::string_view name;
  FileValue value;
  std::string_view doc;
  std::string_view choices = "";  // "a|b"
};

// All keys, section by section.
std::span<const FileKey> project_keys();

struct ProjectProblem {
  int line = 1;    // counted from 1
  int column = 1;  // the same, in bytes
  std::string text;
};

// "zsync.yaml:12:3: unknown key ..."
std::string problem_line(const std::string& file, const ProjectProblem& problem);

// The project, or all that is wrong with the text (kProjectProblemsMax at most), in its order.
using ParsedProject = std::variant<ProjectSpec, std::vector<ProjectProblem>>;
ParsedProject parse_project(const std::string& text);

// The JSON Schema of zsync.yaml, made from project_keys().
std::string project_schema();

}  // namespace zsync::daemon
