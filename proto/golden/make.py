#!/usr/bin/env python3
"""Records the bytes of one message of each kind of zsync.v1, every field set, with fields of a future version behind them.

    make.py PYTHON_TREE    PYTHON_TREE: where sdk/python/generate.py --tree put the package

Recorded bytes are a promise. A message that gained a field is recorded anew; one whose old fields would read differently is
refused, because that would break peers of the earlier version.
"""
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Field 2000: the varint 7; field 2001: the bytes "future".
FUTURE = bytes.fromhex("807d07" "8a7d06") + b"future"
STRING_VALUES = ("plain", "ünïcødé ✓", "two\nlines")


def messages_of(v1) -> dict:
    from google.protobuf import descriptor_pool

    pool, found = descriptor_pool.Default(), {}
    for noun in ("common", "tasks", "channels", "watch", "daemon", "events", "traces", "projects", "functions", "triggers"):
        for name in pool.FindFileByName(f"zsync/v1/{noun}.proto").message_types_by_name:
            found[name] = getattr(v1, name)
    return found


def value_of(field, seed: int):
    """A value that no default could stand for, another one for each field."""
    kind = field.cpp_type
    if kind == field.CPPTYPE_ENUM:
        return field.enum_type.values[-1].number
    if kind == field.CPPTYPE_BOOL:
        return True
    if kind == field.CPPTYPE_STRING:
        return bytes([0, 255, seed % 256]) if field.type == field.TYPE_BYTES else f"{field.name} {STRING_VALUES[seed % 3]}"
    large = {field.CPPTYPE_UINT64: 2**63, field.CPPTYPE_INT64: -(2**62), field.CPPTYPE_UINT32: 2**31}
    return large.get(kind, -(2**30)) + seed


def fill(message, depth: int = 0) -> None:
    for seed, field in enumerate(message.DESCRIPTOR.fields, 1):
        repeated = field.label == field.LABEL_REPEATED
        if field.message_type and field.message_type.GetOptions().map_entry:
            # One pair: the order of several is not part of the contract.
            getattr(message, field.name)["key"] = "value ✓"
        elif field.message_type and field.message_type.full_name == "google.protobuf.Duration":
            getattr(message, field.name).FromNanoseconds(90_500_000_000 + seed)
        elif field.message_type:
            for _ in range(2 if repeated else 1):
                fill(getattr(message, field.name).add() if repeated else getattr(message, field.name), depth + 1)
        elif repeated:
            values = [value_of(field, seed), value_of(field, seed + 1)]
            getattr(message, field.name).extend(values)
        else:
            setattr(message, field.name, value_of(field, seed))


def keeps(old, new) -> bool:
    """Whether all that the earlier recording says still reads the same."""
    for field, value in old.ListFields():
        fresh = getattr(new, field.name)
        if field.cpp_type == field.CPPTYPE_ENUM:  # it may have gained values, and `new` has the last one
            values = value if field.label == field.LABEL_REPEATED else [value]
            if any(one not in field.enum_type.values_by_number for one in values):
                return False
        elif field.cpp_type != field.CPPTYPE_MESSAGE or (field.message_type.GetOptions().map_entry):
            if value != fresh:
                return False
        elif field.label == field.LABEL_REPEATED:
            if len(value) != len(fresh) or not all(keeps(a, b) for a, b in zip(value, fresh)):
                return False
        elif not keeps(value, fresh):
            return False
    return True


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    sys.path.insert(0, sys.argv[1])
    from google.protobuf import json_format
    from zsync import v1

    for name, kind in messages_of(v1).items():
        message = kind()
        fill(message)
        path = HERE / f"{name}.bin"
        if path.exists() and not keeps(kind.FromString(path.read_bytes()), message):
            raise SystemExit(f"golden: {name} would read differently from its recorded bytes: fields are only ever added")
        path.write_bytes(message.SerializeToString(deterministic=True) + FUTURE)
        text = json.dumps(json_format.MessageToDict(message), indent=1, ensure_ascii=False, sort_keys=True)
        (HERE / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
