#!/usr/bin/env python3
"""An installed tree serves programs from outside: by pkg-config and by CMake, the runtime and the client.

    install_test.py --build BUILD_DIR

Installs into a directory of its own; the programs are built there, with nothing of this checkout in sight.
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SECONDS_MAX = 240
RUNTIME = r"""
#include <zsync/zsync.hpp>
#include <cstdio>

zsync::Task<int> square(int x) {
  co_await zsync::yield_now();
  co_return x * x;
}

zsync::Task<int> sum() {
  auto [a, b] = co_await zsync::all(square(3), square(4));
  zsync::TaskHandle<int> handle = zsync::spawn(square, 5);
  zsync::Channel<int> channel = zsync::bounded<int>(4);
  if (!(co_await channel.send(6)).ok()) co_return -1;
  co_return a + b + co_await handle + *(co_await channel.recv());
}

int main() { std::printf("%d\n", zsync::run(sum())); }
"""
CLIENT = r"""
#include <zsync/client.hpp>
#include <cstdio>

int main() {
  auto client = zsync::client::Client::connect({"/no/such/zsyncd.sock"});
  std::puts(std::string(client.status().message()).c_str());
}
"""
CMAKE = """
cmake_minimum_required(VERSION 3.20)
project(outside CXX)
find_package(zsync 0.1 REQUIRED COMPONENTS client)
add_executable(runtime runtime.cpp)
target_link_libraries(runtime zsync::zsync)
add_executable(client client.cpp)
target_link_libraries(client zsync::client)
"""
PRINTS = {"runtime": "56\n", "client": "no zsyncd at /no/such/zsyncd.sock: start one with `zsyncctl daemon start`\n"}


def run(*command: object, **options) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS_MAX, check=False, **options)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(words)}\n{done.stdout}{done.stderr}")
    return done.stdout


def check_output(program: Path) -> None:
    printed = run(program)
    if printed != PRINTS[program.name]:
        raise AssertionError(f"{program} printed {printed!r}, not {PRINTS[program.name]!r}")
    print(f"ok: {program.parent.name}/{program.name}")


def by_pkg_config(work: Path, prefix: Path, name: str, module: str, compiler: list[str]) -> None:
    environment = {**os.environ, "PKG_CONFIG_PATH": str(prefix / "lib/pkgconfig")}
    flags = run("pkg-config", "--cflags", "--libs", module, env=environment).split()
    program = work / "pkg-config" / name
    program.parent.mkdir(exist_ok=True)
    run(*compiler, work / f"{name}.cpp", "-o", program, *flags)
    check_output(program)


def by_cmake(work: Path, prefix: Path) -> None:
    build = work / "cmake"
    run("cmake", "-S", work, "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}", "-DCMAKE_CXX_COMPILER=clang++-19")
    run("cmake", "--build", build)
    for name in PRINTS:
        check_output(build / name)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=Path, required=True)
    arguments = parser.parse_args()
    for tool in ("cmake", "pkg-config", "clang++-19", "g++"):
        if not shutil.which(tool):
            print(f"skipped: {tool} is not installed")
            return 77
    with tempfile.TemporaryDirectory(prefix="zsync-install-") as directory:
        work = Path(directory)
        run("meson", "install", "-C", arguments.build, "--no-rebuild", "--quiet", env={**os.environ, "DESTDIR": str(work / "root")})
        # Where it was installed for is not where it is now.
        installed = next((work / "root").rglob("lib/pkgconfig/zsync.pc"))
        prefix = installed.parents[2]
        for description in installed.parent.glob("*.pc"):
            text = description.read_text().splitlines()
            text[0] = f"prefix={prefix}"
            description.write_text("\n".join(text) + "\n")
        (work / "runtime.cpp").write_text(RUNTIME)
        (work / "client.cpp").write_text(CLIENT)
        (work / "CMakeLists.txt").write_text(CMAKE)
        by_pkg_config(work, prefix, "runtime", "zsync", ["clang++-19", "-std=c++20"])
        by_pkg_config(work, prefix, "client", "zsync-client", ["g++", "-std=c++17"])
        by_cmake(work, prefix)
        if not (prefix / "libexec/zsync/zsync-shim").exists():
            raise AssertionError("zsync-shim is not installed")
        print(run(prefix / "bin/zsyncctl", "--version").strip())
    return 0


if __name__ == "__main__":
    sys.exit(main())
