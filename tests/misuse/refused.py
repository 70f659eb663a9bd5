#!/usr/bin/env python3
"""Bad use that the compiler refuses: each program has to fail with the message that names the cure, and compile without it.

    refused.py COMPILER INCLUDE
"""
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

HEAD = "#include <mutex>\n#include <shared_mutex>\n#include <zsync/zsync.hpp>\nstd::mutex mutex; std::shared_mutex shared;\n"
FOREIGN = """
struct Foreign {
  struct promise_type {
    Foreign get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() {}
  };
};
"""
LOCK = "a thread lock is held across co_await: use zsync::Mutex, or unlock before"
OUTSIDE = "co_await of zsync outside a zsync::Task"

# What is wrong, and what is right in its place; the message.
CASES = [
    ("zsync::Task<void> f(std::unique_lock<std::mutex> held) { co_await zsync::yield_now(); }",
     "zsync::Task<void> f(zsync::Permit held) { co_await zsync::yield_now(); }", LOCK),
    ("zsync::Task<int> f(int n, const std::shared_lock<std::shared_mutex>& held) { co_return n; }",
     "zsync::Task<int> f(int n, std::mutex& free) { co_return n; }", LOCK),
    (FOREIGN + "Foreign f() { co_await zsync::sleep(std::chrono::seconds(1)); }",
     "zsync::Task<void> f() { co_await zsync::sleep(std::chrono::seconds(1)); }", OUTSIDE),
    (FOREIGN + "Foreign f(zsync::Channel<int> in) { (void)co_await in.recv(); }",
     "zsync::Task<void> f(zsync::Channel<int> in) { (void)co_await in.recv(); }", OUTSIDE),
    (FOREIGN + "zsync::Task<int> g() { co_return 1; }\nForeign f() { (void)co_await g(); }",
     "zsync::Task<int> g() { co_return 1; }\nzsync::Task<void> f() { (void)co_await g(); }", OUTSIDE),
]  # fmt: skip


def compile_text(text):
    command = [*sys.argv[1].split(), "-std=c++20", "-fsyntax-only", "-w", "-I", sys.argv[2], "-x", "c++", "-"]
    return subprocess.run(command, input=HEAD + text, text=True, capture_output=True, check=False)


def problem_of(case):
    wrong, right, message = case
    refused = compile_text(wrong)
    if refused.returncode == 0:
        return f"was not refused: {wrong}"
    if message not in refused.stderr:
        return f"is not told {message!r}: {wrong}\n{refused.stderr}"
    accepted = compile_text(right)
    return f"was refused: {right}\n{accepted.stderr}" if accepted.returncode != 0 else None


def main():
    with ThreadPoolExecutor(max_workers=2) as pool:
        problems = [problem for problem in pool.map(problem_of, CASES) if problem]
    for problem in problems:
        print(problem)
    print(f"refused: {len(CASES)} programs, {len(problems)} failures")
    sys.exit(1 if problems else 0)


main()
