#include "watch/glob.hpp"

#include <optional>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace zsync::watching {
namespace {

using ByteSet = std::bitset<256>;

std::string quoted(std::string_view text) {
  return absl::StrCat("\"", absl::string_view(text.data(), text.size()), "\"");
}

bool add_named_class(std::string_view name, ByteSet& set) {
  using Test = bool (*)(unsigned char);
  static constexpr std::pair<std::string_view, Test> kClasses[] = {
      {"alnum", absl::ascii_isalnum}, {"alpha", absl::ascii_isalpha},
      {"blank", absl::ascii_isblank}, {"cntrl", absl::ascii_iscntrl},
      {"digit", absl::ascii_isdigit}, {"graph", absl::ascii_isgraph},
      {"lower", absl::ascii_islower}, {"print", absl::ascii_isprint},
      {"punct", absl::ascii_ispunct}, {"space", absl::ascii_isspace},
      {"upper", absl::ascii_isupper}, {"xdigit", absl::ascii_isxdigit}};
  for (const auto& [known, test] : kClasses) {
    if (known != name) continue;
    for (int c = 0; c < 256; ++c) {
      if (test(static_cast<unsigned char>(c))) set.set(static_cast<size_t>(c));
    }
    return true;
  }
  return false;
}

struct ParsedClass {
  ByteSet set;
  bool negated = false;
  bool has_high_bytes = false;
  size_t end = 0;  // just after ']'
};

// Reads `[...]` at `start` by the rules of git's wildmatch; nullopt when malformed.
std::optional<ParsedClass> parse_class(std::string_view p, size_t start) {
  ParsedClass out;
  size_t i = start + 1;
  const auto at = [&](size_t index) -> uint8_t {
    return index < p.size() ? static_cast<uint8_t>(p[index]) : 0;
  };
  if (at(i) == '!' || at(i) == '^') {
    out.negated = true;
    ++i;
  }
  uint8_t previous = 0;
  for (bool first = true; first || at(i) != ']'; first = false, ++i) {
    uint8_t c = at(i);
    if (c == 0) return std::nullopt;
    if (c == '\\') {
      c = at(++i);
      if (c == 0) return std::nullopt;
      out.set.set(c);
      previous = c;
    } else if (c == '-' && previous != 0 && at(i + 1) != 0 && at(i + 1) != ']') {
      c = at(++i);
      if (c == '\\') c = at(++i);
      if (c == 0) return std::nullopt;
      for (int b = previous; b <= c; ++b) out.set.set(static_cast<size_t>(b));
      previous = 0;
    } else if (c == '[' && at(i + 1) == ':') {
      const size_t close = p.find(']', i + 2);
      if (close == std::string_view::npos) return std::nullopt;
      if (close < i + 3 || p[close - 1] != ':') {
        out.set.set('[');
        previous = '[';
        continue;
      }
      if (!add_named_class(p.substr(i + 2, close - i - 3), out.set)) return std::nullopt;
      i = close;
      previous = 0;
    } else {
      out.set.set(c);
      previous = c;
    }
    if (c >= 0x80) out.has_high_bytes = true;
  }
  out.end = i + 1;
  return out;
}

}  // namespace

class GlobCompiler {
 public:
  using Op = GlobProgram::Op;

  explicit GlobCompiler(std::string_view pattern, std::string_view written = {})
      : p_(pattern), written_(written) {}

  GlobProgram wildmatch(bool pathname) {
    if (p_.size() > kGlobBytesMax) return nothing();
    size_t i = 0;
    while (i < p_.size()) {
      const char c = p_[i];
      if (c == '\\') {
        if (i + 1 == p_.size()) return nothing();
        byte(p_[i + 1]);
        i += 2;
      } else if (c == '?') {
        emit(pathname ? Op::not_slash : Op::any);
        ++i;
      } else if (c == '[') {
        std::optional<ParsedClass> parsed = parse_class(p_, i);
        if (!parsed) return nothing();
        set(*parsed, pathname);
        i = parsed->end;
      } else if (c == '*') {
        i = wildmatch_star(i, pathname);
      } else {
        byte(c);
        ++i;
      }
    }
    emit(Op::match);
    return std::move(out_);
  }

  absl::StatusOr<GlobProgram> glob() {
    absl::Status status = alternatives(0);
    if (!status.ok()) return status;
    if (at_ != p_.size())
      return wrong("has a \"}\" without \"{\"; write \"\\}\" for the character");
    emit(Op::match);
    return std::move(out_);
  }

 private:
  static GlobProgram nothing() {
    GlobProgram none;
    none.sets_.emplace_back();
    none.code_.push_back({Op::set, 0, 0, 0});
    none.code_.push_back({Op::match, 0, 0, 0});
    return none;
  }

