// The output below is that of tsc 5.9, pytest 9.2, cargo 1.95 and go 1.26, with long parts cut.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/diagnostics/matchers_test_kit.hpp"

namespace zsync::daemon {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(TscMatcher, PlainLinesTellPlaceCodeAndMessage) {
  EXPECT_THAT(
      found_in(MatcherKind::kTsc, R"(a.ts(1,7): error TS2322: Type '{}' is not assignable to 'I'.
  Types of property 'a' are incompatible.
src/(app)/b.ts(4,8): error TS2554: Expected 1 arguments, but got 2.
error TS6053: File 'nosuch.ts' not found.
  The file is in the program because:
    Root file specified for compilation
Found 3 errors.
)"),
      ElementsAre("/w:0:0: error: File 'nosuch.ts' not found.\n"
                  "  The file is in the program because:\n"
                  "    Root file specified for compilation [TS6053]",
                  "/w/a.ts:1:7: error: Type '{}' is not assignable to 'I'.\n"
                  "  Types of property 'a' are incompatible. [TS2322]",
                  "/w/src/(app)/b.ts:4:8: error: Expected 1 arguments, but got 2. [TS2554]"));
}

TEST(TscMatcher, PrettyLinesTellFurtherPlacesAsWell) {
  EXPECT_THAT(
      found_in(
          MatcherKind::kTsc,
          "\x1b[96ma.ts\x1b[0m:\x1b[93m4\x1b[0m:\x1b[93m8\x1b[0m - \x1b[91merror\x1b[0m\x1b[90m "
          "TS2554: \x1b[0mExpected 1 arguments, but got 2.\r\n"
          "\r\n"
          "\x1b[7m4\x1b[0m f(\"a\", 2);\n"
          "\x1b[7m \x1b[0m \x1b[91m       ~\x1b[0m\n"
          "\n"
          "a.ts:6:21 - error TS2322: Type 'string' is not assignable to type 'number'.\n"
          "\n"
          "6 const i: I = { a: { b: \"x\" } };\n"
          "                      ~\n"
          "\n"
          "  a.ts:5:20\n"
          "    5 interface I { a: { b: number } }\n"
          "                         ~\n"
          "    The expected type comes from property 'b' which is declared here\n"
          "\n"
          "\n"
          "Found 2 errors in the same file, starting at: a.ts:4\n"),
      ElementsAre("/w/a.ts:4:8: error: Expected 1 arguments, but got 2. [TS2554]",
                  "/w/a.ts:6:21: error: Type 'string' is not assignable to type 'number'. [TS2322]"
                  "\n  /w/a.ts:5:20: The expected type comes from property 'b' which is declared "
                  "here"));
}

constexpr std::string_view kPytestHead = R"(============ test session starts =============
platform linux -- Python 3.11.7, pytest-9.2.0, pluggy-1.7.0
rootdir: /w
collected 5 items

test_a.py FFEF.                                                          [100%]

)";

std::string in_session(std::string_view report) { return std::string(kPytestHead).append(report); }

constexpr std::string_view kLongReport =
    R"(========== ERRORS ===========
__________________________ ERROR at setup of test_fix __________________________

    @pytest.fixture
    def broken():
>       raise RuntimeError("no fixture")
E       RuntimeError: no fixture

test_a.py:11: RuntimeError
=================================== FAILURES ===================================
___________________________________ test_eq ____________________________________

    def test_eq():
        a = 1
>       assert a == 2, "they differ"
E       AssertionError: they differ
E       assert 1 == 2

test_a.py:6: AssertionError
----------------------------- Captured stdout call -----------------------------
other.py:99: in what the test printed
__________________________________ test_deep ___________________________________

    def test_deep():
>       outer(1)

test_a.py:8: 
_ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ 
mod.py:4: in outer
    return inner(x)
           ^^^^^^^^
_ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ 

x = 1

    def inner(x):
>       raise ValueError("bad value")
E       ValueError: bad value

mod.py:2: ValueError
_________________________________ test_p[a b] __________________________________
>       assert v == "c"
E       AssertionError: assert 'a b' == 'c'
E         
E         - c
E         + a b

test_a.py:17: AssertionError
=============================== warnings summary ===============================
test_a.py::test_p[a b]
  /w/test_a.py:16: DeprecationWarning: old thing
    warnings.warn("old thing", DeprecationWarning)

