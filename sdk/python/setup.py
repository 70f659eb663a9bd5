"""Makes the wire contract's descriptors a part of the package; all else is in pyproject.toml."""
import shutil
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import generate  # noqa: E402


class BuildWithProto(build_py):
    def run(self):
        super().run()
        in_place = getattr(self, "editable_mode", False)
        generate.generate(HERE if in_place else Path(self.build_lib))


class SourcesWithProto(sdist):
    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        shutil.copytree(generate.proto_root() / "zsync", Path(base_dir) / "proto" / "zsync", dirs_exist_ok=True)


setup(
    cmdclass={"build_py": BuildWithProto, "sdist": SourcesWithProto},
    setup_requires=[] if shutil.which("protoc") else ["grpcio-tools"],
)
