#include "daemon/diagnostics/json_reader.hpp"

namespace zsync::daemon {
namespace {

constexpr uint32_t kReplacement = 0xFFFD;

void put_utf8(uint32_t code, std::string& into) {
  auto put = [&into](uint32_t byte) { into.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

}  // namespace

void JsonReader::fail() {
  failed_ = true;
  text_ = {};
}

char JsonReader::peek() {
  const size_t at = text_.find_first_not_of(" \t\r\n");
  text_ = at == text_.npos ? std::string_view() : text_.substr(at);
  return text_.empty() ? '\0' : text_.front();
}

bool JsonReader::take(char wanted) {
  if (peek() != wanted) return false;
  text_.remove_prefix(1);
  return true;
}

void JsonReader::object(const std::function<void(const std::string& key)>& take_value) {
  if (peek() != '{') return skip();
  text_.remove_prefix(1);
  if (++depth_ > kDepthMax) return fail();
  if (!take('}')) {
    do {
      if (peek() != '"') return fail();
      const std::string key = read_string();
      if (!take(':')) return fail();
      take_value(key);
      if (failed_) return;
    } while (take(','));
    if (!take('}')) return fail();
  }
  --depth_;
}

void JsonReader::array(const std::function<void()>& take_value) {
  if (peek() != '[') return skip();
  text_.remove_prefix(1);
  if (++depth_ > kDepthMax) return fail();
  if (!take(']')) {
    do {
      take_value();
      if (failed_) return;
    } while (take(','));
    if (!take(']')) return fail();
  }
  --depth_;
}

std::string JsonReader::string() {
  if (peek() == '"') return read_string();
  skip();
  return "";
}

uint32_t JsonReader::number() {
  const char first = peek();
  if (first < '0' || first > '9') {
    skip();
    return 0;
  }
  uint32_t value = 0;
  size_t at = 0;
  while (at < text_.size() && text_[at] >= '0' && text_[at] <= '9') {
    if (at == 9) {
      skip();
      return 0;
    }
    value = value * 10 + static_cast<uint32_t>(text_[at++] - '0');
  }
  skip_scalar();
  return value;
}

bool JsonReader::boolean() {
  const bool yes = peek() == 't';
  skip();
  return yes;
}

bool JsonReader::null() {
  if (peek() != 'n') return false;
  skip_scalar();
  return true;
}

void JsonReader::skip_scalar() {
  const size_t end = text_.find_first_of(",]} \t\r\n");
  if (end == 0) return fail();
  text_ = end == text_.npos ? std::string_view() : text_.substr(end);
}

void JsonReader::skip() {
  switch (peek()) {
    case '\0':
      return fail();
    case '"':
      (void)read_string();
      return;
    case '{':
      return object([this](const std::string&) { skip(); });
    case '[':
      return array([this] { skip(); });
    default:
      skip_scalar();
  }
}

std::string JsonReader::read_string() {
  text_.remove_prefix(1);
  std::string out;
  while (true) {
    const size_t end = text_.find_first_of("\"\\");
    if (end == text_.npos) {
      fail();
      return "";
    }
    out.append(text_.substr(0, end));
    const bool closed = text_[end] == '"';
    text_.remove_prefix(end + 1);
    if (closed) return out;
    read_escape(out);
    if (failed_) return "";
  }
}

uint32_t JsonReader::read_hex() {
  if (text_.size() < 4) {
    fail();
    return 0;
  }
  uint32_t code = 0;
  for (size_t i = 0; i < 4; ++i) {
    const char c = text_[i];
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (digit < 0) {
      fail();
      return 0;
    }
    code = code << 4 | static_cast<uint32_t>(digit);
  }
  text_.remove_prefix(4);
  return code;
}

void JsonReader::read_escape(std::string& into) {
  if (text_.empty()) return fail();
  const char kind = text_.front();
  text_.remove_prefix(1);
  static constexpr std::string_view kKinds = "\"\\/bfnrt";
  static constexpr std::string_view kBytes = "\"\\/\b\f\n\r\t";
  if (const size_t at = kKinds.find(kind); at != kKinds.npos) {
    into.push_back(kBytes[at]);
    return;
  }
  if (kind != 'u') return fail();
  uint32_t code = read_hex();
  if (code >= 0xD800 && code < 0xDC00 && text_.starts_with("\\u")) {
    text_.remove_prefix(2);
    const uint32_t low = read_hex();
    code = low >= 0xDC00 && low < 0xE000 ? 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
                                         : kReplacement;
  } else if (code >= 0xD800 && code < 0xE000) {
    code = kReplacement;
  }
  put_utf8(code, into);
}

}  // namespace zsync::daemon