-- Docs: https://docs.pytest.org/en/stable/how-to/capture-warnings.html
=========================== short test summary info ============================
FAILED test_a.py::test_eq - AssertionError: they differ
FAILED test_a.py::test_deep - ValueError: bad value
FAILED test_a.py::test_p[a b] - AssertionError: assert 'a b' == 'c'
ERROR test_a.py::test_fix - RuntimeError: no fixture
=============== 3 failed, 1 passed, 2 warnings, 1 error in 0.16s ===============
)";

TEST(PytestMatcher, ALongTracebackTellsTheInnermostPlaceAndTheCallers) {
  EXPECT_THAT(
      found_in(MatcherKind::kPytest, in_session(kLongReport)),
      ElementsAre("/w/mod.py:2:0: error: ValueError: bad value [test_deep]\n"
                  "  /w/test_a.py:8:0: called here\n"
                  "  /w/mod.py:4:0: in outer",
                  "/w/test_a.py:11:0: error: RuntimeError: no fixture [test_fix]",
                  "/w/test_a.py:6:0: error: AssertionError: they differ\nassert 1 == 2 [test_eq]",
                  "/w/test_a.py:17:0: error: AssertionError: assert 'a b' == 'c'\n"
                  "- c\n+ a b [test_p[a b]]",
                  "/w/test_a.py:16:0: warning: old thing [DeprecationWarning]"));
}

TEST(PytestMatcher, AShortTracebackTellsTheSame) {
  const std::string output = in_session(R"(========= FAILURES ==========
__________________________________ test_deep ___________________________________
test_a.py:8: in test_deep
    outer(1)
mod.py:4: in outer
    return inner(x)
           ^^^^^^^^
mod.py:2: in inner
    raise ValueError("bad value")
E   ValueError: bad value
______________________________ TestIt.test_method ______________________________
test_a.py:20: in test_method
    assert 0
E   assert 0
=========================== short test summary info ============================
FAILED test_a.py::test_deep - ValueError: bad value
FAILED test_a.py::TestIt::test_method - assert 0
)");
  EXPECT_THAT(found_in(MatcherKind::kPytest, output),
              ElementsAre("/w/mod.py:2:0: error: ValueError: bad value [test_deep]\n"
                          "  /w/test_a.py:8:0: in test_deep\n"
                          "  /w/mod.py:4:0: in outer",
                          "/w/test_a.py:20:0: error: assert 0 [TestIt.test_method]"));
}

