// The proto's JSON mapping, with zero fields shown.
#pragma once

#include <google/protobuf/message.h>

#include <string>

namespace zsync::cli {

// One line without '\n'; `pretty` spreads it over several, ending in '\n'.
std::string to_json(const google::protobuf::Message& message, bool pretty);

// A JSON string, quoted.
std::string json_string(const std::string& text);

}  // namespace zsync::cli
