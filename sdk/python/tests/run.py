#!/usr/bin/env python3
"""Runs the tests of the Python SDK from the tree: run.py [MODULE...]; exit code 77 and one line where grpcio is missing."""
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SKIPPED = 77


def main() -> int:
    try:
        import google.protobuf  # noqa: F401
        import grpc  # noqa: F401
    except ImportError as problem:
        print(f"skipped: {problem}: apt-get install python3-grpcio python3-protobuf")
        return SKIPPED
    modules = sys.argv[1:] or sorted(path.stem for path in HERE.glob("test_*.py"))
    with tempfile.TemporaryDirectory() as tree:
        subprocess.run([sys.executable, HERE.parent / "generate.py", "--tree", tree], check=True)
        environment = {**os.environ, "PYTHONPATH": tree, "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run([sys.executable, "-m", "unittest", *modules], cwd=HERE, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