TEST(PytestMatcher, WhatCannotBeCollectedIsFoundInOnesOwnFile) {
  const std::string output = in_session(R"(========== ERRORS ===========
__________________________ ERROR collecting test_b.py __________________________
ImportError while importing test module '/w/test_b.py'.
Hint: make sure your test modules/packages have valid Python names.
Traceback:
/root/.pyenv/versions/3.11.7/lib/python3.11/importlib/__init__.py:126: in import_module
    return _bootstrap._gcd_import(name[level:], package, level)
test_b.py:1: in <module>
    import nosuchmodule
E   ModuleNotFoundError: No module named 'nosuchmodule'
__________________________ ERROR collecting test_c.py __________________________
/usr/lib/python3.11/site-packages/_pytest/python.py:528: in importtestmodule
    mod = import_path(
<frozen importlib._bootstrap>:1204: in _gcd_import
    ???
/usr/lib/python3.11/ast.py:50: in parse
    return compile(source, filename, mode, flags,
E     File "/w/test_c.py", line 1
E       def test_x(:
E                  ^
E   SyntaxError: invalid syntax
=========================== short test summary info ============================
ERROR test_b.py
ERROR test_c.py
!!!!!!!!!!!!!!!!!!! Interrupted: 2 errors during collection !!!!!!!!!!!!!!!!!!!!
)");
  EXPECT_THAT(found_in(MatcherKind::kPytest, output),
              ElementsAre("/w/test_b.py:1:0: error: ModuleNotFoundError: No module named "
                          "'nosuchmodule' [test_b.py]",
                          "/w/test_c.py:1:0: error: SyntaxError: invalid syntax [test_c.py]"));
}

TEST(PytestMatcher, OtherStylesOfTracebackTellThePlaceToo) {
  EXPECT_THAT(found_in(MatcherKind::kPytest, R"(============== FAILURES ===============
E   AssertionError: they differ
    assert 1 == 2
/w/test_a.py:6: AssertionError: they differ
E   ValueError: bad value
/w/mod.py:2: ValueError: bad value
=========================== short test summary info ============================
FAILED test_a.py::test_eq - AssertionError: they differ
)"),
              ElementsAre("/w/mod.py:2:0: error: ValueError: bad value",
                          "/w/test_a.py:6:0: error: AssertionError: they differ"));
  EXPECT_THAT(found_in(MatcherKind::kPytest, R"(============== FAILURES ===============
__________________________________ test_deep ___________________________________
Traceback (most recent call last):
  File "/usr/lib/python3.11/site-packages/_pytest/python.py", line 187, in pytest_pyfunc_call
    result = testfunction(**testargs)
             ^^^^^^^^^^^^^^^^^^^^^^^^
  File "/w/test_a.py", line 8, in test_deep
    outer(1)
  File "/w/mod.py", line 2, in inner
    raise ValueError("bad value")
ValueError: bad value
)"),
              ElementsAre("/w/mod.py:2:0: error: ValueError: bad value [test_deep]\n"
                          "  /w/test_a.py:8:0: in test_deep"));
}

TEST(PytestMatcher, WithoutTracebacksTheSummaryIsWhatThereIs) {
  EXPECT_THAT(found_in(MatcherKind::kPytest, R"(===== short test summary info =====
FAILED test_a.py::test_eq - AssertionError: they differ
)"),
              ElementsAre("/w/test_a.py:0:0: error: AssertionError: they differ [test_eq]"));
}

TEST(PytestMatcher, WhatTestsPrintWhileTheyRunIsNotItsReport) {
  EXPECT_THAT(
      found_in(MatcherKind::kPytest, in_session("a.py:1: ValueError\nFAILED a.py::b - c\n")),
      IsEmpty());
}

TEST(GoMatcher, BuildAndVetTellPlaceAndMessage) {
  EXPECT_THAT(found_in(MatcherKind::kGo, R"(# example.com/m/p
p/p.go:3:16: declared and not used: x
p/p.go:3:30: too many arguments in call to F
	have (string, number, number)
	want (int)
p/p.go:3:28: fmt.Printf format %d has arg "s" of wrong type string
# example.com/m/p
# [example.com/m/p]
vet: p/q.go:1:19: expected ')', found 'EOF'
FAIL	example.com/m/p [build failed]
FAIL
)"),
              ElementsAre("/w/p/p.go:3:16: error: declared and not used: x",
                          "/w/p/p.go:3:30: error: too many arguments in call to F\n"
                          "\thave (string, number, number)\n\twant (int)",
                          "/w/p/p.go:3:28: error: fmt.Printf format %d has arg \"s\" of wrong "
                          "type string",
                          "/w/p/q.go:1:19: error: expected ')', found 'EOF'"));
}

constexpr std::string_view kGoTest = R"(--- FAIL: TestF (0.00s)
    p_test.go:4: F() = 1, want 2
    --- FAIL: TestF/sub_case (0.00s)
        p_test.go:6: multi
            line
--- FAIL: TestPanic (0.00s)
panic: assignment to entry in nil map [recovered, repanicked]

goroutine 22 [running]:
testing.tRunner.func1.2({0x55a7a0, 0x6cae70})
	/usr/local/go/src/testing/testing.go:1974 +0x232
example.com/m/p.TestPanic(0x2fb51002c908?)
	/w/p/p_test.go:8 +0x28
FAIL	example.com/m/p	0.025s
FAIL
)";

TEST(GoMatcher, FailedTestsAreFoundInTheDirectoryOfTheirPackage) {
  EXPECT_THAT(found_in(MatcherKind::kGo, kGoTest, {"/w/p", "example.com/m", "/w"}),
              ElementsAre("/w/p/p_test.go:8:0: error: panic: assignment to entry in nil map "
                          "[recovered, repanicked] [TestPanic]",
                          "/w/p/p_test.go:4:0: error: F() = 1, want 2 [TestF]",
                          "/w/p/p_test.go:6:0: error: multi\nline [TestF/sub_case]"));
}

TEST(GoMatcher, WithVOnlyWhatFailedTestsSaidCounts) {
  EXPECT_THAT(found_in(MatcherKind::kGo, R"(=== RUN   TestGood
    p_test.go:2: a note of a test that passes
--- PASS: TestGood (0.00s)
=== RUN   TestF
    p_test.go:4: F() = 1, want 2
=== RUN   TestF/sub_case
    p_test.go:6: multi
        line
--- FAIL: TestF (0.00s)
    --- FAIL: TestF/sub_case (0.00s)
FAIL
FAIL	example.com/m/p	0.028s
)",
                       {"/w", "example.com/m", "/w"}),
              ElementsAre("/w/p/p_test.go:4:0: error: F() = 1, want 2 [TestF]",
                          "/w/p/p_test.go:6:0: error: multi\nline [TestF/sub_case]"));
}

// A line of cargo 1.95 without what is not read.
constexpr std::string_view kCargo =
    R"({"reason":"compiler-message","package_id":"path+file:///w/crates/a#m@0.1.0",)"
    R"("manifest_path":"/w/crates/a/Cargo.toml","target":{"kind":["bin"],"name":"m",)"
    R"("src_path":"/w/crates/a/src/main.rs","edition":"2021","test":true},"message":{)"
    R"("rendered":"error[E0308]: mismatched types\n --> src/util.rs:1:30\n",)"
    R"("$message_type":"diagnostic","children":[{"children":[],"code":null,"level":"help",)"
    R"("message":"try using a conversion method","rendered":null,"spans":[{"byte_end":30,)"
    R"("column_end":31,"column_start":31,"expansion":null,"file_name":"crates/a/src/util.rs",)"
    R"("is_primary":true,"label":null,"line_end":1,"line_start":1}]},{"children":[],)"
    R"("code":null,"level":"note","message":"on by default","spans":[]}],)"
    R"("level":"error","message":"mismatched \"types\" \u00e9","spans":[{"column_end":31,)"
    R"("column_start":30,"expansion":null,"file_name":"crates/a/src/util.rs",)"
    R"("is_primary":true,"label":"expected `String`, found `i32`","line_end":1,)"
    R"("line_start":1,"text":[{"highlight_end":31}]},{"column_end":27,"column_start":21,)"
    R"("expansion":null,"file_name":"crates/a/src/util.rs","is_primary":false,)"
    R"("label":"expected because of return type","line_end":1,"line_start":1}],)"
    R"("code":{"code":"E0308","explanation":"Expected type did not match.\n"}}})";

TEST(CargoMatcher, SpansAreSeenFromTheWorkspaceWhereverCargoRuns) {
  for (const char* cwd : {"/w", "/w/crates/a", "/elsewhere"}) {
    EXPECT_THAT(found_in(MatcherKind::kCargoJson, std::string(kCargo) + "\n", {cwd, "", ""}),
                ElementsAre("/w/crates/a/src/util.rs:1:30: error: mismatched \"types\" é\n"
                            "expected `String`, found `i32`\nnote: on by default [E0308]\n"
                            "  /w/crates/a/src/util.rs:1:21: expected because of return type\n"
                            "  /w/crates/a/src/util.rs:1:31: help: try using a conversion method"))
        << cwd;
  }
}

TEST(CargoMatcher, APanickingTestIsAnErrorAtItsPlace) {
  EXPECT_THAT(found_in(MatcherKind::kCargoJson, R"({"reason":"build-finished","success":true}

running 1 test
test util::tests::t ... FAILED

failures:

---- util::tests::t stdout ----

thread 'util::tests::t' (21093) panicked at src/util.rs:2:43:
assertion `left == right` failed
  left: "1"
 right: "2"
stack backtrace:
   0: __rustc::rust_begin_unwind
)"),
              ElementsAre("/w/src/util.rs:2:43: error: assertion `left == right` failed\n"
                          "  left: \"1\"\n right: \"2\" [util::tests::t]"));
}

TEST(CargoMatcher, WhatIsNoWholeMessageIsLeftOut) {
  EXPECT_THAT(found_in(MatcherKind::kCargoJson,
                       absl::StrCat(std::string(kCargo.substr(0, kCargo.size() - 1)),
                                    "\n{\n{}\n[]\n{\"a\":}\n",
                                    "{\"reason\":\"compiler-message\",\"message\":7}\n")),
              IsEmpty());
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "{\"a\":";
  EXPECT_THAT(found_in(MatcherKind::kCargoJson, deep), IsEmpty());
}

TEST(OutputMatching, BeyondTheLimitsIsCountedAndNotKept) {
  OutputMatching matching({MatcherKind::kGcc}, {"/w", "", ""});
  for (size_t i = 0; i < kDiagnosticsPerTaskMax + 5; ++i) {
    matching.feed(2, absl::StrCat("a.c:", i + 1, ":1: error: no\n"));
  }
  matching.finish();
  EXPECT_EQ(matching.findings().count(), kDiagnosticsPerTaskMax);
  EXPECT_EQ(matching.findings().left_out(), 5u);
}

TEST(OutputMatching, ALineOfAnyLengthIsCut) {
  OutputMatching matching({MatcherKind::kGcc, MatcherKind::kCargoJson}, {"/w", "", ""});
  matching.feed(2, "a.c:1:1: error: ");
  for (size_t i = 0; i < 3 * kDiagnosticLineBytesMax / 1024; ++i) {
    matching.feed(2, std::string(1024, 'x'));
  }
  matching.feed(2, "\nb.c:1:1: error: next\n");
  matching.feed(1, "{\"reason\":\"compiler-message\",\"a\":\"");
  matching.feed(1, std::string(2 * kDiagnosticLineBytesMax, 'x'));
  matching.feed(1, "\"}\n");
  matching.finish();
  const auto& found = matching.findings().by_path();
  EXPECT_EQ(found.at("/w/a.c").at(0).message.size(), kDiagnosticMessageBytesMax);
  EXPECT_EQ(found.at("/w/b.c").at(0).message, "next");
  EXPECT_EQ(matching.findings().left_out(), 1u);
}

TEST(OutputMatching, APathWithALineFeedIsLeftOut) {
  OutputMatching matching({MatcherKind::kCargoJson}, {"/w", "", ""});
  for (const char* name : {"a\\nb.rs", "c.rs"}) {
    matching.feed(1,
                  absl::StrCat(R"({"reason":"compiler-message","message":{"level":"error",)",
                               R"("message":"no","spans":[{"file_name":")", name,
                               R"(","line_start":1,"column_start":1,"is_primary":true}]}})", "\n"));
  }
  matching.finish();
  EXPECT_THAT(texts_of(matching.findings()), ElementsAre("/w/c.rs:1:1: error: no"));
  EXPECT_EQ(matching.findings().left_out(), 1u);
}

