"""No thread lock is alive at a co_await: clang-tidy's misc-coroutine-hostile-raii, on the files where one could be.

The rule in banned.py reads text and sees what stands in one line; this one sees through aliases, auto and members, for a second
or two a file. It needs no build: messages are generated here.
"""
import os
import re
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor

from tree import Finding, Seed, Tree

PROGRAM = "clang-tidy-19"
CHECK = "misc-coroutine-hostile-raii"
LOCKS = ["std::lock_guard", "std::unique_lock", "std::scoped_lock", "std::shared_lock", "absl::MutexLock",
         "absl::ReaderMutexLock", "absl::WriterMutexLock", "absl::ReleasableMutexLock"]  # fmt: skip
OWN_LOCK = re.compile(r"\bclass\s+ABSL_SCOPED_LOCKABLE\s+(\w+)")
AWAIT = re.compile(r"\bco_(await|yield)\b")
WARNING = re.compile(r"^(.*?):(\d+):\d+: (?:warning|error): (.*)$")


def locks_of(tree: Tree) -> list[str]:
    return LOCKS + sorted({name for file in tree.cpp() for name in OWN_LOCK.findall(tree.code(file))})


def candidates(tree: Tree, locks: list[str]) -> list[str]:
    named = re.compile(r"\b(" + "|".join(lock.rsplit("::", 1)[-1] for lock in locks) + r")\b")
    return [file for file in tree.cpp() if AWAIT.search(tree.code(file)) and named.search(tree.code(file))]


def generate_messages(tree: Tree, folder: str) -> str | None:
    protos = [f.removeprefix("proto/") for f in tree.files if f.startswith("proto/") and f.endswith(".proto")]
    plugin = shutil.which("grpc_cpp_plugin")
    if not protos or plugin is None:
        return None
    command = ["protoc", "-I" + str(tree.root / "proto"), "--cpp_out=" + folder, "--grpc_out=" + folder,
               "--plugin=protoc-gen-grpc=" + plugin, *protos]  # fmt: skip
    result = subprocess.run(command, text=True, capture_output=True, check=False)
    return None if result.returncode == 0 else (result.stderr.splitlines() or ["?"])[0]


def tidy(tree: Tree, file: str, locks: list[str], generated: str) -> list[Finding]:
    config = f"{{Checks: '-*,{CHECK}', CheckOptions: {{{CHECK}.RAIITypesList: '{';'.join(locks)}'}}}}"
    includes = [f"-I{tree.root / folder}" for folder in ("sdk/cpp/include", "sdk/cpp/src", ".")]
    flags = ["-xc++", "-std=c++20", *includes, "-isystem", generated, "-w", "-DZSYNC_VERSION=\"0\""]
    result = subprocess.run(
        [PROGRAM, "--quiet", f"--config={config}", str(tree.root / file), "--", *flags],
        text=True, capture_output=True, check=False,
    )  # fmt: skip
    found = []
    for line in result.stdout.splitlines():
        if not (warning := WARNING.match(line)):
            continue
        if CHECK in warning.group(3):
            cure = "a thread lock is alive at a co_await below: unlock before, or use zsync::Mutex"
        else:
            cure = f"{PROGRAM} cannot read it: {warning.group(3)}"
        where = os.path.relpath(warning.group(1), tree.root)
        found.append(Finding(where, int(warning.group(2)), "lock-across-await", cure))
    if result.returncode != 0 and not found:
        found.append(Finding(file, 1, "lock-across-await", f"{PROGRAM}: {(result.stderr.splitlines() or ['?'])[-1]}"))
    return found


def check(tree: Tree) -> list[Finding]:
    locks = locks_of(tree)
    files = candidates(tree, locks)
    if not files:
        return []
    if shutil.which(PROGRAM) is None:
        return [Finding(files[0], 1, "lock-across-await", f"{PROGRAM} is missing; run ./dev setup test")]
    with tempfile.TemporaryDirectory() as generated, ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        if error := generate_messages(tree, generated):
            return [Finding(files[0], 1, "lock-across-await", f"protoc: {error}")]
        found = pool.map(lambda file: tidy(tree, file, locks, generated), files)
        return sorted({finding for findings in found for finding in findings})


TASK = """#include <coroutine>
#include <mutex>
#define ABSL_SCOPED_LOCKABLE
struct Task {
  struct promise_type {
    Task get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() {}
  };
};
class ABSL_SCOPED_LOCKABLE OwnHold { public: explicit OwnHold(std::mutex& m) : m_(m) { m.lock(); } ~OwnHold() { m_.unlock(); }
 private: std::mutex& m_; };
std::mutex mutex;
"""
FIRST = TASK.count("\n") + 1
SEEDS = [
    Seed(
        "locks that text does not show, and locks that end before",
        {
            "daemon/x/alias.cpp": TASK + "using Held = std::unique_lock<std::mutex>;\n"
            "Task f() {\n  Held held(mutex);\n  co_await std::suspend_never();\n}\n",
            "daemon/x/auto.cpp": TASK + "auto held() { return std::unique_lock<std::mutex>(mutex); }\n"
            "Task f() {\n  auto lock = held();\n  co_await std::suspend_never();\n}\n",
            "daemon/x/own.cpp": TASK + "using H = OwnHold;\nTask f() {\n  H hold(mutex);\n  co_await std::suspend_never();\n}\n",
            "daemon/x/ends.cpp": TASK + "Task f() {\n  { OwnHold hold(mutex); }\n  co_await std::suspend_never();\n}\n",
            "daemon/x/broken.cpp": TASK + "Task f() { co_await missing; }\n",
        },
        [
            f"daemon/x/alias.cpp:{FIRST + 2}: lock-across-await",
            f"daemon/x/auto.cpp:{FIRST + 2}: lock-across-await",
            f"daemon/x/own.cpp:{FIRST + 2}: lock-across-await",
            f"daemon/x/broken.cpp:{FIRST}: lock-across-await",
        ],
    )
]
