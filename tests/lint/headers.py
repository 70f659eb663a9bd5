"""Public headers: `#pragma once`, an opening comment, under 300 lines, and each compiles alone."""
import os
import re
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor

from tree import Finding, Seed, Tree

HEADER_LINES_MAX = 300
INCLUDE = "sdk/cpp/include"
CPP20 = ["clang++-19", "-std=c++20"]
# The client promises to work in any C++17 program.
CLIENT = "zsync/client.hpp"
CLIENT_COMPILERS = [["clang++-19", "-std=c++17"], ["g++", "-std=c++17"]]


def compile_alone(tree: Tree, generated: str, header: str, compiler: list[str]) -> list[Finding]:
    file = f"{INCLUDE}/{header}"
    if shutil.which(compiler[0]) is None:
        return [Finding(file, 1, "header-alone", f"{compiler[0]} is missing; run ./dev setup test")]
    flags = ["-fsyntax-only", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", "-x", "c++", "-"]
    paths = ["-I", str(tree.root / INCLUDE), "-isystem", generated]
    result = subprocess.run(
        compiler + paths + flags, input=f"#include <{header}>\n", text=True, capture_output=True, check=False
    )
    if result.returncode == 0:
        return []
    errors = [line for line in result.stderr.splitlines() if "error:" in line]
    first = (errors or result.stderr.splitlines() or ["no message"])[0].replace(str(tree.root) + "/", "")
    return [Finding(file, 1, "header-alone", f"does not compile alone with {' '.join(compiler)}: {first}")]


def generate_messages(tree: Tree, folder: str) -> list[Finding]:
    """The client shows generated messages; they are made here, so that lint needs no build."""
    protos = [f.removeprefix("proto/") for f in tree.files if f.startswith("proto/") and f.endswith(".proto")]
    if not protos:
        return []
    if shutil.which("protoc") is None:
        return [Finding("proto/" + protos[0], 1, "header-alone", "protoc is missing; run ./dev setup test")]
    command = ["protoc", "-I" + str(tree.root / "proto"), "--cpp_out=" + folder, *protos]
    result = subprocess.run(command, text=True, capture_output=True, check=False)
    if result.returncode == 0:
        return []
    return [Finding("proto/" + protos[0], 1, "header-alone", f"protoc: {(result.stderr.splitlines() or ['?'])[0]}")]


def check_text(tree: Tree, file: str) -> list[Finding]:
    lines = tree.text(file).splitlines()
    found = []
    if not lines or not lines[0].startswith("//"):
        found.append(Finding(file, 1, "header-manual", "open with a comment that says what this is for"))
    if not any(line.strip() == "#pragma once" for line in lines):
        found.append(Finding(file, 1, "header-once", "add `#pragma once` below the opening comment"))
    if len(lines) >= HEADER_LINES_MAX:
        cure = f"{len(lines)} lines; a public header stays under {HEADER_LINES_MAX}: one idea a header"
        found.append(Finding(file, HEADER_LINES_MAX, "header-size", cure))
    return found


def check_precompiled(tree: Tree, file: str) -> list[Finding]:
    """What meson precompiles has the path of this checkout in it, which a compiler cache brings to another one."""
    cure = "name what the top meson.build precompiles as a dependency: precompiled['library']"
    return [
        Finding(file, number, "pch", cure)
        for number, line in enumerate(tree.text(file).splitlines(), 1)
        if re.search(r"\bc(pp)?_pch\s*:", line)
    ]


def check(tree: Tree) -> list[Finding]:
    public = [f for f in tree.files if f.startswith(INCLUDE + "/") and f.endswith(".hpp")]
    found = [finding for file in public for finding in check_text(tree, file)]
    for file in tree.files:
        if file.endswith("meson.build"):
            found += check_precompiled(tree, file)
    jobs = []
    for file in public:
        header = file.removeprefix(INCLUDE + "/")
        jobs.append((header, CPP20))
        if header == CLIENT:
            jobs += [(header, compiler) for compiler in CLIENT_COMPILERS]
    with tempfile.TemporaryDirectory() as generated, ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        found += generate_messages(tree, generated)
        for findings in pool.map(lambda job: compile_alone(tree, generated, *job), jobs):
            found += findings
    return found


GOOD = "// A good header.\n#pragma once\n#include <string>\ninline std::string f() { return {}; }\n"
SEEDS = [
    Seed(
        "one good header and one of each fault",
        {
            f"{INCLUDE}/zsync/good.hpp": GOOD,
            f"{INCLUDE}/zsync/bare.hpp": "#pragma once\n",
            f"{INCLUDE}/zsync/twice.hpp": "// No guard.\nint f();\n",
            f"{INCLUDE}/zsync/leans.hpp": "// Leans on another.\n#pragma once\nstd::string f();\n",
            f"{INCLUDE}/zsync/long.hpp": GOOD + "\n" * HEADER_LINES_MAX,
            "cli/meson.build": "# No cpp_pch here.\nlibrary('a', 'a.cpp',\n  cpp_pch: 'pch/a_pch.hpp')\n",
            f"{INCLUDE}/{CLIENT}": "// Not C++17.\n#pragma once\n#include <span>\nstd::span<int> f();\n",
        },
        [
            f"{INCLUDE}/zsync/bare.hpp:1: header-manual",
            f"{INCLUDE}/zsync/twice.hpp:1: header-once",
            f"{INCLUDE}/zsync/leans.hpp:1: header-alone",
            f"{INCLUDE}/zsync/long.hpp:{HEADER_LINES_MAX}: header-size",
            f"{INCLUDE}/{CLIENT}:1: header-alone",
            "cli/meson.build:3: pch",
        ],
    )
]