TEST(OutputMatching, ALineWhoseBeginningIsMissingIsNone) {
  OutputMatching matching({MatcherKind::kGcc}, {"/w", "", ""});
  matching.feed(2, "a.c:1:1: err");
  matching.gap();
  matching.feed(2, "or: x\nb.c:1:1: error: no\n");
  matching.finish();
  EXPECT_THAT(texts_of(matching.findings()), ElementsAre("/w/b.c:1:1: error: no"));
}

TEST(OutputMatching, StreamsAreReadApart) {
  OutputMatching matching({MatcherKind::kGcc}, {"/w", "", ""});
  matching.feed(2, "a.c:1:1: err");
  matching.feed(1, "compiling\nb.c:1:1: ");
  matching.feed(2, "or: no\n");
  matching.feed(1, "error: yes");
  matching.finish();
  EXPECT_THAT(texts_of(matching.findings()),
              ElementsAre("/w/a.c:1:1: error: no", "/w/b.c:1:1: error: yes"));
}

TEST(OutputMatching, BytesThatAreNoTextBecomeText) {
  EXPECT_THAT(found_in(MatcherKind::kGcc, "a\xff.c:1:1: error: \xc3(\n"),
              ElementsAre("/w/a\xEF\xBF\xBD.c:1:1: error: \xEF\xBF\xBD("));
}

TEST(Matchers, AreKnownByNameAndClangIsGcc) {
  EXPECT_EQ(*matcher_of("clang", "f"), MatcherKind::kGcc);
  EXPECT_EQ(*matcher_of("cargo-json", "f"), MatcherKind::kCargoJson);
  const absl::Status unknown = matcher_of("pyest", "spec.matchers").status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(unknown.message()), testing::HasSubstr("pyest"));
}

}  // namespace
}  // namespace zsync::daemon
