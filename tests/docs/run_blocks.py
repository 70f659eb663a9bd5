#!/usr/bin/env python3
"""Executes the code blocks of README.md and docs/guide/*.md, so that what the documents show is what happens.

An HTML comment on the line before a block says what it is:

    <!-- run -->            ```sh: lines that begin with `$ ` are commands (a trailing `\\` goes on in the next line), the
                            lines below one are its output, stdout and stderr together. `...` stands for any text; a line
                            that is only `...` for any lines. A document's blocks share one shell, one folder and one
                            private daemon. A command whose exit code is not 0 fails, unless its line ends with `# exit N`.
    <!-- build -->          ```cpp: a whole program, compiled against libzsync and run; its exit code must be 0, and its
                            output is that of the ```text block marked <!-- output --> which may follow.
    <!-- shown: reason -->  not executed, for the reason given

A block without a mark fails. Paths: --build build/meson, --bin build/bin; the link line: --link="-labsl_status ..."
(default: what pkg-config says about the libraries of libzsync).
"""
import argparse
import ctypes
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BLOCK_SECONDS_MAX = 60
DAEMON_START_SECONDS_MAX = 10
ABSL = "base status statusor strings str_format time synchronization span flat_hash_map inlined_vector".split()
PACKAGES = [f"absl_{part}" for part in ABSL] + ["libuv", "liburing", "libcares", "openssl", "libdw"]
MARK = re.compile(r"^\s*<!--\s*(run|build|output|shown:\s*\S.*?)\s*-->\s*$")
FENCE = re.compile(r"^(\s*)```(\w*)\s*$")


@dataclass
class Block:
    file: str
    line: int
    language: str
    mark: str | None
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def blocks_of(path: Path, name: str) -> list[Block]:
    blocks, mark, opened, body = [], None, None, []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        fence = FENCE.match(line)
        if opened is None and fence:
            opened, body = (number, fence.group(1), fence.group(2)), []
        elif opened is not None and fence and not fence.group(2):
            start, indent, language = opened
            text = "\n".join(row.removeprefix(indent) for row in body)
            blocks.append(Block(name, start, language, mark, text))
            opened = mark = None
        elif opened is not None:
            body.append(line)
        elif line.strip():
            found = MARK.match(line)
            mark = found.group(1) if found else None
    if opened is not None:
        blocks.append(Block(name, opened[0], opened[2], "unclosed", ""))
    return blocks


def pattern_of(expected: list[str]) -> re.Pattern:
    rows = []
    for row in expected:
        if row.strip() == "...":
            rows.append(r"(?:.*\n)*?")
        else:
            rows.append("[^\n]*".join(re.escape(part) for part in row.rstrip().split("...")) + r"[ \t]*\n")
    return re.compile("".join(rows))


def commands_of(text: str) -> list[tuple[str, list[str]]]:
    commands: list[tuple[str, list[str]]] = []
    continues = False
    for line in text.splitlines():
        if continues:
            commands[-1] = (commands[-1][0] + "\n" + line, [])
        elif line.startswith("$ "):
            commands.append((line[2:], []))
        elif commands:
            commands[-1][1].append(line)
        elif line.strip():
            raise ValueError(f"output before the first `$ ` command: {line}")
        continues = bool(commands) and not commands[-1][1] and commands[-1][0].endswith("\\")
    for _, expected in commands:
        while expected and not expected[-1].strip():
            expected.pop()
    return commands


PR_SET_PDEATHSIG = 1


