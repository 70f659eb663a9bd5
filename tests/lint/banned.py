"""Calls and habits that the house does not have; each finding names the cure."""
import re

from tree import Finding, Seed, Tree, line_of, matching_brace

ADAPTERS = "tests/lint/adapters.txt"
FOLDER_NAMES = {"util", "utils", "common", "misc", "helper", "helpers"}
MARKS = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")
TEXTS = (".hpp", ".cpp", ".py", ".sh", ".proto", ".md", ".ts", ".js", ".yaml", ".yml", "meson.build")

SLEEP = re.compile(r"(?<!co_await )\bsleep_(for|until)\s*\(|\b(usleep|nanosleep)\s*\(|(?<![\w:.])(::)?sleep\s*\(\s*\d+\s*\)")
FENCE = re.compile(r"\batomic_thread_fence\b")
USING = re.compile(r"\busing\s+namespace\b")
STDOUT = re.compile(r"\bstd::cout\b|(?<![\w.>])(std::)?(printf|puts|putchar)\s*\(|\bfprintf\s*\(\s*stdout\b")
CATCH_ALL = re.compile(r"\bcatch\s*\(\s*\.\.\.\s*\)")
THREAD = re.compile(r"\bstd::j?thread\s*[({][^;]*[)}]\s*\.\s*detach\s*\(")
THREAD_NAME = re.compile(r"\bstd::j?thread\s+(\w+)\s*[;({=]")
LOCK = re.compile(
    r"\b(?:std::(?:lock_guard|unique_lock|scoped_lock|shared_lock)|(?:absl::)?(?:Reader|Writer)?MutexLock)"
    r"\b\s*(?:<[^;>]*>)?\s+(\w+)\s*[({]"
)
AWAIT = re.compile(r"\bco_(await|yield)\b")
SPAWN = re.compile(r"\bspawn\s*\(\s*\[")

# Header-only and large: each unit that includes it compiles for seconds.
CLI11 = re.compile(r"#include <CLI/")
MAY_SEE_CLI11 = {"cli/command.cpp", "daemon/options.cpp"}

# Programs and parts whose work is to write to stdout or to end the process with a message.
MAY_PRINT = re.compile(r"^daemon/(main\.cpp|ops/|shim/main\.cpp)|/(diagnostics|assert)\w*\.cpp$|_test\.cpp$")


def is_test(file: str) -> bool:
    return file.endswith("_test.cpp") or file.startswith("tests/")


def simple_rules(tree: Tree, file: str):
    """Yields (rule, pattern, cure) of the rules that one pattern decides in this file."""
    yield "fence", FENCE, "use store_load_barrier() or an ordered atomic, so that TSan can follow"
    if file not in MAY_SEE_CLI11:
        yield "cli11", CLI11, "use cli/command.hpp; CLI11 is compiled anew by whoever includes it"
    if is_test(file):
        yield "sleeping-test", SLEEP, "wait for the event itself (a future, a pipe, a follow), or use virtual time"
    if file.endswith(".hpp"):
        yield "using-namespace", USING, "a header does not decide for its includers; write the names out"
    if file.startswith(("sdk/cpp/", "daemon/")) and not MAY_PRINT.search(file):
        yield "stdout", STDOUT, "return the text or a status; only main, daemon/ops and cli print"


def detached_threads(code: str):
    for match in THREAD.finditer(code):
        yield match.start()
    for name in set(THREAD_NAME.findall(code)):
        for match in re.finditer(rf"\b{name}\s*\.\s*detach\s*\(", code):
            yield match.start()


def scope_end(code: str, offset: int) -> int:
    depth = 0
    for i in range(offset, len(code)):
        if code[i] == "{":
            depth += 1
        elif code[i] == "}":
            depth -= 1
            if depth < 0:
                return i
    return len(code)


def awaits_under_lock(code: str):
    for match in LOCK.finditer(code):
        rest = code[match.end() : scope_end(code, match.end())]
        unlocked = re.search(rf"\b{match.group(1)}\s*\.\s*unlock\s*\(|\bstd::move\(\s*{match.group(1)}\s*\)", rest)
        held = rest[: unlocked.start()] if unlocked else rest
        wait = AWAIT.search(held)
        if wait:
            yield match.end() + wait.start()


def spawned_captures(code: str):
    for match in SPAWN.finditer(code):
        opening = match.end() - 1
        closing = matching_brace(code, opening)
        body = code.find("{", closing)
        # Between the captures and the body stand only parameters and the return type.
        if not code[opening + 1 : closing].strip() or body < 0 or ";" in code[closing:body]:
            continue
        signature = code[closing:body]
        if re.search(r"\bTask<", signature) or re.search(r"\bco_\w+", code[body : matching_brace(code, body)]):
            yield match.start()


def adapters(tree: Tree) -> dict[str, int]:
    lines = tree.text(ADAPTERS).splitlines() if ADAPTERS in tree.files else []
    return {line.split()[0]: number for number, line in enumerate(lines, 1) if line.strip() and line[0] != "#"}


