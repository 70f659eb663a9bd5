#include "daemon/tasks/function_call.hpp"

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "daemon/fault/fault.hpp"

namespace zsync::daemon {
namespace {

constexpr size_t kFunctionNameBytesMax = 128;

// Cut between characters.
void cut(std::string& text, size_t bytes_max) {
  if (text.size() <= bytes_max) return;
  size_t end = bytes_max;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  text.resize(end);
}

absl::Status refused(const char* field, std::string message, std::string limit, std::string hint) {
  return fault(absl::StatusCode::kInvalidArgument, std::move(message),
               {field, limit.empty() ? "INVALID" : "LIMIT", std::move(limit), std::move(hint), {}});
}

}  // namespace

absl::Status validate(const FunctionCall& call) {
  if (call.name.empty()) {
    return refused("function.name", "the call names no function", "",
                   "`zsyncctl functions` shows which there are");
  }
  if (call.name.size() > kFunctionNameBytesMax) {
    return refused(
        "function.name", absl::StrCat("the function's name has ", call.name.size(), " bytes"),
        absl::StrCat("name_bytes_max = ", kFunctionNameBytesMax), "choose a shorter one");
  }
  for (unsigned char c : call.name) {
    if (c > 0x20 && c != 0x7f && c != '/') continue;
    return refused("function.name",
                   absl::StrCat("the function's name \"", absl::CHexEscape(call.name),
                                "\" has a slash, a space or a control character"),
                   "", "use letters, digits, dots, dashes");
  }
  if (call.payload.size() > kFunctionPayloadBytesMax) {
    return refused("function.payload",
                   absl::StrCat("the payload has ", call.payload.size(), " bytes, the limit is ",
                                kFunctionPayloadBytesMax),
                   absl::StrCat("function_payload_bytes_max = ", kFunctionPayloadBytesMax),
                   "put it into a file, and its path into the payload");
  }
  if (call.content_type.size() > kContentTypeBytesMax) {
    return refused("function.content_type",
                   absl::StrCat("the content type has ", call.content_type.size(), " bytes"),
                   absl::StrCat("content_type_bytes_max = ", kContentTypeBytesMax),
                   "give one as application/json");
  }
  return absl::OkStatus();
}

FunctionResult limited(FunctionResult result) {
  const size_t bytes = result.payload.size();
  if (!result.failed && bytes > kFunctionPayloadBytesMax) {
    result = FunctionResult();
    result.failed = result.permanent = true;
    result.error_code = "RESULT_TOO_LARGE";
    result.error_message =
        absl::StrCat("the result has ", bytes, " bytes, the limit is ", kFunctionPayloadBytesMax,
                     ": let the worker put it into a file and return its path");
  }
  if (!result.failed && result.content_type.size() > kContentTypeBytesMax) {
    cut(result.content_type, kContentTypeBytesMax);
  }
  if (result.failed) {
    result.payload.clear();
    result.content_type.clear();
    cut(result.error_code, kErrorCodeBytesMax);
    cut(result.error_message, kErrorMessageBytesMax);
    if (result.error_message.empty()) result.error_message = "the handler failed without a word";
  }
  result.payload_bytes = result.payload.size();
  return result;
}

}  // namespace zsync::daemon