def die_with_this() -> None:
    """In a child: the kernel kills it when this program is killed, which stops nothing itself then."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Shell:
    """One bash for all `run` blocks of a document: folder, variables and jobs stay between commands."""

    def __init__(self, folder: Path, environment: dict[str, str]):
        self.process = subprocess.Popen(
            ["bash", "--norc", "--noprofile"], cwd=folder, env=environment, text=True, start_new_session=True,
            preexec_fn=die_with_this,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.count = 0

    def run(self, command: str) -> tuple[int, str]:
        self.count += 1
        end = f"end-of-command-{os.getpid()}-{self.count}:"
        # The command reads no stdin: that is the shell's own script.
        self.process.stdin.write(f"{{ {command}\n}} </dev/null\nprintf '\\n%s%d\\n' '{end}' \"$?\"\n")
        self.process.stdin.flush()
        signal.alarm(BLOCK_SECONDS_MAX)
        output = []
        try:
            for line in self.process.stdout:
                if line.startswith(end):
                    text = "".join(output)
                    return int(line.removeprefix(end)), text[:-1]
                output.append(line)
        finally:
            signal.alarm(0)
        raise ValueError(f"the shell ended in: {command}\n{''.join(output)}")

    def stop(self) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


class Daemon:
    """A private zsyncd for one document."""

    def __init__(self, binaries: Path, folder: Path):
        self.environment = {
            **os.environ,
            "PATH": f"{binaries}:{os.environ['PATH']}",
            "ZSYNC_SOCKET": str(folder / "s"),
            "ZSYNC_STATE_DIR": str(folder / "state"),
            "NO_COLOR": "1",
            "LC_ALL": "C.UTF-8",
        }
        (folder / "state").mkdir()
        self.control = binaries / "zsyncctl"
        self.log = open(folder / "zsyncd.log", "w+", encoding="utf-8")
        command = [binaries / "zsyncd", "--socket", folder / "s", "--state-dir", folder / "state"]
        self.process = subprocess.Popen(
            command, env=self.environment, start_new_session=True, preexec_fn=die_with_this,
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        give_up = time.monotonic() + DAEMON_START_SECONDS_MAX
        while not (folder / "s").exists():
            if self.process.poll() is not None or time.monotonic() > give_up:
                self.stop()
                self.log.seek(0)
                raise ValueError(f"zsyncd did not start:\n{self.log.read()}")
            time.sleep(0.01)

    def stop(self) -> None:
        """Ends the commands that a failed block left, which would outlive the daemon, and then the daemon."""
        if self.process.poll() is None and self.control.exists():
            left = self.say("ps", "-q").split()
            if left:
                self.say("tasks", "cancel", "--wait", "--kill-grace", "0", *left)
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def say(self, *words: str) -> str:
        command = [self.control, "--no-autostart", "--timeout", f"{DAEMON_START_SECONDS_MAX}s", *words]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False).stdout


def run_shell_block(block: Block, shell: Shell) -> None:
    commands = commands_of(block.text)
    if not commands:
        raise ValueError("marked `run`, but no line begins with `$ `")
    for command, expected in commands:
        wanted = re.search(r"#\s*exit (\d+)\s*$", command)
        code, output = shell.run(command)
        if output and not output.endswith("\n"):
            output += "\n"
        if code != (int(wanted.group(1)) if wanted else 0):
            raise ValueError(f"$ {command}\nexit code {code}, output:\n{output}")
        if not pattern_of(expected).fullmatch(output):
            want = "\n".join(expected)
            raise ValueError(f"$ {command}\nthe document shows:\n{want}\nbut the output is:\n{output}")


def link_line(given: str | None) -> list[str]:
    if given is not None:
        return shlex.split(given)
    command = ["pkg-config", "--cflags", "--libs", *PACKAGES]
    words = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return [word for index, word in enumerate(words) if word not in words[:index]] + ["-pthread"]


def run_program_block(block: Block, expected: str | None, options, folder: Path) -> None:
    source, program = folder / f"block_{block.line}.cpp", folder / f"block_{block.line}"
    source.write_text(block.text + "\n")
    command = shlex.split(options.cxx) + ["-std=c++20", "-O1", "-fuse-ld=lld-19", "-I", str(ROOT / "sdk/cpp/include")]
    command += [str(source), str(Path(options.build) / "sdk/cpp/libzsync.a"), *link_line(options.link), "-o", str(program)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise ValueError("does not compile:\n" + result.stderr)
    result = subprocess.run(
        [str(program)], capture_output=True, text=True, cwd=folder, timeout=BLOCK_SECONDS_MAX, check=False
    )
    output = result.stdout + result.stderr
    if result.returncode:
        raise ValueError(f"exit code {result.returncode}, output:\n{output}")
    if expected is not None and not pattern_of(expected.splitlines()).fullmatch(output):
        raise ValueError(f"the document shows:\n{expected}\nbut the output is:\n{output}")


def run_block(blocks: list[Block], index: int, make_shell, options, folder: Path) -> str:
    """Executes one block; the answer is `passed` or `skipped` (shown, with its reason)."""
    block = blocks[index]
    before = blocks[index - 1] if index else None
    if block.mark is None:
        raise ValueError("not executed: mark it <!-- run -->, <!-- build --> or <!-- shown: reason -->")
    if block.mark == "unclosed":
        raise ValueError("the block is never closed")
    if block.mark.startswith("shown:"):
        return "skipped"
    if block.mark == "output":
        if before is None or before.mark != "build":
            raise ValueError("<!-- output --> follows a <!-- build --> block")
    elif block.mark == "run" and block.language == "sh":
        run_shell_block(block, make_shell())
    elif block.mark == "build" and block.language == "cpp":
        after = blocks[index + 1] if index + 1 < len(blocks) else None
        run_program_block(block, after.text if after and after.mark == "output" else None, options, folder)
    else:
        raise ValueError(f"`{block.mark}` does not go with ```{block.language}: run is for sh, build for cpp")
    return "passed"


def run_document(path: Path, options) -> list[str]:
    name = path.resolve().relative_to(ROOT).as_posix() if path.resolve().is_relative_to(ROOT) else str(path)
    blocks, results, parts = blocks_of(path, name), [], []
    # A short path: a socket's is limited to 107 bytes.
    with tempfile.TemporaryDirectory(prefix="zd", dir="/tmp") as short:
        folder = Path(short)
        (folder / "work").mkdir()

        def make_shell() -> Shell:
            if not parts:
                parts.append(Daemon(Path(options.bin).resolve(), folder))
                parts.append(Shell(folder / "work", parts[0].environment))
            return parts[1]

        try:
            for index, block in enumerate(blocks):
                try:
                    results.append(run_block(blocks, index, make_shell, options, folder / "work"))
                    reason = f" ({block.mark})" if results[-1] == "skipped" else ""
                    print(f"{results[-1]}: {block}{reason}", flush=True)
                except (ValueError, OSError, TimeoutError, subprocess.SubprocessError) as problem:
                    results.append("failed")
                    print(f"failed: {block}: {problem}", flush=True)
        finally:
            for part in reversed(parts):
                part.stop()
    return results


def take_too_long(_signal, _frame) -> None:
    raise TimeoutError(f"no end within {BLOCK_SECONDS_MAX} s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("documents", nargs="*", help="default: README.md and docs/guide/*.md")
    parser.add_argument("--bin", default=str(ROOT / "build/bin"), help="folder of zsyncd and zsyncctl")
    parser.add_argument("--build", default=str(ROOT / "build/meson"), help="build folder with sdk/cpp/libzsync.a")
    parser.add_argument("--cxx", default="clang++-19")
    parser.add_argument("--link", default=None, help="link line of a program that uses libzsync")
    options = parser.parse_args()
    signal.signal(signal.SIGALRM, take_too_long)
    documents = [Path(name) for name in options.documents]
    documents = documents or [ROOT / "README.md", *sorted((ROOT / "docs/guide").glob("*.md"))]
    results = [result for document in documents for result in run_document(document, options)]
    counts = {word: results.count(word) for word in ("passed", "failed", "skipped")}
    print(", ".join(f"{count} blocks {word}" for word, count in counts.items()))
    return 1 if counts["failed"] or not results else 0


if __name__ == "__main__":
    sys.exit(main())
