#!/usr/bin/env python3
"""Runs the benches of benches/ and their peers, alternately and in one run; prints tables, writes results.json.

A bench is a module with a docstring that says what it measures, RUNS, TARGETS (metric -> Target) and two functions:
measure(world, build) for a build of zsync, peers(world) for what is run beside it. Both return samples; both are called
once a run, so that a machine that is busy for a while is busy for all of them.

With a second build, the last line says which rows got worse or better beyond the spread of their runs (compare.py has the
rule). The exit code does not depend on that, nor on targets: 1 means that a bench could not be run.
"""
import argparse
import importlib
import shutil
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

import compare
import procfs
import report
from world import Build, World

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


# Several benches by one name.
GROUPS = {"work": ("drain", "latency", "queued", "decisions", "functions", "channels", "messages", "rings", "watch")}


def bench_names() -> list[str]:
    return sorted(file.stem for file in (HERE / "benches").glob("*.py"))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="benches to run (default: all): " + " ".join(bench_names()) + "; or several: " + " ".join(GROUPS))
    parser.add_argument("--runs", type=int, help="runs of each bench (default: its own number)")
    parser.add_argument("--long", action="store_true", help="the sizes that take minutes as well (bench runtime)")
    parser.add_argument("--bin", type=Path, default=ROOT / "build/bin", help="folder of zsyncd, zsyncctl, zsync-shim")
    parser.add_argument("--client", type=Path, default=ROOT / "build/meson/tests/bench/bench-client")
    parser.add_argument("--against", type=Path, help="folder with the programs of a second build")
    parser.add_argument("--against-name", default="other", help="what the rows of the second build are called")
    parser.add_argument("--out", type=Path, default=ROOT / "build/bench", help="folder of results.json and of the scratch files")
    chosen = parser.parse_args()
    chosen.names = [one for name in chosen.names for one in GROUPS.get(name, (name,))]
    unknown = [name for name in chosen.names if name not in bench_names()]
    if unknown:
        parser.error(f"no bench {unknown[0]!r}; there are: {' '.join(bench_names())}")
    return chosen


@dataclass(frozen=True)
class Result:
    """What one bench gave, after it was printed."""

    rows: list[report.Row]
    missed: list[str]
    changes: list[compare.Change]


def runs_of(bench, world: World, runs: int | None) -> int:
    """As asked for; else the bench's own number, or what a comparison needs."""
    return runs or max(bench.RUNS, compare.RUNS_USUAL if len(world.builds) > 1 else 0)


def run_bench(world: World, name: str, runs: int | None) -> Result:
    bench = importlib.import_module(f"benches.{name}")
    world.notes.clear()
    samples = []
    count = runs_of(bench, world, runs)
    print(f"\n== {name}: {' '.join(bench.__doc__.splitlines()[0].split())}", flush=True)
    before = procfs.load()
    for run in range(count):
        for build in world.builds if run % 2 == 0 else world.builds[::-1]:
            samples += bench.measure(world, build)
        samples += bench.peers(world)
    rows = report.rows_of(name, samples)
    zsync, *other = [build.name for build in world.builds]
    changes = compare.changes_of(rows, bench.TARGETS, zsync, other[0]) if other else []
    print(report.table(rows, bench.TARGETS, zsync, {each.row: each.cell() for each in changes} if other else None))
    for note in world.notes:
        print(f"   {note}")
    print(f"   {count} runs; load {before} -> {procfs.load()}", flush=True)
    return Result(rows, report.missed(rows, bench.TARGETS, zsync), changes)


def main() -> int:
    chosen = parse()
    for program in (chosen.client, chosen.bin / "zsyncd", chosen.bin / "zsyncctl", chosen.bin / "zsync-shim"):
        if not program.exists():
            sys.exit(f"bench: {program} is missing; run ./dev bench, which builds it")
    builds = [Build("zsync", chosen.bin.resolve())]
    if chosen.against:
        builds.append(Build(f"zsync@{chosen.against_name}", chosen.against.resolve()))
    chosen.out.mkdir(parents=True, exist_ok=True)
    scratch = chosen.out.resolve() / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    world = World(scratch, chosen.client.resolve(), builds, chosen.long)
    print(f"machine: {procfs.machine()}; states on {procfs.file_system(chosen.out)}; nothing is pinned, nothing spins")
    results, rows, failed = [], [], []
    for name in chosen.names or bench_names():
        try:
            results.append(run_bench(world, name, chosen.runs))
            rows += results[-1].rows
        except Exception:
            traceback.print_exc()
            failed.append(name)
        report.write_json(chosen.out / "results.json", rows)
    shutil.rmtree(scratch, ignore_errors=True)
    print(f"\nbench: {len(rows)} rows in {chosen.out / 'results.json'}")
    for line in [line for result in results for line in result.missed]:
        print(f"missed: {line}")
    for name in failed:
        print(f"failed: {name}")
    if chosen.against:
        print(compare.closing_line([each for result in results for each in result.changes], builds[1].name))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
