"""Every C++ file is as clang-format-19 writes it."""
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

from tree import Finding, Seed, Tree

TOOL = "clang-format-19"
REPORT = re.compile(r"^(.*?):(\d+):\d+: (?:error|warning): code should be clang-formatted")


def check_some(tree: Tree, files: list[str]) -> list[Finding]:
    if not files:
        return []
    command = [TOOL, "--dry-run", "--style=file", "--Werror", *files]
    result = subprocess.run(command, cwd=tree.root, capture_output=True, text=True, check=False)
    first = {}
    for line in result.stderr.splitlines():
        match = REPORT.match(line)
        if match:
            first.setdefault(match.group(1), int(match.group(2)))
    if result.returncode != 0 and not first:
        return [Finding(files[0], 1, "format", f"{TOOL} failed: {result.stderr.strip().splitlines()[:1]}")]
    return [Finding(file, line, "format", f"{TOOL} -i {file}") for file, line in first.items()]


def check(tree: Tree) -> list[Finding]:
    files = tree.cpp()
    if files and shutil.which(TOOL) is None:
        return [Finding(files[0], 1, "format", f"{TOOL} is missing; run ./dev setup test")]
    parts = os.cpu_count() or 1
    with ThreadPoolExecutor(max_workers=parts) as pool:
        batches = pool.map(lambda part: check_some(tree, files[part::parts]), range(parts))
        return [finding for batch in batches for finding in batch]


SEEDS = [
    Seed(
        "one file as it should be, one not",
        {
            ".clang-format": "BasedOnStyle: Google\nColumnLimit: 100\n",
            "cli/good.cpp": "int f() { return 1; }\n",
            "cli/bad.cpp": "int g();\nint  f( ) {return 1;}\n",
        },
        ["cli/bad.cpp:2: format"],
    )
]
