"""The recorded bytes of proto/golden: decoded, compared, encoded again."""
import json
import unittest

from google.protobuf import descriptor_pool, json_format
from harness import ROOT
from zsync import v1

GOLDEN = ROOT / "proto" / "golden"
NOUNS = ("common", "tasks", "channels", "watch", "daemon", "events", "traces", "projects", "functions", "triggers", "diagnostics")


def kinds():
    for noun in NOUNS:
        for name in descriptor_pool.Default().FindFileByName(f"zsync/v1/{noun}.proto").message_types_by_name:
            yield name, getattr(v1, name)


class GoldenTest(unittest.TestCase):
    def test_every_message_is_recorded_with_every_field_set(self):
        for name, kind in kinds():
            with self.subTest(name):
                path = GOLDEN / f"{name}.bin"
                self.assertTrue(path.exists(), f"run proto/golden/make.py: {path} is missing")
                found = {field.name for field, _ in kind.FromString(path.read_bytes()).ListFields()}
                wanted = {field.name for field in kind.DESCRIPTOR.fields}
                self.assertEqual(wanted, found, "run proto/golden/make.py: fields are missing")

    def test_recorded_bytes_read_as_their_json_and_are_written_again_with_future_fields(self):
        for name, kind in kinds():
            with self.subTest(name):
                recorded = (GOLDEN / f"{name}.bin").read_bytes()
                message = kind.FromString(recorded)
                expected = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
                self.assertEqual(expected, json_format.MessageToDict(message))
                self.assertEqual(recorded, message.SerializeToString(deterministic=True))


if __name__ == "__main__":
    unittest.main()