def check_cpp(tree: Tree, file: str, may_catch: dict[str, int]) -> list[Finding]:
    code, found = tree.code(file), []

    def add(offset: int, rule: str, cure: str) -> None:
        found.append(Finding(file, line_of(code, offset), rule, cure))

    for rule, pattern, cure in simple_rules(tree, file):
        for match in pattern.finditer(code):
            add(match.start(), rule, cure)
    for offset in detached_threads(code):
        add(offset, "thread-detach", "give the thread an owner that joins it")
    for offset in awaits_under_lock(code):
        add(offset, "lock-across-await", "end the lock's scope before the co_await, or use zsync::Mutex")
    for offset in spawned_captures(code):
        add(offset, "lambda-coroutine", "the closure dies before the task; pass the values as arguments of spawn")
    if file not in may_catch and not file.endswith("_test.cpp"):
        for match in CATCH_ALL.finditer(code):
            add(match.start(), "catch-all", f"catch what the foreign code throws, or list the adapter in {ADAPTERS}")
    return found


def check(tree: Tree) -> list[Finding]:
    may_catch, found = adapters(tree), []
    for folder in tree.folders:
        if folder.split("/")[-1] in FOLDER_NAMES:
            found.append(Finding(folder, 1, "folder-name", "name the folder after what it is about"))
    for file in tree.files:
        if file.endswith(TEXTS) or file == "dev":
            for number, line in enumerate(tree.text(file).splitlines(), 1):
                if MARKS.search(line):
                    found.append(Finding(file, number, "mark", "do it now or file an issue; the code carries no marks"))
    for file in tree.cpp():
        found += check_cpp(tree, file, may_catch)
    for file, number in may_catch.items():
        if file not in tree.files or not CATCH_ALL.search(tree.code(file)):
            found.append(Finding(ADAPTERS, number, "adapter-unused", f"{file} catches nothing; remove the entry"))
    return found


SEEDS = [
    Seed(
        "calls",
        {
            "daemon/tasks/a_test.cpp": "std::this_thread::sleep_for(1ms);\nusleep(5);\nsleep(1);\nco_await sleep(1ms);\n",
            "daemon/tasks/a.cpp": "std::thread(f).detach();\nstd::thread t(f);\nt.detach();\nspawn(f).detach();\n"
            "std::atomic_thread_fence(x);\nstd::snprintf(b, 1, s);\nstd::printf(s);\n// std::cout is banned\n"
            "std::cout << 1;\n",
            "daemon/main.cpp": "std::printf(s);\n",
            "sdk/cpp/src/rt/a.hpp": "using namespace std;\n",
            "cli/a.hpp": "#include <CLI/CLI.hpp>\n",
            "cli/command.cpp": "#include <CLI/CLI.hpp>\n",
        },
        [f"daemon/tasks/a_test.cpp:{n}: sleeping-test" for n in (1, 2, 3)]
        + [f"daemon/tasks/a.cpp:{n}: thread-detach" for n in (1, 3)]
        + ["daemon/tasks/a.cpp:5: fence", "daemon/tasks/a.cpp:7: stdout", "daemon/tasks/a.cpp:9: stdout"]
        + ["sdk/cpp/src/rt/a.hpp:1: using-namespace", "cli/a.hpp:1: cli11"],
    ),
    Seed(
        "coroutines",
        {
            "daemon/tasks/a.cpp": "Task<void> f() {\n  { std::lock_guard lock(m); g(); }\n  co_await h();\n"
            "  absl::MutexLock held(&m);\n  if (x) {\n    co_await h();\n  }\n}\n"
            "Task<void> g() {\n  std::unique_lock<std::mutex> lock(m);\n  lock.unlock();\n  co_await h();\n}\n"
            "void s() {\n  spawn([&x]() -> Task<void> { co_await x; });\n  spawn([](int x) -> Task<void> { co_return; }, 1);\n"
            "  spawn([x] { work(x); });\n  executor.spawn([x, y]() { co_return; });\n}\n"
        },
        ["daemon/tasks/a.cpp:6: lock-across-await"] + [f"daemon/tasks/a.cpp:{n}: lambda-coroutine" for n in (15, 18)],
    ),
    Seed(
        "marks, folders, adapters",
        {
            "cli/util/a.cpp": "// TO" "DO: later\nint x;\n",
            "docs/a.md": "mktemp /tmp/a.XX" "XXXX\nFIX" "ME\n",
            "daemon/a.cpp": "try { f(); } catch (...) {\n}\n",
            "daemon/b.cpp": "try { f(); } catch (...) {\n}\n",
            ADAPTERS: "# path reason\ndaemon/b.cpp yaml-cpp throws\ndaemon/gone.cpp it went\n",
        },
        ["cli/util:1: folder-name", "cli/util/a.cpp:1: mark", "docs/a.md:2: mark", "daemon/a.cpp:1: catch-all"]
        + [f"{ADAPTERS}:3: adapter-unused"],
    ),
]
