#include "cli/render/color.hpp"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace zsync::cli {

std::string paint(const std::string& text, Color color, bool enabled) {
  if (!enabled || color == Color::kNone || text.empty()) return text;
  const char* code = "";
  switch (color) {
    case Color::kGood:
      code = "32";
      break;
    case Color::kBad:
      code = "31";
      break;
    case Color::kBusy:
      code = "36";
      break;
    case Color::kDim:
      code = "2";
      break;
    case Color::kBold:
      code = "1";
      break;
    case Color::kNone:
      break;
  }
  return absl::StrCat("\x1b[", code, "m", text, "\x1b[0m");
}

std::string state_word(v1::TaskState state) {
  const std::string name = v1::TaskState_Name(state);
  if (name.empty()) return absl::StrCat("state ", static_cast<int>(state));
  return absl::AsciiStrToLower(absl::StripPrefix(name, "TASK_STATE_"));
}

Color state_color(v1::TaskState state) {
  switch (state) {
    case v1::TASK_STATE_SUCCEEDED:
      return Color::kGood;
    case v1::TASK_STATE_RUNNING:
      return Color::kBusy;
    case v1::TASK_STATE_QUEUED:
    case v1::TASK_STATE_SKIPPED:
      return Color::kDim;
    default:
      return Color::kBad;
  }
}

}  // namespace zsync::cli
