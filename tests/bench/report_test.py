#!/usr/bin/env python3
"""The arithmetic of the benches: what stands in a row, in the table, in results.json."""
import json
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

import report  # noqa: E402
from report import Target  # noqa: E402
from world import Sample  # noqa: E402

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


if __name__ == "__main__":
    unittest.main()
