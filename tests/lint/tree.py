"""The checkout as the lint programs see it: its own source files, and C++ text without comments and literals."""
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

SKIPPED_FOLDERS = {".git", "build", "node_modules", "__pycache__", ".cache", "dist", "golden", "gen"}
CPP = (".hpp", ".cpp")


@dataclass(frozen=True, order=True)
class Finding:
    file: str
    line: int
    rule: str
    cure: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.rule}: {self.cure}"


class Tree:
    """Every file of a checkout by its path relative to the root, whether committed or not."""

    def __init__(self, root: Path):
        self.root = root
        self.files: list[str] = []
        self.folders: list[str] = []
        for folder, folders, files in os.walk(root):
            folders[:] = sorted(f for f in folders if f not in SKIPPED_FOLDERS and not f.endswith(".egg-info"))
            here = Path(folder).relative_to(root).as_posix()
            prefix = "" if here == "." else here + "/"
            self.folders += [prefix + f for f in folders]
            self.files += [prefix + f for f in sorted(files) if not (Path(folder) / f).is_symlink()]

    def cpp(self) -> list[str]:
        return [file for file in self.files if file.endswith(CPP)]

    def text(self, file: str) -> str:
        return (self.root / file).read_text(encoding="utf-8", errors="replace")

    def code(self, file: str) -> str:
        """C++ text with comments and literals blanked; offsets and line numbers stay."""
        return strip_cpp(self.text(file))


TOKEN = re.compile(
    r"""(?P<comment>//(?:\\\n|[^\n])*|/\*.*?\*/)"""
    r"""|(?P<raw>R"(?P<mark>[^()\\\s"]{0,16})\(.*?\)(?P=mark)")"""
    r"""|(?P<string>"(?:\\.|[^"\\\n])*")"""
    r"""|(?P<digits>\b[0-9](?:'?[0-9a-zA-Z_.])*)"""
    r"""|(?P<char>'(?:\\.|[^'\\\n])+')""",
    re.DOTALL | re.VERBOSE,
)


@lru_cache(maxsize=None)
def strip_cpp(text: str) -> str:
    def blank(match: re.Match) -> str:
        if match.lastgroup == "digits" or match.group("digits"):
            return match.group()
        kept = '"' if match.group("string") or match.group("raw") else " "
        body = re.sub(r"[^\n]", " ", match.group())
        return body if kept == " " or len(body) < 2 else kept + body[1:-1] + kept

    return TOKEN.sub(blank, text)


def line_of(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1


def matching_brace(code: str, opening: int) -> int:
    """The offset of the bracket that closes the one at `opening`, or the end of the text."""
    pairs = {"{": "}", "(": ")", "[": "]"}
    open_char, close_char, depth = code[opening], pairs[code[opening]], 0
    for offset in range(opening, len(code)):
        if code[offset] == open_char:
            depth += 1
        elif code[offset] == close_char:
            depth -= 1
            if depth == 0:
                return offset
    return len(code)


@dataclass
class Seed:
    """A small tree, and what must be found in it: `file:line: rule`. Nothing else may be found."""

    title: str
    files: dict[str, str]
    expected: list[str] = field(default_factory=list)
    committed: dict[str, str] = field(default_factory=dict)  # what git has before `files` are written


def write_files(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def seed_and_compare(check, seed: Seed) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        if seed.committed:
            write_files(Path(folder), seed.committed)
            git = ["git", "-C", folder, "-c", "user.name=lint", "-c", "user.email=lint@localhost"]
            for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "seed"]):
                subprocess.run(git + words, check=True)
        write_files(Path(folder), seed.files)
        found = sorted({f"{f.file}:{f.line}: {f.rule}" for f in check(Tree(Path(folder)))})
    expected = sorted(set(seed.expected))
    return [f"not found: {e}" for e in expected if e not in found] + [
        f"found without reason: {f}" for f in found if f not in expected
    ]
