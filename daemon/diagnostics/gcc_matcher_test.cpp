// The output below is that of g++ 12.2, clang 19, GNU ld 2.40, ld.lld 19 and GNU make 4.3.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/diagnostics/matchers_test_kit.hpp"

namespace zsync::daemon {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::string_view kGpp = R"(In file included from a.cpp:1:
a.h: In function ‘int f(int)’:
a.h:1:34: error: ‘undefined_name’ was not declared in this scope
    1 | inline int f(int x) { return x + undefined_name; }
      |                                  ^~~~~~~~~~~~~~
a.cpp: In function ‘int g(int)’:
a.cpp:3:30: error: invalid conversion from ‘const char*’ to ‘int’ [-fpermissive]
    3 | int g(int x) { int y; return "s"; }
      |                              ^~~
      |                              |
      |                              const char*
a.cpp:3:20: warning: unused variable ‘y’ [-Wunused-variable]
    3 | int g(int x) { int y; return "s"; }
      |                    ^
a.cpp: In function ‘int main()’:
a.cpp:5:51: error: no matching function for call to ‘push_back(const char [2])’
    5 | int main() { h(3); std::vector<int> v; v.push_back("x"); }
      |                                        ~~~~~~~~~~~^~~~~
In file included from /usr/include/c++/12/vector:64,
                 from a.cpp:2:
/usr/include/c++/12/bits/stl_vector.h:1276:7: note: candidate: ‘void push_back(const int&)’
 1276 |       push_back(const value_type& __x)
      |       ^~~~~~~~~
/usr/include/c++/12/bits/stl_vector.h:1276:7: note:   conversion of argument 1 is ill-formed:
a.cpp:5:52: error: invalid conversion from ‘const char*’ to ‘int’ [-fpermissive]
    5 | int main() { h(3); std::vector<int> v; v.push_back("x"); }
      |                                                    ^~~
a.cpp:5:52: error: invalid conversion from ‘const char*’ to ‘int’ [-fpermissive]
    5 | int main() { h(3); std::vector<int> v; v.push_back("x"); }
a.cpp: In instantiation of ‘void h(T) [with T = int]’:
a.cpp:5:15:   required from here
a.cpp:4:39: error: request for member ‘foo’ in ‘t’, which is of non-class type ‘int’
    4 | template <typename T> void h(T t) { t.foo(); }
      |                                     ~~^~~
)";

const auto kFoundInGpp = ElementsAre(
    "/w/a.cpp:3:30: error: invalid conversion from ‘const char*’ to ‘int’ [-fpermissive]",
    "/w/a.cpp:3:20: warning: unused variable ‘y’ [-Wunused-variable]",
    "/w/a.cpp:5:51: error: no matching function for call to ‘push_back(const char [2])’\n"
    "  /usr/include/c++/12/bits/stl_vector.h:1276:7: candidate: ‘void push_back(const int&)’\n"
    "  /usr/include/c++/12/bits/stl_vector.h:1276:7: conversion of argument 1 is ill-formed:",
    "/w/a.cpp:5:52: error: invalid conversion from ‘const char*’ to ‘int’ [-fpermissive]",
    "/w/a.cpp:4:39: error: request for member ‘foo’ in ‘t’, which is of non-class type ‘int’\n"
    "  /w/a.cpp:5:15: required from here",
    "/w/a.h:1:34: error: ‘undefined_name’ was not declared in this scope\n"
    "  /w/a.cpp:1:0: included from here");

TEST(GccMatcher, ErrorsOfGppComeWithTheirNotesIncludersAndInstantiations) {
  EXPECT_THAT(found_in(MatcherKind::kGcc, kGpp), kFoundInGpp);
}

TEST(GccMatcher, OutputMayComeInPiecesOfAnySize) {
  for (const size_t piece : {1, 2, 3, 7, 64}) {
    EXPECT_THAT(found_in(MatcherKind::kGcc, kGpp, {"/w", "", ""}, piece), kFoundInGpp) << piece;
  }
}

TEST(GccMatcher, LinesMayEndAsOnWindowsAndOnATerminal) {
  std::string output;
  for (const char byte : kGpp) output += byte == '\n' ? "\r\n" : std::string(1, byte);
  EXPECT_THAT(found_in(MatcherKind::kGcc, output), kFoundInGpp);
}

