// What every part of a zsync.yaml is read by: sections of known keys, their values, and what is
// wrong with them. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "daemon/config/yaml_tree.hpp"
#include "daemon/projects/project_file.hpp"

namespace zsync::daemon {

// A value that is refused is left as it was, so that reading goes on.
class FileValues {
 protected:
  using Kind = YamlTree::Kind;
  using Entry = YamlTree::Entry;

  void complain(int line, int column, const std::string& text);
  void complain(const YamlTree& value, const std::string& text);
  // ":LINE: the file ..."
  void complain_yaml(const absl::Status& status);
  // Hands each key of the section to `take`, once.
  void read_section(FileSection section, const std::string& path, const YamlTree& tree,
                    const std::function<void(const FileKey&, const Entry&)>& take);
  static const FileKey* find_key(FileSection section, const std::string& name);
  static std::string unknown_key(FileSection section, const std::string& name,
                                 const std::string& in);
  bool read_text(const Entry& entry, std::string& out);
  void read_words(const Entry& entry, std::vector<std::string>& out, const char* otherwise);
  std::vector<const YamlTree*> read_names(const Entry& entry);
  void read_duration(const Entry& entry, uint64_t& ms);
  void read_port(const Entry& entry, PortKind& kind, uint16_t& port);
  void read_pairs(const Entry& entry, std::map<std::string, std::string>& out);
  void read_command(const Entry& entry, ProjectCommand& out);

  std::vector<ProjectProblem> problems_;
};

}  // namespace zsync::daemon
