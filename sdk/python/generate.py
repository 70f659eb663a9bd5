#!/usr/bin/env python3
"""Compiles proto/zsync/v1 for the package: one file of descriptors, read when zsync.v1 is imported, and type stubs.

Descriptors instead of generated modules: they suit every version of the protobuf runtime.

    generate.py DIR           writes DIR/zsync/v1/{descriptors.binpb,*_pb2.pyi}
    generate.py --tree DIR    the same, beside a copy of the package: PYTHONPATH=DIR runs without installing
"""
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
NOUNS = ("common", "tasks", "channels", "watch", "daemon", "events", "traces", "projects", "functions", "triggers", "diagnostics")


def proto_root() -> Path:
    """The folder that holds zsync/v1: in the checkout, or in a source archive of this package."""
    for root in (HERE.parents[1] / "proto", HERE / "proto"):
        if (root / "zsync" / "v1" / "common.proto").exists():
            return root
    raise SystemExit(f"generate: no proto/zsync/v1 above or beside {HERE}")


def compiler() -> list[str]:
    if shutil.which("protoc"):
        return ["protoc"]
    try:
        import grpc_tools  # type: ignore[import-untyped]
    except ImportError:
        raise SystemExit("generate: no protoc: apt-get install protobuf-compiler, or pip install grpcio-tools") from None
    return [sys.executable, "-m", "grpc_tools.protoc", f"-I{Path(grpc_tools.__file__).parent / '_proto'}"]


def generate(out: Path) -> None:
    package = out / "zsync" / "v1"
    package.mkdir(parents=True, exist_ok=True)
    root = proto_root()
    outputs = [f"--pyi_out={out}", f"--descriptor_set_out={package / 'descriptors.binpb'}"]
    sources = [f"zsync/v1/{noun}.proto" for noun in NOUNS]
    subprocess.run([*compiler(), f"-I{root}", *outputs, *sources], check=True)
    for stub in package.glob("*_pb2.pyi"):  # type checkers want to know what an empty list is of
        stub.write_text(stub.read_text().replace("__slots__ = []", "__slots__: list[str] = []"))


def main() -> int:
    arguments = sys.argv[1:]
    tree = arguments[:1] == ["--tree"]
    if len(arguments) != (2 if tree else 1) or arguments[-1].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    out = Path(arguments[-1]).resolve()
    if tree:
        ignored = shutil.ignore_patterns("__pycache__", "*.binpb", "*_pb2.pyi")
        shutil.copytree(HERE / "zsync", out / "zsync", dirs_exist_ok=True, ignore=ignored)
    generate(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
