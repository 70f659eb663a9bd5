"""Which rows of the present build are worse or better than those of a second build (`--against REV`), beyond their spread.

The rule, for two rows of one metric, number of threads and unit:

* A row is worse when each of its runs is worse than each run of the other build: the ranges [min, max] do not even touch.
  It is better when each of its runs is better than each of the other's. Ranges that touch or overlap are the spread.
* More is better where a target of the metric says `at least`, or its unit counts things a second (msg/s, MiB/s); everywhere
  else less is better: times, costs, memory, what was lost, and 1/s, in which wake-ups are counted.
* With fewer than RUNS_MIN runs of either build nothing is said about the row. Two builds that are alike have ranges apart by
  chance in 2 of C(2n, n) rows of n runs each: 10 % with 3 runs, 3 % with 4, 0.8 % with 5. The closing line says how many rows
  that makes, and a row that is called worse is measured again with more runs before anybody believes it.

The size of a change is the median's, in per cent of the other build's.
"""
import math
from dataclasses import dataclass
from enum import Enum

from report import Row, Targets, number, targets_of

RUNS_MIN = 4  # of each build
RUNS_USUAL = 5  # where a bench alone would do with fewer


class Verdict(Enum):
    """Of a row of the present build, or of one that only the other build has."""

    WORSE = "worse"
    BETTER = "better"
    ALIKE = "within the spread"
    TOO_FEW = "too few runs"
    ONLY_HERE = "only here"
    ONLY_THERE = "only there"


@dataclass(frozen=True)
class Change:
    row: Row
    verdict: Verdict
    per_cent: float | None = None  # None where the other median is 0, or there is none
    by_chance: float = 0  # probability that two builds that are alike are told apart here

    def cell(self) -> str:
        """What stands in the table."""
        if self.verdict in (Verdict.WORSE, Verdict.BETTER):
            return f"{self.verdict.value} {self.size()}"
        return self.verdict.value

    def size(self) -> str:
        return "from 0" if self.per_cent is None else f"{self.per_cent:+.1f} %"

    def __str__(self) -> str:
        size = f" ({self.size()})" if self.verdict in (Verdict.WORSE, Verdict.BETTER) else ""
        return f"{self.row.bench}: {self.row.metric}, t={self.row.threads}{size}"


def more_is_better(row: Row, targets: Targets) -> bool:
    goals = targets_of(row, targets)
    if goals:
        return goals[0].at_least
    things, slash, time = row.unit.rpartition("/")
    return bool(slash) and time == "s" and things not in ("", "1", "ns", "us", "ms", "s")


def change(row: Row, other: Row, targets: Targets) -> Change:
    """How `row`, of the present build, differs from the other build's row."""
    per_cent = None if other.median == 0 else 100 * (row.median - other.median) / abs(other.median)
    chance = 2 / math.comb(row.runs + other.runs, row.runs)
    if min(row.runs, other.runs) < RUNS_MIN:
        verdict = Verdict.TOO_FEW
    elif row.min <= other.max and other.min <= row.max:
        verdict = Verdict.ALIKE
    else:
        verdict = Verdict.BETTER if (row.min > other.max) == more_is_better(row, targets) else Verdict.WORSE
    return Change(row, verdict, per_cent, chance)


def changes_of(rows: list[Row], targets: Targets, present: str, other: str) -> list[Change]:
    """One for each row of the present build, then one for each that only the other build has."""
    def key(row: Row) -> tuple:
        return row.bench, row.metric, row.threads, row.unit
    mine = {key(row): row for row in rows if row.system == present}
    theirs = {key(row): row for row in rows if row.system == other}
    both = [change(row, theirs[at], targets) if at in theirs else Change(row, Verdict.ONLY_HERE) for at, row in mine.items()]
    return both + [Change(row, Verdict.ONLY_THERE) for at, row in theirs.items() if at not in mine]


def closing_line(changes: list[Change], other: str) -> str:
    """The whole comparison in one line: what got worse and better by name, the rest by number."""
    def of(verdict: Verdict) -> list[Change]:
        return [each for each in changes if each.verdict is verdict]

    compared = [each for each in changes if each.verdict in (Verdict.WORSE, Verdict.BETTER, Verdict.ALIKE)]
    parts = []
    for verdict in (Verdict.WORSE, Verdict.BETTER):
        found = of(verdict)
        names = ": " + "; ".join(map(str, sorted(found, key=lambda each: -abs(each.per_cent or math.inf)))) if found else ""
        parts.append(f"{len(found)} {verdict.value}{names}")
    parts.append(f"{len(of(Verdict.ALIKE))} within the spread")
    for verdict, words in ((Verdict.TOO_FEW, f"with fewer than {RUNS_MIN} runs, not compared"),
                           (Verdict.ONLY_HERE, "only in this build"), (Verdict.ONLY_THERE, f"only in {other}")):
        found = of(verdict)
        if found:
            parts.append(f"{len(found)} {words}")
    chance = number(round(sum(each.by_chance for each in compared), 1))
    return f"against {other}: of {len(compared)} rows " + " | ".join(parts) + f" | told apart by chance alone: about {chance}"