  absl::Status wrong(std::string_view why) const {
    return absl::InvalidArgumentError(
        absl::StrCat("glob ", quoted(written_), " ", absl::string_view(why.data(), why.size())));
  }

  uint16_t here() const { return static_cast<uint16_t>(out_.code_.size()); }
  size_t emit(Op op, uint8_t b = 0, uint16_t first = 0, uint16_t second = 0) {
    out_.code_.push_back({op, b, first, second});
    return out_.code_.size() - 1;
  }
  void byte(char c) { emit(Op::byte, static_cast<uint8_t>(c)); }

  void set(const ParsedClass& parsed, bool pathname) {
    ByteSet bytes = parsed.negated ? ~parsed.set : parsed.set;
    if (pathname) bytes.reset('/');
    out_.sets_.push_back(bytes);
    emit(Op::set, 0, static_cast<uint16_t>(out_.sets_.size() - 1));
  }

  // op*
  void repeat(Op op) {
    const uint16_t loop = here();
    emit(Op::split, 0, static_cast<uint16_t>(loop + 1), static_cast<uint16_t>(loop + 3));
    emit(op);
    emit(Op::jump, 0, loop);
  }

  // (any* '/')?
  void any_directories() {
    const size_t skip = emit(Op::split, 0, static_cast<uint16_t>(here() + 1));
    repeat(Op::any);
    byte('/');
    out_.code_[skip].second = here();
  }

  size_t wildmatch_star(size_t i, bool pathname) {
    const size_t start = i;
    while (i < p_.size() && p_[i] == '*') ++i;
    if (!pathname) {
      repeat(Op::any);
      return i;
    }
    const bool opens = start == 0 || p_[start - 1] == '/';
    const bool slash = i < p_.size() && p_[i] == '/';
    const bool escaped_slash = i + 1 < p_.size() && p_[i] == '\\' && p_[i + 1] == '/';
    const bool whole = i - start >= 2 && opens && (i == p_.size() || slash || escaped_slash);
    if (whole && slash) {
      any_directories();
      return i + 1;
    }
    repeat(whole ? Op::any : Op::not_slash);
    return i;
  }

  // Reads until the end, or inside braces until the closing one.
  absl::Status alternatives(size_t depth) {
    if (depth > kGlobBraceDepthMax) {
      return wrong(absl::StrCat("nests braces deeper than ", kGlobBraceDepthMax));
    }
    absl::InlinedVector<size_t, 8> ends;
    size_t split = depth > 0 ? emit(Op::split, 0, static_cast<uint16_t>(here() + 1)) : 0;
    while (true) {
      absl::Status status = sequence(depth);
      if (!status.ok()) return status;
      if (depth == 0 || at_ == p_.size() || p_[at_] != ',') break;
      ++at_;
      ends.push_back(emit(Op::jump));
      out_.code_[split].second = here();
      split = emit(Op::split, 0, static_cast<uint16_t>(here() + 1));
    }
    if (depth == 0) return absl::OkStatus();
    // The last alternative has no other way.
    out_.code_[split].second = out_.code_[split].first;
    for (size_t jump : ends) out_.code_[jump].first = here();
    return absl::OkStatus();
  }

  absl::Status sequence(size_t depth) {
    while (at_ < p_.size()) {
      const char c = p_[at_];
      if (c == '}' || (c == ',' && depth > 0)) return absl::OkStatus();
      if (out_.code_.size() > kGlobProgramMax) return wrong("is too complex; split it");
      if (c == '{') {
        ++at_;
        absl::Status status = alternatives(depth + 1);
        if (!status.ok()) return status;
        if (at_ == p_.size())
          return wrong("has a \"{\" without \"}\"; write \"\\{\" for the character");
        ++at_;
      } else if (c == '*') {
        star();
      } else if (c == '?') {
        emit(Op::not_slash);
        repeat(Op::continuation);
        ++at_;
      } else if (c == '[') {
        absl::Status status = bracket();
        if (!status.ok()) return status;
      } else if (c == '\\') {
        if (at_ + 1 == p_.size())
          return wrong("ends in a single \"\\\"; write \"\\\\\" for the character");
        byte(p_[at_ + 1]);
        at_ += 2;
      } else {
        byte(c);
        ++at_;
      }
    }
    return absl::OkStatus();
  }

  absl::Status bracket() {
    std::optional<ParsedClass> parsed = parse_class(p_, at_);
    if (!parsed)
      return wrong(
          "has a \"[\" without \"]\" or an unknown class in it; write \"\\[\" for the character");
    if (parsed->has_high_bytes)
      return wrong("has a character beyond ASCII in a set; write {a,b} in place of [ab]");
    set(*parsed, true);
    if (parsed->negated) repeat(Op::continuation);
    at_ = parsed->end;
    return absl::OkStatus();
  }

