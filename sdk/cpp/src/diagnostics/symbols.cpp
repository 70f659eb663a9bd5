#include "diagnostics/symbols.hpp"

#include <cxxabi.h>
#include <dwarf.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace zsync {
namespace {

constexpr size_t kFunctionBytesMax = size_t{1} << 20;  // of code that is looked through
// Of a coroutine: what looks like a store beyond it is a part of other instructions.
constexpr int32_t kFrameBytesMax = 1 << 20;

// Debug information in files of their own is left alone: looking for it may ask the network.
int find_no_debuginfo(Dwfl_Module*, void**, const char*, Dwarf_Addr, const char*, const char*,
                      GElf_Word, char**) {
  return -1;
}

const Dwfl_Callbacks kCallbacks = {.find_elf = dwfl_linux_proc_find_elf,
                                   .find_debuginfo = find_no_debuginfo,
                                   .section_address = nullptr,
                                   .debuginfo_path = nullptr};

// "_Z4readi.resume" -> "read(int)"
std::string readable(absl::string_view symbol) {
  const std::string mangled(symbol.substr(0, symbol.find('.')));
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> name(
      abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status), std::free);
  return status == 0 ? name.get() : mangled;
}

struct SourceLine {
  std::string file;
  int line = 0;
};

std::optional<SourceLine> source_line(Dwarf_Die unit, Dwarf_Addr address) {
  Dwarf_Line* const row = dwarf_getsrc_die(&unit, address);
  const char* const file = row ? dwarf_linesrc(row, nullptr, nullptr) : nullptr;
  int line = 0;
  if (!file || dwarf_lineno(row, &line) != 0 || line == 0) return std::nullopt;
  std::filesystem::path path(file);
  Dwarf_Attribute folder;
  if (path.is_relative() && dwarf_attr(&unit, DW_AT_comp_dir, &folder)) {
    if (const char* const name = dwarf_formstring(&folder))
      path = std::filesystem::path(name) / path;
  }
  return SourceLine{path.lexically_normal().string(), line};
}

// `mov byte [register + displacement], number`, as x86-64 has it.
struct ByteStore {
  int32_t displacement;
  uint8_t number;
  Dwarf_Addr address;
};

std::vector<ByteStore> byte_stores(std::span<const uint8_t> code, Dwarf_Addr begin) {
  std::vector<ByteStore> found;
  for (size_t at = 0; at + 9 < code.size(); ++at) {
    if (code[at] != 0xc6) continue;
    const uint8_t modrm = code[at + 1];
    const uint8_t mode = modrm >> 6;
    if ((modrm & 0x38) != 0 || (mode != 1 && mode != 2)) continue;
    size_t next = at + 2;
    if ((modrm & 7) == 4 && code[next++] != 0x24) continue;  // rsp and r12 need one byte more
    ByteStore store{0, 0, begin + at};
    if (mode == 1) {
      store.displacement = static_cast<int8_t>(code[next++]);
    } else {
      std::memcpy(&store.displacement, &code[next], sizeof store.displacement);
      next += sizeof store.displacement;
    }
    store.number = code[next];
    if (store.displacement > 0 && store.displacement < kFrameBytesMax) found.push_back(store);
  }
  return found;
}

// A coroutine that is about to wait notes in its frame at which of its suspend points: `mov byte
// [frame + offset], number`, to which the compiler gives the line of the co_await. The last number
// is that of the end, at the line where the function begins. So the offset is the one with such a
// store, and with the most numbers; a variable of the coroutine has fewer or none there.
void find_suspend_points(const Dwarf_Die& unit, std::span<const uint8_t> bytes, Dwarf_Addr begin,
                         CoroutineCode& code) {
  struct Candidate {
    std::map<uint8_t, std::set<int>> lines;
    bool has_end = false;
  };
  std::map<int32_t, Candidate> candidates;
  for (const ByteStore& store : byte_stores(bytes, begin)) {
    const std::optional<SourceLine> where = source_line(unit, store.address);
    if (!where || where->file != code.file || store.number == 0) continue;
    Candidate& candidate = candidates[store.displacement];
    candidate.lines[store.number].insert(where->line);
    if (where->line == code.begins) candidate.has_end = true;
  }
  const Candidate* best = nullptr;
  bool certain = false;
  for (const auto& [offset, candidate] : candidates) {
    if (!candidate.has_end) continue;
    if (best && candidate.lines.size() < best->lines.size()) continue;
    certain = !best || candidate.lines.size() > best->lines.size();
    best = &candidate;
    code.index_offset = offset;
  }
  if (!best || !certain) {
    code.index_offset = -1;
    return;
  }
  for (const auto& [number, lines] : best->lines) {
    if (lines.size() == 1) code.lines[number] = *lines.begin();
  }
}

}  // namespace

