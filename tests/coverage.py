#!/usr/bin/env python3
"""Prints the line coverage of each area from a merged profile, without the tests themselves.

    coverage.py BUILD_DIR PROFILE
"""
import json
import subprocess
import sys
from pathlib import Path

AREAS = ["sdk/cpp", "daemon", "cli"]


def main() -> int:
    build, profile = Path(sys.argv[1]), sys.argv[2]
    targets = json.loads((build / "meson-info" / "intro-targets.json").read_text())
    programs = [target["filename"][0] for target in targets if target["type"] == "executable"]
    programs = [program for program in programs if Path(program).exists()]
    if not programs:
        print("coverage: no program was built", file=sys.stderr)
        return 1
    # Objects name their files as seen from the build folder.
    command = ["llvm-cov-19", "export", "-summary-only", f"-compilation-dir={build.resolve()}", f"-instr-profile={profile}", programs[0]]
    for program in programs[1:]:
        command += ["-object", program]
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    root = Path(__file__).resolve().parent.parent
    lines = {area: [0, 0] for area in AREAS}
    for file in report["data"][0]["files"]:
        path = Path(file["filename"]).resolve()
        if not path.is_relative_to(root) or path.is_relative_to(root / "build"):
            continue
        name = path.relative_to(root).as_posix()
        if name.endswith("_test.cpp"):
            continue
        for area in AREAS:
            if name.startswith(area + "/"):
                lines[area][0] += file["summary"]["lines"]["covered"]
                lines[area][1] += file["summary"]["lines"]["count"]
    lines["all"] = [sum(pair[i] for pair in lines.values()) for i in (0, 1)]
    for area, (covered, total) in lines.items():
        share = f"{100 * covered / total:5.1f} %" if total else "no lines"
        print(f"{area:8} {share}  ({covered} of {total} lines)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