TEST(GccMatcher, ErrorsOfClangComeWithTheirNotes) {
  EXPECT_THAT(
      found_in(MatcherKind::kGcc, R"(In file included from a.cpp:1:
./a.h:1:34: error: use of undeclared identifier 'undefined_name'
    1 | inline int f(int x) { return x + undefined_name; }
      |                                  ^
a.cpp:4:38: error: member reference base type 'int' is not a structure or union
    4 | template <typename T> void h(T t) { t.foo(); }
      |                                     ~^~~~
a.cpp:5:14: note: in instantiation of function template specialization 'h<int>' requested here
    5 | int main() { h(3); std::vector<int> v; v.push_back("x"); }
      |              ^
fatal.c:1:10: fatal error: 'missing.h' file not found
    1 | #include "missing.h"
      |          ^~~~~~~~~~~
4 errors generated.
clang-19: error: linker command failed with exit code 1 (use -v to see invocation)
)"),
      ElementsAre("/w/a.cpp:4:38: error: member reference base type 'int' is not a structure or "
                  "union\n  /w/a.cpp:5:14: in instantiation of function template specialization "
                  "'h<int>' requested here",
                  "/w/a.h:1:34: error: use of undeclared identifier 'undefined_name'\n"
                  "  /w/a.cpp:1:0: included from here",
                  "/w/fatal.c:1:10: error: 'missing.h' file not found"));
}

TEST(GccMatcher, ColoursAreNoPartOfWhatIsSaid) {
  EXPECT_THAT(
      found_in(MatcherKind::kGcc,
               "\x1b[01m\x1b[Kwarn.c:2:48:\x1b[m\x1b[K \x1b[01;31m\x1b[Kerror: \x1b[m\x1b[K"
               "expected ‘\x1b[01m\x1b[K;\x1b[m\x1b[K’ before ‘\x1b[01m\x1b[K}\x1b[m\x1b[K’ token\n"
               "\x1b[1mwarn.c:2:36: \x1b[0m\x1b[0;1;35mwarning: \x1b[0m\x1b[1mformat specifies "
               "type 'char *' [-Wformat]\x1b[0m\n"
               // GCC's link to the description of an option.
               "warn.c:3:1: warning: unused [\x1b]8;;https://gcc.gnu.org/x\x07-Wunused"
               "\x1b]8;;\x07]\n"),
      ElementsAre("/w/warn.c:2:48: error: expected ‘;’ before ‘}’ token",
                  "/w/warn.c:2:36: warning: format specifies type 'char *' [-Wformat]",
                  "/w/warn.c:3:1: warning: unused [-Wunused]"));
}

TEST(GccMatcher, LinkersNameThePlaceThatMissesSomething) {
  EXPECT_THAT(found_in(MatcherKind::kGcc, R"(/usr/bin/ld: /tmp/ccdFKDtH.o: in function `main':
link.c:(.text+0x5): undefined reference to `missing'
collect2: error: ld returned 1 exit status
/usr/bin/ld: /tmp/ccVw8BWg.o: in function `main':
/src/link.c:1: undefined reference to `missing'
ld.lld-19: error: undefined symbol: gone
>>> referenced by link.c:1 (/src/lld.c:1)
>>>               /tmp/link-8a666a.o:(main)
)"),
              ElementsAre("/src/link.c:1:0: error: undefined reference to `missing'",
                          "/src/lld.c:1:0: error: undefined symbol: gone",
                          "/w/link.c:0:0: error: undefined reference to `missing'"));
}

TEST(GccMatcher, PathsAreSeenFromTheDirectoryThatMakeHasEntered) {
  OutputMatching matching({MatcherKind::kGcc}, {"/w", "", ""});
  matching.feed(1, "make -C sub\nmake[1]: Entering directory '/w/sub'\ngcc -Wall -c x.c\n");
  matching.feed(2, "x.c:1:17: warning: unused variable ‘u’ [-Wunused-variable]\n");
  matching.feed(1, "make[1]: Leaving directory '/w/sub'\n");
  matching.feed(2, "y.c:1:1: error: expected identifier\n");
  matching.finish();
  EXPECT_THAT(texts_of(matching.findings()),
              ElementsAre("/w/sub/x.c:1:17: warning: unused variable ‘u’ [-Wunused-variable]",
                          "/w/y.c:1:1: error: expected identifier"));
  EXPECT_THAT(found_in(MatcherKind::kGcc,
                       "ninja: Entering directory `build'\n../src/a.cpp:1:1: error: no\n"),
              ElementsAre("/w/src/a.cpp:1:1: error: no"));
}

TEST(GccMatcher, WhatOnlyLooksLikeAPlaceIsNone) {
  EXPECT_THAT(found_in(MatcherKind::kGcc, R"(12:34:56: build started
http://example.com:80: error
  a.c:1:1: error: indented
a.c:1234567890:1: error: a line of ten digits
a.c:1:1: errors are not meant
a.c:7:1: note: nothing came before it
make: *** [Makefile:3: all] Error 1
:1:1: error: of no file
)"),
              IsEmpty());
}

TEST(GccMatcher, AMessageKeepsBracketsThatNameNoOption) {
  EXPECT_THAT(found_in(MatcherKind::kGcc,
                       "a.c:1:1: error: no match [with T = int]\n"
                       "a.c:2:1: warning: x [bugprone-branch-clone,cert-x]\n"),
              ElementsAre("/w/a.c:1:1: error: no match [with T = int]",
                          "/w/a.c:2:1: warning: x [bugprone-branch-clone,cert-x]"));
}

}  // namespace
}  // namespace zsync::daemon
