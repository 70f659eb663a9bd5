"""From samples to the table and results.json."""
import json
import statistics
from dataclasses import dataclass
from pathlib import Path

from world import Sample


@dataclass(frozen=True)
class Target:
    """At most, or at least, the limit: for zsync's median of a metric, or for its worst run where nothing may be lost."""

    limit: float
    at_least: bool = False
    worst: bool = False

    def met(self, row: "Row") -> bool:
        value = worst(row, self) if self.worst else row.median
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {number(self.limit)}"


@dataclass(frozen=True)
class Row:
    bench: str
    system: str
    threads: int
    metric: str
    unit: str
    median: float
    min: float
    max: float
    runs: int


def rows_of(bench: str, samples: list[Sample]) -> list[Row]:
    """One row for each metric and system, in the order in which they first came."""
    groups: dict[tuple, list[float]] = {}
    for sample in samples:
        groups.setdefault((sample.metric, sample.system, sample.threads, sample.unit), []).append(sample.value)
    order = {metric: place for place, (metric, *_) in reversed(list(enumerate(groups)))}
    rows = [Row(bench, system, threads, metric, unit, statistics.median(values), min(values), max(values), len(values))
            for (metric, system, threads, unit), values in groups.items()]
    return sorted(rows, key=lambda row: order[row.metric])


def number(value: float) -> str:
    if value == int(value) and abs(value) < 1e7:
        return str(int(value))
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2 if abs(value) >= 1 else 3
    return f"{value:.{digits}f}"


def cells(row: Row, base: Row | None, target: Target | None) -> list[str]:
    ratio = "" if base is None or base is row or base.median == 0 else f"{row.median / base.median:.2f}"
    verdict = "" if target is None else f"{target} {'ok' if target.met(row) else 'MISSED'}"
    return [row.metric, row.system, str(row.threads), number(row.median), number(row.min), number(row.max), row.unit,
            ratio, verdict]


def table(rows: list[Row], targets: dict[str, Target], zsync: str) -> str:
    """The ratio is that of a row's median to zsync's for the same metric."""
    base = {row.metric: row for row in rows if row.system == zsync}
    lines = [["metric", "system", "t", "median", "min", "max", "unit", "x zsync", "target"]]
    for row in rows:
        goal = targets.get(row.metric) if row.system.startswith("zsync") else None
        lines.append(cells(row, base.get(row.metric), goal))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    right = {2, 3, 4, 5, 7}
    return "\n".join("  ".join(cell.rjust(width) if column in right else cell.ljust(width)
                               for column, (cell, width) in enumerate(zip(line, widths))).rstrip() for line in lines)


def worst(row: Row, target: Target) -> float:
    return row.min if target.at_least else row.max


def missed(rows: list[Row], targets: dict[str, Target], zsync: str) -> list[str]:
    return [f"{row.bench}: {row.metric} {number(row.median)} (worst run {number(worst(row, targets[row.metric]))}) {row.unit}, "
            f"target {targets[row.metric]}"
            for row in rows if row.system == zsync and row.metric in targets
            and not targets[row.metric].met(row)]


def write_json(path: Path, rows: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([row.__dict__ for row in rows], indent=1) + "\n")
