"""Submit, follow, channel, watch: the same tour in every SDK.

Needs a running zsyncd (`zsyncctl daemon start`) and the zsync package (`pip install ./sdk/python`).
"""
import os
import tempfile
from pathlib import Path

import zsync

with zsync.Client(timeout=30) as client:
    # A task: submitted once it is on disk, followed while it runs, its record kept.
    task = client.tasks.submit("sh", "-c", "echo hello from a task")
    for batch in task.output():
        for record in batch.records:
            print("task:", record.data.decode().rstrip())
    print("task: exit code", task.wait().exit_code)

    # A channel: named, bounded, between any processes of this machine.
    name = f"tour-{os.getpid()}"
    client.channels.create(name, capacity=16)
    client.channels.send(name, [b"one", b"two", b"three"])
    client.channels.close(name)
    for message in client.channels.recv(name):
        if isinstance(message, zsync.v1.Record):
            print("channel:", message.data.decode())
    client.channels.remove(name)

    # A watch: the first batch says that it has begun, later ones what changed.
    with tempfile.TemporaryDirectory() as folder:
        batches = client.watch.subscribe(folder, globs=["*.txt"])
        next(batches)
        Path(folder, "notes.txt").write_text("changed\n")
        for change in next(batches).changes:
            print("watch:", change.path, zsync.v1.ChangeKind.Name(change.kind).removeprefix("CHANGE_KIND_").lower())
        batches.close()