  void star() {
    const size_t start = at_;
    while (at_ < p_.size() && p_[at_] == '*') ++at_;
    const auto edge = [](char c) { return c == '/' || c == '{' || c == ',' || c == '}'; };
    const bool opens = start == 0 || edge(p_[start - 1]);
    const bool closes = at_ == p_.size() || edge(p_[at_]);
    if (at_ - start < 2 || !opens || !closes) {
      repeat(Op::not_slash);
    } else if (at_ < p_.size() && p_[at_] == '/') {
      any_directories();
      ++at_;
    } else {
      repeat(Op::any);
    }
  }

  std::string_view p_;
  std::string_view written_;
  size_t at_ = 0;
  GlobProgram out_;
};

GlobProgram GlobProgram::from_wildmatch(std::string_view pattern, bool pathname) {
  return GlobCompiler(pattern).wildmatch(pathname);
}

absl::StatusOr<GlobProgram> GlobProgram::from_glob(std::string_view pattern,
                                                   std::string_view written) {
  return GlobCompiler(pattern, written).glob();
}

bool GlobProgram::accepts(const Instruction& instruction, uint8_t byte) const {
  switch (instruction.op) {
    case Op::byte:
      return instruction.byte == byte;
    case Op::any:
      return true;
    case Op::not_slash:
      return byte != '/';
    case Op::continuation:
      return (byte & 0xC0) == 0x80;
    case Op::set:
      return sets_[instruction.first].test(byte);
    case Op::split:
    case Op::jump:
    case Op::match:
      return false;
  }
  return false;
}

bool GlobProgram::matches(std::string_view text) const {
  absl::InlinedVector<uint16_t, 64> current;
  absl::InlinedVector<uint16_t, 64> next;
  absl::InlinedVector<uint16_t, 32> open;
  // The step at which a state was last entered, so that each is entered once a step.
  absl::InlinedVector<uint32_t, 64> entered(code_.size(), 0);
  uint32_t step = 1;
  bool matched = false;
  const auto enter = [&](uint16_t state, absl::InlinedVector<uint16_t, 64>& into) {
    open.push_back(state);
    while (!open.empty()) {
      const uint16_t pc = open.back();
      open.pop_back();
      if (entered[pc] == step) continue;
      entered[pc] = step;
      const Instruction& instruction = code_[pc];
      if (instruction.op == Op::jump) {
        open.push_back(instruction.first);
      } else if (instruction.op == Op::split) {
        open.push_back(instruction.second);
        open.push_back(instruction.first);
      } else if (instruction.op == Op::match) {
        matched = true;
      } else {
        into.push_back(pc);
      }
    }
  };
  enter(0, current);
  for (const char c : text) {
    matched = false;
    ++step;
    next.clear();
    for (const uint16_t pc : current) {
      if (accepts(code_[pc], static_cast<uint8_t>(c))) enter(static_cast<uint16_t>(pc + 1), next);
    }
    if (next.empty() && !matched) return false;
    std::swap(current, next);
  }
  return matched;
}

absl::StatusOr<Glob> Glob::compile(std::string_view pattern) {
  if (pattern.empty())
    return absl::InvalidArgumentError("a glob is empty; leave it out to match everything");
  if (pattern.size() > kGlobBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("a glob of ", pattern.size(), " bytes is longer than ", kGlobBytesMax));
  }
  if (pattern.front() == '!') {
    return absl::InvalidArgumentError(absl::StrCat(
        "glob ", quoted(pattern),
        " begins with \"!\"; put what is to be left out in the ignore list, or write \"\\!\""));
  }
  std::string text(pattern);
  while (text.starts_with("./")) text.erase(0, 2);
  const bool below = text.ends_with('/');
  if (below) text.pop_back();
  const bool leading = text.starts_with('/');
  if (leading) text.erase(0, 1);
  if (text.empty()) text = "**";
  if (!leading && text.find('/') == std::string::npos) text.insert(0, "**/");
  if (below) text += "/**";
  absl::StatusOr<GlobProgram> program = GlobProgram::from_glob(text, pattern);
  if (!program.ok()) return program.status();
  return Glob(std::string(pattern), *std::move(program));
}

absl::StatusOr<GlobSet> GlobSet::compile(std::span<const std::string> patterns) {
  if (patterns.size() > kGlobCountMax) {
    return absl::InvalidArgumentError(absl::StrCat(patterns.size(), " globs are more than ",
                                                   kGlobCountMax, "; join some with {a,b}"));
  }
  GlobSet set;
  for (const std::string& pattern : patterns) {
    absl::StatusOr<Glob> glob = Glob::compile(pattern);
    if (!glob.ok()) return glob.status();
    set.globs_.push_back(*std::move(glob));
  }
  return set;
}

bool GlobSet::matches(std::string_view path) const {
  if (globs_.empty()) return true;
  for (const Glob& glob : globs_) {
    if (glob.matches(path)) return true;
  }
  return false;
}

}  // namespace zsync::watching
