// Symbols: what is known about the code of a suspended coroutine, from the ELF files of this
// process.
#pragma once

#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace zsync {

// A coroutine's code, found by the address of its resume function (the frame's first word).
struct CoroutineCode {
  std::string function;  // demangled, or "program+0x1234"
  std::string file;      // empty: no line table
  int begins = 0;        // line of the function
  // Where the frame keeps the number of the suspend point at which it waits; -1: not found.
  int index_offset = -1;
  std::map<uint8_t, int> lines;  // of suspend points, where the line is certain
};

// Reads the tables of the files that are mapped at its making.
//
// Threads: one at a time.
class Symbols {
 public:
  Symbols();
  // Lifetime of the result: as this.
  const CoroutineCode& of(const void* resume);
  // The same, if it was asked for before; else nullptr.
  const CoroutineCode* known(const void* resume) const;

 private:
  struct End {
    void operator()(Dwfl* dwfl) const { dwfl_end(dwfl); }
  };

  // A piece of code and the compilation unit that it is of.
  struct UnitRange {
    Dwarf_Addr begin;  // without the module's bias
    Dwarf_Addr end;
    Dwarf_Die unit;
  };
  // By hand: libdw knows only of units in .debug_aranges, which clang does not write.
  struct Units {
    Dwarf_Addr bias = 0;
    std::vector<UnitRange> ranges;  // sorted
  };

  CoroutineCode read(const void* resume);
  const Units& units_of(Dwfl_Module* module);

  std::unique_ptr<Dwfl, End> dwfl_;
  absl::flat_hash_map<Dwfl_Module*, std::unique_ptr<Units>> units_;
  absl::flat_hash_map<const void*, std::unique_ptr<CoroutineCode>> codes_;
};

}  // namespace zsync
