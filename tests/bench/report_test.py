#!/usr/bin/env python3
"""The arithmetic of the benches: what stands in a row, in the table, in results.json; what is said of two builds."""
import contextlib
import importlib
import io
import json
import random
import sys
import tempfile
import types
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

import compare  # noqa: E402
import report  # noqa: E402
import run  # noqa: E402
from compare import Verdict  # noqa: E402
from report import Target  # noqa: E402
from world import Build, Sample, World  # noqa: E402

SAMPLES = [Sample("rate", "1/s", value, "zsync", 2) for value in (10, 40, 20)] + [Sample("rate", "1/s", 40, "peer", 2)]


class Report(unittest.TestCase):
    def test_a_row_holds_median_min_and_max_of_its_runs(self):
        row = report.rows_of("b", SAMPLES)[0]
        self.assertEqual((row.system, row.median, row.min, row.max, row.runs), ("zsync", 20, 10, 40, 3))

    def test_the_rows_of_one_metric_stand_together(self):
        samples = [Sample("a", "", 1, "zsync"), Sample("b", "", 1, "zsync"), Sample("a", "", 1, "peer")]
        self.assertEqual([row.metric for row in report.rows_of("x", samples)], ["a", "a", "b"])

    def test_the_ratio_is_the_peers_median_in_terms_of_zsyncs(self):
        self.assertIn("2.00", report.table(report.rows_of("b", SAMPLES), {}, "zsync").splitlines()[2])

    def test_a_target_is_held_against_the_median(self):
        rows = report.rows_of("b", SAMPLES)
        self.assertEqual(report.missed(rows, {"rate": Target(20, at_least=True)}, "zsync"), [])
        self.assertEqual(len(report.missed(rows, {"rate": Target(21, at_least=True)}, "zsync")), 1)
        self.assertEqual(len(report.missed(rows, {"rate": Target(19)}, "zsync")), 1)

    def test_where_nothing_may_be_lost_the_worst_run_counts(self):
        rows = report.rows_of("b", SAMPLES)
        self.assertEqual(len(report.missed(rows, {"rate": Target(39, worst=True)}, "zsync")), 1)
        self.assertEqual(report.missed(rows, {"rate": Target(40, worst=True)}, "zsync"), [])

    def test_peers_have_no_target(self):
        self.assertEqual(report.table(report.rows_of("b", SAMPLES), {"rate": Target(1)}, "zsync").count("MISSED"), 1)

    def test_a_target_beside_a_peer_is_a_factor_of_its_median_with_as_many_threads(self):
        samples = [Sample("time", "ns", value, system, threads) for value, system, threads in
                   [(10, "zsync", 1), (10, "zsync", 2), (20, "peer", 1), (19, "peer", 2)]]
        rows = report.rows_of("b", samples)
        lines = report.missed(rows, {"time": Target(0.5, beside="peer")}, "zsync")
        self.assertEqual(len(lines), 1)
        self.assertIn("t=2", lines[0])
        self.assertIn("<= 0.500x peer", lines[0])

    def test_a_target_beside_a_peer_that_is_absent_is_not_missed_but_said(self):
        rows, targets = report.rows_of("b", [Sample("time", "ns", 10, "zsync")]), {"time": Target(0.5, beside="peer")}
        self.assertEqual(report.missed(rows, targets, "zsync"), [])
        self.assertIn("not compared", report.table(rows, targets, "zsync"))

    def test_of_several_targets_each_is_held(self):
        rows = report.rows_of("b", SAMPLES)
        targets = {"rate": (Target(20, at_least=True), Target(1, at_least=True, beside="peer"))}
        self.assertEqual(len(report.missed(rows, targets, "zsync")), 1)
        line = report.table(rows, targets, "zsync").splitlines()[1]
        self.assertIn(">= 20 ok, >= 1x peer MISSED", line)

    def test_the_ratio_is_to_the_row_with_as_many_threads(self):
        samples = [Sample("time", "ns", 10, "zsync", 1), Sample("time", "ns", 5, "zsync", 2), Sample("time", "ns", 30, "peer", 1)]
        lines = report.table(report.rows_of("b", samples), {}, "zsync").splitlines()
        self.assertEqual([line.split()[1:3] for line in lines[1:]], [["zsync", "1"], ["peer", "1"], ["zsync", "2"]])
        self.assertIn("3.00", lines[2])

    def test_results_json_has_the_keys_of_the_contract(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "results.json"
            report.write_json(path, report.rows_of("b", SAMPLES))
            self.assertEqual(list(json.loads(path.read_text())[0]),
                             ["bench", "system", "threads", "metric", "unit", "median", "min", "max", "runs"])


NOW = (100, 101, 102, 103, 104)
SLOWER = (110, 111, 112, 113, 114)


class Against(unittest.TestCase):
    """Two builds in one run: `zsync` is the present one."""

    def changes(self, now=(), then=(), unit="ns", targets=None, metric="m") -> list[compare.Change]:
        samples = [Sample(metric, unit, value, "zsync") for value in now]
        samples += [Sample(metric, unit, value, "zsync@old") for value in then]
        return compare.changes_of(report.rows_of("b", samples), targets or {}, "zsync", "zsync@old")

    def verdict(self, now, then, unit="ns", targets=None) -> Verdict:
        (only,) = self.changes(now, then, unit, targets)
        return only.verdict

    def test_a_time_is_worse_when_each_run_is_longer_than_each_of_the_other_build(self):
        self.assertIs(self.verdict(SLOWER, NOW), Verdict.WORSE)
        self.assertIs(self.verdict(NOW, SLOWER), Verdict.BETTER)

    def test_a_rate_is_worse_when_it_is_lower_and_wake_ups_when_there_are_more(self):
        for unit in ("msg/s", "MiB/s", "tasks/s", "trips/s", "submits/s"):
            self.assertIs(self.verdict(NOW, SLOWER, unit), Verdict.WORSE, unit)
        for unit in ("1/s", "ms/s", "us/task", "MiB", "", "bytes", "1/run"):
            self.assertIs(self.verdict(SLOWER, NOW, unit), Verdict.WORSE, unit)

    def test_the_target_of_a_metric_says_which_way_is_better(self):
        self.assertIs(self.verdict(NOW, SLOWER, "x", {"m": Target(1, at_least=True)}), Verdict.WORSE)
        self.assertIs(self.verdict(NOW, SLOWER, "msg/s", {"m": (Target(1),)}), Verdict.BETTER)

    def test_all_targets_of_a_metric_agree_on_which_way_is_better(self):
        for name in run.bench_names():
            bench = importlib.import_module(f"benches.{name}")
            for metric, goals in bench.TARGETS.items():
                goals = goals if isinstance(goals, tuple) else (goals,)
                self.assertEqual(len({goal.at_least for goal in goals}), 1, f"{name}: {metric}")

    def test_ranges_that_overlap_or_touch_are_noise_whatever_the_medians_are(self):
        self.assertIs(self.verdict((100, 130, 131, 132, 133), (99, 98, 97, 96, 101)), Verdict.ALIKE)
        self.assertIs(self.verdict((104, 130, 131, 132, 133), NOW), Verdict.ALIKE)
        self.assertIs(self.verdict((7,) * 5, (7,) * 5), Verdict.ALIKE)

    def test_the_noise_of_one_machine_is_reported_as_seldom_as_the_closing_line_says(self):
        dice = random.Random(1)
        told_apart = sum(self.verdict([dice.gauss(100, 20) for _ in range(5)], [dice.gauss(100, 20) for _ in range(5)])
                         is not Verdict.ALIKE for _ in range(2000))
        self.assertAlmostEqual(self.changes(NOW, NOW)[0].by_chance * 2000, 15.9, delta=0.1)
        self.assertLess(told_apart, 32)
        self.assertGreater(told_apart, 4)

    def test_a_row_with_few_runs_is_not_compared(self):
        self.assertIs(self.verdict((200, 201, 202), NOW), Verdict.TOO_FEW)
        self.assertIs(self.verdict(SLOWER, (1, 2, 3)), Verdict.TOO_FEW)
        self.assertIs(self.verdict(SLOWER[:4], NOW[:4]), Verdict.WORSE)

    def test_a_row_that_one_build_lacks_is_said_and_not_compared(self):
        self.assertIs(self.verdict(NOW, ()), Verdict.ONLY_HERE)
        self.assertIs(self.verdict((), NOW), Verdict.ONLY_THERE)

    def test_rows_are_compared_with_as_many_threads_and_in_the_same_unit(self):
        samples = [Sample("m", "ns", value, system, threads) for system, threads, values in
                   (("zsync", 1, NOW), ("zsync", 2, SLOWER), ("zsync@old", 1, NOW), ("zsync@old", 2, NOW))
                   for value in values]
        changes = compare.changes_of(report.rows_of("b", samples), {}, "zsync", "zsync@old")
        self.assertEqual([each.verdict for each in changes], [Verdict.ALIKE, Verdict.WORSE])
        samples = [Sample("m", unit, value, system) for system, unit in (("zsync", "us"), ("zsync@old", "ns")) for value in NOW]
        changes = compare.changes_of(report.rows_of("b", samples), {}, "zsync", "zsync@old")
        self.assertEqual([each.verdict for each in changes], [Verdict.ONLY_HERE, Verdict.ONLY_THERE])

    def test_peers_are_not_compared(self):
        samples = [Sample("m", "ns", value, system) for system in ("zsync", "zsync@old", "peer") for value in NOW]
        self.assertEqual(len(compare.changes_of(report.rows_of("b", samples), {}, "zsync", "zsync@old")), 1)

    def test_the_closing_line_names_what_changed_the_largest_first_and_counts_the_rest(self):
        changes = (self.changes(SLOWER, NOW, metric="a") + self.changes([value * 2 for value in SLOWER], NOW, metric="c")
                   + self.changes(NOW, SLOWER, metric="d") + self.changes(NOW, NOW) + self.changes(NOW)
                   + self.changes((), NOW) + self.changes(NOW[:2], NOW[:2]) + self.changes((1,) * 5, (0,) * 5, metric="lost"))
        self.assertEqual(compare.closing_line(changes, "zsync@old"),
                         "against zsync@old: of 5 rows 3 worse: b: lost, t=1 (from 0); b: c, t=1 (+119.6 %); b: a, t=1 (+9.8 %)"
                         " | 1 better: b: d, t=1 (-8.9 %) | 1 within the spread | 1 with fewer than 4 runs, not compared"
                         " | 1 only in this build | 1 only in zsync@old | told apart by chance alone: about 0")

    def test_the_table_says_of_each_row_of_the_present_build_what_became_of_it(self):
        samples = [Sample("m", "ns", value, system) for system, values in
                   (("zsync", SLOWER), ("zsync@old", NOW), ("peer", NOW)) for value in values]
        rows = report.rows_of("b", samples)
        cells = {each.row: each.cell() for each in compare.changes_of(rows, {}, "zsync", "zsync@old")}
        lines = report.table(rows, {}, "zsync", cells).splitlines()
        self.assertTrue(lines[0].endswith("against"))
        self.assertTrue(lines[1].endswith("worse +9.8 %"), lines[1])
        self.assertEqual(sum("worse" in line for line in lines), 1)

    def test_a_second_build_makes_a_bench_run_as_often_as_a_comparison_needs(self):
        builds = [Build("zsync", Path(".")), Build("zsync@old", Path("."))]
        one, two = World(Path("."), Path("."), builds[:1]), World(Path("."), Path("."), builds)
        few, many = types.SimpleNamespace(RUNS=2), types.SimpleNamespace(RUNS=7)
        self.assertEqual([run.runs_of(few, one, None), run.runs_of(few, two, None), run.runs_of(many, two, None)], [2, 5, 7])
        self.assertEqual(run.runs_of(few, two, 3), 3)

    def test_both_builds_are_run_in_turns_and_compared(self):
        builds, order = [Build("zsync", Path(".")), Build("zsync@old", Path("."))], []

        def measure(world, build):
            order.append(build.name)
            return [Sample("m", "ns", 20 if build.name == "zsync" else 10, build.name)]
        sys.modules["benches.made_up"] = types.SimpleNamespace(
            __doc__="Made up.", RUNS=1, TARGETS={}, measure=measure, peers=lambda world: [])
        self.addCleanup(sys.modules.pop, "benches.made_up")
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            result = run.run_bench(World(Path("."), Path("."), builds), "made_up", None)
        self.assertEqual(order[:4], ["zsync", "zsync@old", "zsync@old", "zsync"])
        self.assertEqual([each.verdict for each in result.changes], [Verdict.WORSE])
        self.assertIn("worse +100.0 %", printed.getvalue())


if __name__ == "__main__":
    unittest.main()
