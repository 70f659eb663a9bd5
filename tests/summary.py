#!/usr/bin/env python3
"""Counts the test cases of the last `meson test` in a build folder and prints `N passed, N failed, N skipped`.

A GoogleTest program counts by its cases, any other test by one. A program that failed without a failed case (it crashed,
or a sanitizer ended it) counts as one failure more. Exit code 1 when anything failed or nothing was run.

    summary.py BUILD_DIR            count
    summary.py --clear BUILD_DIR    remove the result files of the run before
"""
import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def tests_by_name(build: Path) -> dict:
    info = build / "meson-info" / "intro-tests.json"
    return {test["name"]: test for test in json.loads(info.read_text())} if info.exists() else {}


def result_file(build: Path, test: dict) -> Path:
    return Path(test.get("workdir") or build) / f"{test['name']}.xml"


def clear(build: Path) -> None:
    for test in tests_by_name(build).values():
        if test.get("protocol") == "gtest":
            result_file(build, test).unlink(missing_ok=True)
    for log in (build / "meson-logs").glob("testlog*.json"):
        log.unlink()


def count_cases(path: Path) -> tuple[int, int, int]:
    passed = failed = skipped = 0
    for case in ElementTree.parse(path).iter("testcase"):
        if case.get("status") == "notrun":
            continue
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif case.find("skipped") is not None or case.get("result") == "skipped":
            skipped += 1
        else:
            passed += 1
    return passed, failed, skipped


def count(build: Path) -> tuple[int, int, int]:
    tests = tests_by_name(build)
    total = [0, 0, 0]
    for log in sorted((build / "meson-logs").glob("testlog*.json")):
        for line in log.read_text().splitlines():
            run = json.loads(line)
            ok = run["result"] in ("OK", "EXPECTEDFAIL")
            skip = run["result"] == "SKIP"
            cases = (int(ok), int(not ok and not skip), int(skip))
            test = tests.get(run["name"].split(" / ", 1)[-1], {})  # "project:suite / name"
            path = result_file(build, test) if test.get("protocol") == "gtest" else None
            if path and path.exists():
                try:
                    passed, failed, skipped = count_cases(path)
                    cases = (passed, max(failed, cases[1]), skipped)
                except ElementTree.ParseError:
                    cases = (0, 1, 0)
            total = [have + more for have, more in zip(total, cases)]
    return total[0], total[1], total[2]


def main() -> int:
    arguments = sys.argv[1:]
    if arguments and arguments[0] == "--clear":
        clear(Path(arguments[1]))
        return 0
    passed, failed, skipped = count(Path(arguments[0]))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
