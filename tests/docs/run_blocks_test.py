#!/usr/bin/env python3
"""The block runner itself: what it accepts, and that it turns red where it must. Needs no build."""
import os
import stat
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

RUNNER = Path(__file__).resolve().parent / "run_blocks.py"
# Stands in for zsyncd: opens its socket and waits for SIGTERM.
DAEMON = """#!/usr/bin/env python3
import signal, socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[sys.argv.index("--socket") + 1])
signal.pause()
"""


class RunBlocks(unittest.TestCase):
    def run_document(self, text: str, daemon: str = DAEMON) -> tuple[int, str]:
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder) / "zsyncd"
            program.write_text(daemon)
            program.chmod(program.stat().st_mode | stat.S_IXUSR)
            document = Path(folder) / "a.md"
            document.write_text(text)
            command = [sys.executable, str(RUNNER), str(document), "--bin", folder]
            result = subprocess.run(command, capture_output=True, text=True, timeout=60, env=dict(os.environ))
            return result.returncode, result.stdout + result.stderr

    def expect(self, text: str, code: int, *words: str) -> None:
        got, output = self.run_document(text)
        self.assertEqual(got, code, output)
        for word in words:
            self.assertIn(word, output)

    def test_output_that_matches_passes_and_the_shell_keeps_its_state(self):
        self.expect(
            "<!-- run -->\n```sh\n$ x=5\n$ echo a$x \\\n  b\na5 b\n```\n\n<!-- run -->\n```sh\n$ echo $x; test -S $ZSYNC_SOCKET\n5\n```\n",
            0, "2 blocks passed",
        )  # fmt: skip

    def test_dots_stand_for_text_and_for_lines(self):
        self.expect("<!-- run -->\n```sh\n$ seq 1 9; echo id=42 ok\n1\n...\n9\nid=... ok\n```\n", 0)

    def test_other_output_fails(self):
        self.expect("<!-- run -->\n```sh\n$ echo a\nb\n```\n", 1, "the document shows")

    def test_output_that_the_document_leaves_out_fails(self):
        self.expect("<!-- run -->\n```sh\n$ echo a\n```\n", 1)

    def test_missing_output_fails(self):
        self.expect("<!-- run -->\n```sh\n$ true\na\n```\n", 1)

    def test_a_failing_command_fails_unless_its_code_is_announced(self):
        self.expect("<!-- run -->\n```sh\n$ false\n```\n", 1, "exit code 1")
        self.expect("<!-- run -->\n```sh\n$ (exit 3) # exit 3\n```\n", 0)

    def test_a_block_without_a_mark_fails(self):
        self.expect("```sh\n$ true\n```\n", 1, "not executed")
        self.expect("<!-- run -->\nWords between.\n```sh\n$ true\n```\n", 1, "not executed")

    def test_a_shown_block_needs_a_reason(self):
        self.expect("<!-- shown: needs a network -->\n```sh\n$ false\n```\n", 0, "1 blocks skipped")
        self.expect("<!-- shown: -->\n```sh\n$ false\n```\n", 1)

    def test_a_program_is_compiled_and_run_with_its_output(self):
        program = '<!-- build -->\n```cpp\n#include <cstdio>\nint main() { std::puts("hi"); }\n```\n'
        output = "<!-- output -->\n```text\nhi\n```\n"
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "sdk/cpp").mkdir(parents=True)
            subprocess.run(["ar", "rc", str(Path(folder) / "sdk/cpp/libzsync.a")], check=True)
            for text, code in ((program + output, 0), (program + output.replace("hi", "ho"), 1),
                               (program.replace("int main", "in main"), 1), (program.replace("; }", "; return 2; }"), 1)):
                document = Path(folder) / "a.md"
                document.write_text(text)
                command = [sys.executable, str(RUNNER), str(document), "--build", folder, "--link=-pthread"]
                self.assertEqual(subprocess.run(command, capture_output=True).returncode, code, text)

    def test_a_daemon_that_does_not_start_is_told(self):
        code, output = self.run_document("<!-- run -->\n```sh\n$ true\n```\n", "#!/bin/sh\necho no luck\nexit 1\n")
        self.assertEqual(code, 1)
        self.assertIn("no luck", output)

    def test_a_document_without_blocks_fails(self):
        self.expect("Words.\n", 1)


if __name__ == "__main__":
    unittest.main()
