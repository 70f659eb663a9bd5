"""Every operation of a public header has a row in the table of cancels, or a line in uncancelled.txt that says why not."""
import re

from tree import Finding, Seed, Tree, line_of

INCLUDE = "sdk/cpp/include/zsync/"
NAME_OF_TABLE = re.compile(r"^sdk/cpp/src/.*cancel\w*_test\.cpp$")
EXCEPTIONS = "tests/lint/uncancelled.txt"
OPERATION = re.compile(
    r"^ {0,2}(?:\[\[nodiscard\]\] )?(?:static |inline )*(?:Task<[^;={}]*>|(?:rt::)?\w+Operation(?:<\w+>)?) (\w+)\(", re.M
)
ROW = re.compile(r'cancel_row<[^"]*\(\s*"(\S+ \w+)')
INNER = re.compile(r"^namespace rt \{.*?^\}  // namespace rt$", re.M | re.S)
PRIVATE = re.compile(r"^ private:$.*?^(?: public:|\};)$", re.M | re.S)


def without(code: str, text: str, *patterns: re.Pattern) -> str:
    """The code with what the patterns find in the text blanked."""
    for pattern in patterns:
        for match in pattern.finditer(text):
            code = code[: match.start()] + re.sub(r"[^\n]", " ", match.group()) + code[match.end() :]
    return code


def operations(tree: Tree):
    for file in tree.files:
        if not file.startswith(INCLUDE) or not file.endswith(".hpp"):
            continue
        if file.startswith((INCLUDE + "rt/", INCLUDE + "client/", INCLUDE + "testing/")):
            continue
        code = without(tree.code(file), tree.text(file), INNER, PRIVATE)
        for match in OPERATION.finditer(code):
            yield file, line_of(code, match.start(1)), f"{file.rsplit('/', 1)[-1]} {match.group(1)}"


def excepted(tree: Tree) -> tuple[dict[str, int], list[Finding]]:
    """`header function: TEST in FILE`, or `header function: why`."""
    names, found = {}, []
    if EXCEPTIONS not in tree.files:
        return names, found
    for number, line in enumerate(tree.text(EXCEPTIONS).splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        name, _, reason = line.partition(": ")
        names[name] = number
        test = re.fullmatch(r"(\w+) in (\S+)", reason)
        if not reason or (test and (test.group(2) not in tree.files or test.group(1) not in tree.text(test.group(2)))):
            found.append(Finding(EXCEPTIONS, number, "cancel-row", "name a test that is there, or say why there is none"))
    return names, found


def check(tree: Tree) -> list[Finding]:
    present = list(operations(tree))
    if not present:
        return []
    rows = {row for file in tree.files if NAME_OF_TABLE.match(file) for row in ROW.findall(tree.text(file))}
    reasons, found = excepted(tree)
    for file, line, name in present:
        if name not in rows and name not in reasons:
            cure = f'add a row "{name}" to a table of rt/cancel_test.hpp, or say in {EXCEPTIONS} why there is none'
            found.append(Finding(file, line, "cancel-row", cure))
    names = {name for _, _, name in present}
    found += [Finding(EXCEPTIONS, number, "cancel-row", "there is no such operation, or it has a row: remove the line")
              for name, number in reasons.items() if name not in names or name in rows]  # fmt: skip
    return found


HEADER = """// Manual.
namespace rt {
Task<int> inner();
}  // namespace rt
class C {
 public:
  [[nodiscard]] RecvOperation<T> recv() { return {}; }
  static Task<absl::StatusOr<C>> connect(int to);
  Task<int> missing();
  Task<int> elsewhere();
 private:
  Task<int> hidden();
};
"""
SEEDS = [
    Seed(
        "an operation without a row, and exceptions that are none",
        {
            INCLUDE + "a.hpp": HEADER,
            "sdk/cpp/src/a/cancel_test.cpp": 'cancel_row<R>("a.hpp recv"), cancel_row<B<C>>(\n    "a.hpp connect", false)\n',
            "sdk/cpp/src/a/a_test.cpp": "TEST(A, AnotherOne) {}\n",
            EXCEPTIONS: "# Why.\na.hpp elsewhere: AnotherOne in sdk/cpp/src/a/a_test.cpp\na.hpp recv: has one\n"
            "a.hpp gone: it was removed\n",
        },
        [INCLUDE + "a.hpp:9: cancel-row", EXCEPTIONS + ":3: cancel-row", EXCEPTIONS + ":4: cancel-row"],
    )
]
