// Submit, follow, channel, watch: the same tour in every SDK.
//
// Needs a running zsyncd (`zsyncctl daemon start`) and the built package (`npm ci` in sdk/node).
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client, v1 } from "@zsync/client";

const client = await Client.connect({ timeoutMs: 30_000 });

// A task: submitted once it is on disk, followed while it runs, its record kept.
const task = await client.tasks.submit(["sh", "-c", "echo hello from a task"]);
for await (const batch of task.output()) {
  for (const record of batch.records) console.log("task:", Buffer.from(record.data).toString().trimEnd());
}
console.log("task: exit code", (await task.wait()).exitCode);

// A channel: named, bounded, between any processes of this machine.
const name = `tour-${process.pid}`;
await client.channels.create(name, { capacity: 16 });
await client.channels.send(name, ["one", "two", "three"]);
await client.channels.close(name);
for await (const message of client.channels.recv(name)) {
  if (message.$typeName === "zsync.v1.Record") console.log("channel:", Buffer.from(message.data).toString());
}
await client.channels.remove(name);

// A watch: the first batch says that it has begun, later ones what changed.
const folder = await mkdtemp(join(tmpdir(), "tour-"));
let begun = false;
for await (const batch of client.watch.subscribe(folder, { globs: ["*.txt"] })) {
  for (const change of batch.changes) console.log("watch:", change.path, v1.ChangeKind[change.kind]!.toLowerCase());
  if (begun) break;
  begun = true;
  await writeFile(join(folder, "notes.txt"), "changed\n");
}
await rm(folder, { recursive: true });
client.close();
