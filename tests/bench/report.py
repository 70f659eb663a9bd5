"""From samples to the table and results.json."""
import json
import statistics
from dataclasses import dataclass
from pathlib import Path

from world import Sample


@dataclass(frozen=True)
class Target:
    """At most, or at least, the limit: for zsync's median of a metric, or for its worst run where nothing may be lost.

    With `beside` the limit is a factor of that peer's median, of the same metric and threads in the same run.
    """

    limit: float
    at_least: bool = False
    worst: bool = False
    beside: str = ""

    def bound(self, row: "Row", rows: list["Row"]) -> float | None:
        """The limit in the row's unit; None where the peer is absent."""
        if not self.beside:
            return self.limit
        peer = [other.median for other in rows if (other.system, other.metric, other.threads)
                == (self.beside, row.metric, row.threads)]
        return self.limit * peer[0] if peer else None

    def met(self, row: "Row", rows: list["Row"]) -> bool:
        bound = self.bound(row, rows)
        if bound is None:
            return True
        value = worst(row, self) if self.worst else row.median
        return value >= bound if self.at_least else value <= bound

    def verdict(self, row: "Row", rows: list["Row"]) -> str:
        if self.bound(row, rows) is None:
            return f"{self} not compared"
        return f"{self} {'ok' if self.met(row, rows) else 'MISSED'}"

    def __str__(self) -> str:
        limit = f"{'>=' if self.at_least else '<='} {number(self.limit)}"
        return f"{limit}x {self.beside}" if self.beside else limit


# Of one metric: one target, or several that all have to be met.
Targets = dict[str, Target | tuple[Target, ...]]


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
    """One row for each metric, number of threads and system, in the order in which they first came."""
    groups: dict[tuple, list[float]] = {}
    for sample in samples:
        groups.setdefault((sample.metric, sample.system, sample.threads, sample.unit), []).append(sample.value)
    order = {metric: place for place, (metric, *_) in reversed(list(enumerate(groups)))}
    rows = [Row(bench, system, threads, metric, unit, statistics.median(values), min(values), max(values), len(values))
            for (metric, system, threads, unit), values in groups.items()]
    return sorted(rows, key=lambda row: (order[row.metric], row.threads))


def number(value: float) -> str:
    if value == int(value) and abs(value) < 1e7:
        return str(int(value))
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2 if abs(value) >= 1 else 3
    return f"{value:.{digits}f}"


def targets_of(row: Row, targets: Targets) -> tuple[Target, ...]:
    found = targets.get(row.metric, ())
    return found if isinstance(found, tuple) else (found,)


def cells(row: Row, base: Row | None, verdict: str) -> list[str]:
    ratio = "" if base is None or base is row or base.median == 0 else f"{row.median / base.median:.2f}"
    return [row.metric, row.system, str(row.threads), number(row.median), number(row.min), number(row.max), row.unit,
            ratio, verdict]


def table(rows: list[Row], targets: Targets, zsync: str, against: dict[Row, str] | None = None) -> str:
    """The ratio is that of a row's median to zsync's for the same metric, and the same threads where there are any.

    `against` is what compare.py says of a row where a second build was run; it has a column of its own then.
    """
    any_threads = {row.metric: row for row in rows if row.system == zsync}
    base = {(row.metric, row.threads): row for row in rows if row.system == zsync}
    lines = [["metric", "system", "t", "median", "min", "max", "unit", "x zsync", "target"]
             + ([] if against is None else ["against"])]
    for row in rows:
        goals = targets_of(row, targets) if row.system.startswith("zsync") else ()
        lines.append(cells(row, base.get((row.metric, row.threads), any_threads.get(row.metric)),
                           ", ".join(goal.verdict(row, rows) for goal in goals))
                     + ([] if against is None else [against.get(row, "")]))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    right = {2, 3, 4, 5, 7}
    return "\n".join("  ".join(cell.rjust(width) if column in right else cell.ljust(width)
                               for column, (cell, width) in enumerate(zip(line, widths))).rstrip() for line in lines)


def worst(row: Row, target: Target) -> float:
    return row.min if target.at_least else row.max


def missed(rows: list[Row], targets: Targets, zsync: str) -> list[str]:
    """One line for each target of zsync's that was not met."""
    lines = []
    for row in rows:
        for target in targets_of(row, targets) if row.system == zsync else ():
            if not target.met(row, rows):
                lines.append(f"{row.bench}: {row.metric}, t={row.threads}: {number(row.median)} "
                             f"(worst run {number(worst(row, target))}) {row.unit}, target {target}")
    return lines


def write_json(path: Path, rows: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([row.__dict__ for row in rows], indent=1) + "\n")