Symbols::Symbols() : dwfl_(dwfl_begin(&kCallbacks)) {
  if (!dwfl_) return;
  dwfl_report_begin(dwfl_.get());
  const bool reported = dwfl_linux_proc_report(dwfl_.get(), ::getpid()) == 0;
  if (dwfl_report_end(dwfl_.get(), nullptr, nullptr) != 0 || !reported) dwfl_.reset();
}

const CoroutineCode* Symbols::known(const void* resume) const {
  const auto found = codes_.find(resume);
  return found == codes_.end() ? nullptr : found->second.get();
}

const CoroutineCode& Symbols::of(const void* resume) {
  std::unique_ptr<CoroutineCode>& code = codes_[resume];
  if (!code) code = std::make_unique<CoroutineCode>(read(resume));
  return *code;
}

const Symbols::Units& Symbols::units_of(Dwfl_Module* module) {
  std::unique_ptr<Units>& units = units_[module];
  if (units) return *units;
  units = std::make_unique<Units>();
  Dwarf_Addr bias = 0;
  for (Dwarf_Die* unit = nullptr; (unit = dwfl_module_nextcu(module, unit, &bias)) != nullptr;) {
    units->bias = bias;
    Dwarf_Addr base = 0;
    Dwarf_Addr begin = 0;
    Dwarf_Addr end = 0;
    for (ptrdiff_t at = 0; (at = dwarf_ranges(unit, at, &base, &begin, &end)) > 0;) {
      units->ranges.push_back({begin, end, *unit});
    }
  }
  std::sort(units->ranges.begin(), units->ranges.end(),
            [](const UnitRange& a, const UnitRange& b) { return a.begin < b.begin; });
  return *units;
}

CoroutineCode Symbols::read(const void* resume) {
  CoroutineCode code;
  const auto address = reinterpret_cast<Dwarf_Addr>(resume);
  Dwfl_Module* const module = dwfl_ ? dwfl_addrmodule(dwfl_.get(), address) : nullptr;
  if (!module) {
    code.function = absl::StrCat("0x", absl::Hex(address));
    return code;
  }
  GElf_Off into = 0;
  GElf_Sym symbol{};
  const char* const name =
      dwfl_module_addrinfo(module, address, &into, &symbol, nullptr, nullptr, nullptr);
  if (!name || into != 0) {
    Dwarf_Addr start = 0;
    const char* const file =
        dwfl_module_info(module, nullptr, &start, nullptr, nullptr, nullptr, nullptr, nullptr);
    const std::string path = file ? std::filesystem::path(file).filename().string() : "?";
    code.function = absl::StrCat(path, "+0x", absl::Hex(address - start));
    return code;
  }
  code.function = readable(name);
  const Units& units = units_of(module);
  const Dwarf_Addr place = address - units.bias;
  auto range = std::upper_bound(units.ranges.begin(), units.ranges.end(), place,
                                [](Dwarf_Addr at, const UnitRange& r) { return at < r.begin; });
  if (range == units.ranges.begin() || place >= (--range)->end) return code;
  const std::optional<SourceLine> begin = source_line(range->unit, place);
  if (!begin) return code;
  code.file = begin->file;
  code.begins = begin->line;
  const std::span bytes(static_cast<const uint8_t*>(resume),
                        std::min<size_t>(symbol.st_size, kFunctionBytesMax));
  find_suspend_points(range->unit, bytes, place, code);
  return code;
}

}  // namespace zsync
