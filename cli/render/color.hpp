// Colours of a terminal, by meaning.
#pragma once

#include <string>

#include "zsync/v1/tasks.pb.h"

namespace zsync::cli {

enum class Color { kNone, kGood, kBad, kBusy, kDim, kBold };

// `text` between the escape sequences of `color`; as it is when `enabled` is false.
std::string paint(const std::string& text, Color color, bool enabled);

// "running", and the colour it is shown in.
std::string state_word(v1::TaskState state);
Color state_color(v1::TaskState state);

}  // namespace zsync::cli
