"""Files of at most 600 lines, functions of at most 70; debts.txt lists the exceptions and may only shrink."""
import ast
import re
import subprocess

from tree import Finding, Seed, Tree, line_of, matching_brace

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
DEBTS = "tests/lint/debts.txt"
SOURCES = (".hpp", ".cpp", ".py", ".sh", ".ts", ".js", ".proto")
NOT_A_FUNCTION = re.compile(r"^\s*(\[\[[^\]]*\]\]\s*)?(template\s*<.*>\s*)?(inline\s+)?(namespace|class|struct|union|enum|extern)\b", re.S)
DIRECTIVE = re.compile(r"^[ \t]*#(?:\\\n|[^\n])*", re.MULTILINE)


def cpp_functions(code: str):
    """Yields (name, first line, lines) of every function body outside another one."""
    code = DIRECTIVE.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), code)
    header_start = offset = 0
    while offset < len(code):
        char = code[offset]
        if char in ";}":
            header_start = offset + 1
        elif char == "(":  # default arguments may hold braces
            offset = matching_brace(code, offset)
        elif char == "{":
            header = code[header_start:offset]
            if "(" in header and not NOT_A_FUNCTION.match(header):
                end = matching_brace(code, offset)
                after = code[end + 1 :].lstrip()[:1]
                # `: member_{value}, other_{value} {`: an initializer, the body is still to come.
                if after not in (",", "{"):
                    begin = header_start + len(header) - len(header.lstrip())
                    call = re.search(r"([~\w:]+|operator\s*\S+?)\s*\(([^()]*)", header)
                    name = call.group(1) if call else "?"
                    if name.startswith("TEST"):
                        name = ".".join(part.strip() for part in call.group(2).split(","))
                    yield name, line_of(code, begin), code.count("\n", begin, end) + 1
                    header_start = end + 1
                offset = end
            elif re.search(r"=\s*$|\w\s*$", header) and not NOT_A_FUNCTION.match(header):
                offset = matching_brace(code, offset)  # a braced value
            else:
                header_start = offset + 1
        offset += 1


def python_functions(text: str):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, node.lineno, node.end_lineno - node.lineno + 1


def functions(tree: Tree, file: str):
    if file.endswith((".hpp", ".cpp")):
        return cpp_functions(tree.code(file))
    return python_functions(tree.text(file)) if file.endswith(".py") else ()


def parse_debts(text: str) -> dict[str, tuple[int, int]]:
    """`path` or `path:function`, then its lines -> (lines, line number in debts.txt)."""
    debts = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#")[0].split()
        if len(words) == 2 and words[1].isdigit():
            debts[words[0]] = (int(words[1]), number)
    return debts


def committed_debts(tree: Tree) -> dict[str, tuple[int, int]] | None:
    command = ["git", "-C", str(tree.root), "show", f"HEAD:./{DEBTS}"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return parse_debts(result.stdout) if result.returncode == 0 else None


def measure(tree: Tree) -> dict[str, tuple[str, int, int, int]]:
    """Everything over its limit: key -> (file, line, lines, limit)."""
    over = {}
    for file in tree.files:
        if not (file.endswith(SOURCES) or file == "dev"):
            continue
        lines = tree.text(file).count("\n")
        if lines > FILE_LINES_MAX:
            over[file] = (file, FILE_LINES_MAX, lines, FILE_LINES_MAX)
        for name, line, lines in functions(tree, file):
            if lines > FUNCTION_LINES_MAX:
                over[f"{file}:{name}"] = (file, line, lines, FUNCTION_LINES_MAX)
    return over


def check(tree: Tree) -> list[Finding]:
    debts = parse_debts(tree.text(DEBTS)) if DEBTS in tree.files else {}
    over, found = measure(tree), []
    for key, (file, line, lines, limit) in over.items():
        allowed = debts.get(key, (limit, 0))[0]
        if lines > allowed:
            what = "function" if limit == FUNCTION_LINES_MAX else "file"
            found.append(Finding(file, line, f"{what}-size", f"{key}: {lines} lines, at most {allowed}; split it"))
    before = committed_debts(tree)
    for key, (lines, number) in debts.items():
        if key not in over:
            found.append(Finding(DEBTS, number, "debt-paid", f"{key} is within the limit; remove the entry"))
        elif over[key][2] < lines:
            found.append(Finding(DEBTS, number, "debt-paid", f"{key} has shrunk; lower the entry to {over[key][2]}"))
        if before is not None and lines > before.get(key, (0, 0))[0]:
            found.append(Finding(DEBTS, number, "debt-grown", f"{key}: debts only shrink; split the code instead"))
    return found


def body(lines: int) -> str:
    return "  f();\n" * lines


CPP_SEED = (
    "#define OPEN {\n"
    "namespace a {\n"
    "struct S {\n"
    f"  S(int x = int{{3}}) : a_{{1}}, b_{{2}} {{\n{body(80)}  }}\n"
    "  int a_ = 0, b_{0};\n"
    "};\n"
    'const char* text = "void f() {";\n'
    f"void fits() {{\n{body(60)}}}\n"
    f"enum class E {{\n{'  kA,' * 2}\n}};\n"
    f"TEST(Thing, IsLong) {{\n  auto g = [] {{ return 1'000; }};\n{body(90)}}}\n"
    "}\n"
)
SEEDS = [
    Seed(
        "long functions of every shape",
        {"daemon/a.cpp": CPP_SEED, "tests/a.py": "def f():\n" + "    pass\n" * 71},
        # The constructor stands in line 4, its body ends in 85; fits() stands in 89 to 150; the test follows the enum.
        ["daemon/a.cpp:4: function-size", "daemon/a.cpp:154: function-size", "tests/a.py:1: function-size"],
    ),
    Seed("a long file", {"cli/a.cpp": "int x;\n" * 601}, ["cli/a.cpp:600: file-size"]),
    Seed(
        "debts: one allowed, one paid, one lower, one outgrown",
        {
            "cli/a.cpp": "int x;\n" * 601,
            "cli/b.cpp": "int x;\n" * 610,
            "cli/c.cpp": "int x;\n" * 620,
            DEBTS: "# paths\ncli/a.cpp 601\ncli/b.cpp 611\ncli/c.cpp 619\ncli/gone.cpp 700\n",
        },
        [f"{DEBTS}:3: debt-paid", "cli/c.cpp:600: file-size", f"{DEBTS}:5: debt-paid"],
    ),
    Seed(
        "debts: one added and one raised since the last commit",
        {
            "cli/a.cpp": "int x;\n" * 601,
            "cli/b.cpp": "int x;\n" * 610,
            "cli/c.cpp": "int x;\n" * 620,
            DEBTS: "cli/a.cpp 601\ncli/b.cpp 610\ncli/c.cpp 620\n",
        },
        [f"{DEBTS}:2: debt-grown", f"{DEBTS}:3: debt-grown"],
        committed={DEBTS: "cli/a.cpp 601\ncli/b.cpp 605\n"},
    ),
]
