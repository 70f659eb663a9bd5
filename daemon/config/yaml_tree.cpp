#include "daemon/config/yaml_tree.hpp"

#include <absl/strings/str_cat.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <exception>
#include <sstream>
#include <vector>

namespace zsync::daemon {

std::string one_line(absl::string_view text) {
  std::string out;
  for (const char letter : text) {
    const auto byte = static_cast<unsigned char>(letter);
    if (byte < 0x20 || byte == 0x7f) {
      absl::StrAppend(&out, "\\x", absl::Hex(byte, absl::kZeroPad2));
    } else {
      out += letter;
    }
  }
  return out;
}

namespace {

class Converter {
 public:
  explicit Converter(const std::string& name) : name_(name) {}

  absl::Status convert(const YAML::Node& node, int depth, YamlTree& out) {
    out.line = node.Mark().line + 1;
    out.column = node.Mark().column + 1;
    if (depth > kYamlDepthMax) return error(out.line, "is nested too deeply");
    if (++nodes_ > kYamlNodesMax) return error(out.line, "has too many values");
    switch (node.Type()) {
      case YAML::NodeType::Undefined:
      case YAML::NodeType::Null:
        return absl::OkStatus();
      case YAML::NodeType::Scalar:
        out.kind = YamlTree::Kind::scalar;
        out.text = node.Scalar();
        return absl::OkStatus();
      case YAML::NodeType::Sequence:
        return convert_list(node, depth, out);
      case YAML::NodeType::Map:
        return convert_map(node, depth, out);
    }
    return absl::OkStatus();
  }

  absl::Status error(int line, absl::string_view reason) const {
    return absl::InvalidArgumentError(
        absl::StrCat(name_, ":", line, ": the file ", one_line(reason)));
  }

 private:
  absl::Status convert_list(const YAML::Node& node, int depth, YamlTree& out) {
    out.kind = YamlTree::Kind::list;
    for (const auto& item : node) {
      absl::Status status = convert(item, depth + 1, out.items.emplace_back());
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::Status convert_map(const YAML::Node& node, int depth, YamlTree& out) {
    out.kind = YamlTree::Kind::map;
    for (const auto& pair : node) {
      const int line = pair.first.Mark().line + 1;
      if (!pair.first.IsScalar()) return error(line, "has a key that is no plain word");
      YamlTree::Entry& entry = out.entries.emplace_back();
      entry.name = pair.first.Scalar();
      entry.line = line;
      entry.column = pair.first.Mark().column + 1;
      absl::Status status = convert(pair.second, depth + 1, entry.value);
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  const std::string& name_;
  int nodes_ = 0;
};

// YAML forbids tabs in the indentation, and yaml-cpp says so in words that name no tab.
int line_indented_by_tab(const std::string& content) {
  int line = 1;
  bool indenting = true;
  for (const char letter : content) {
    if (letter == '\n') {
      ++line;
      indenting = true;
    } else if (indenting && letter == '\t') {
      return line;
    } else if (letter != ' ') {
      indenting = false;
    }
  }
  return 0;
}

// Where documents begin, two at most. yaml-cpp's own loop over documents never ends where it meets
// what can begin none, such as a line that begins with ',': it makes no step and reports one more
// document.
class DocumentLines final : public YAML::EventHandler {
 public:
  explicit DocumentLines(const std::string& content) {
    std::istringstream stream(content);
    YAML::Parser parser(stream);
    while (lines_.size() < 2 && parser.HandleNextDocument(*this)) {
    }
  }
  const std::vector<int>& lines() const { return lines_; }

  void OnDocumentStart(const YAML::Mark& mark) override { lines_.push_back(mark.line + 1); }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t,
                const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}

 private:
  std::vector<int> lines_;
};

}  // namespace

absl::StatusOr<YamlTree> parse_yaml(const std::string& name, const std::string& content) {
  Converter converter(name);
  if (const int line = line_indented_by_tab(content); line != 0) {
    return converter.error(line, "is indented with a tab here: use spaces");
  }
  try {
    const DocumentLines documents(content);
    YamlTree tree;
    if (documents.lines().empty()) return tree;
    if (documents.lines().size() > 1) {
      const int line = documents.lines()[1];
      if (line == documents.lines()[0]) {
        return converter.error(line, "is no valid YAML: something here belongs to no value");
      }
      return converter.error(line, "has a second document here: put all keys into the first one");
    }
    absl::Status status = converter.convert(YAML::Load(content), 0, tree);
    if (!status.ok()) return status;
    return tree;
  } catch (const YAML::Exception& exception) {
    const int line = exception.mark.is_null() ? 1 : exception.mark.line + 1;
    return converter.error(line, absl::StrCat("is no valid YAML: ", exception.msg));
  } catch (const std::exception& exception) {
    return converter.error(1, absl::StrCat("is no valid YAML: ", exception.what()));
  }
}

}  // namespace zsync::daemon
