// The client against a real zsyncd.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { lutimesSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import { AlreadyExists, Canceled, Client, Conflict, DeadlineExceeded, type HeldWatchState, InvalidArgument, LimitExceeded, NotFound, Unavailable, socketPath, spec, v1 } from "../src/index.js";
import { TestDaemon, collect, failure, missing, root, text } from "./harness.js";

const skip = missing.length > 0 ? `not built: ${missing.join(", ")}` : false;
const lines = "i=0; while [ $i -lt 60 ]; do echo line $i; i=$((i+1)); sleep 0.03; done";
const tour = `task: hello from a task
task: exit code 0
channel: one
channel: two
channel: three
watch: notes.txt created
`;

describe("zsync client", { skip, timeout: 240_000 }, () => {
  let daemon: TestDaemon;
  let client: Client;

  before(async () => {
    daemon = new TestDaemon();
    await daemon.start();
    client = await daemon.client();
  });
  after(async () => {
    client.close();
    await daemon.stop();
  });

  it("submits a task, follows it and waits for it", async () => {
    const task = await client.tasks.submit(["sh", "-c", "echo out; echo err >&2; exit 3"], { labels: { a: "b" } });
    const records = (await collect(task.output())).flatMap((batch) => batch.records);
    assert.deepEqual(records.map((record) => record.seq), [1n, 2n]);
    const final = await task.wait();
    assert.deepEqual([final.state, final.exitCode], [v1.TaskState.FAILED, 3]);
    assert.deepEqual((await collect(client.tasks.list({ labels: { a: "b" } }))).map((found) => found.id), [task.id]);
  });

  it("runs a command: exit code and both streams", async () => {
    const done = await client.run(["sh", "-c", "cat; echo $WORD >&2; exit 7"], { stdin: Buffer.from("in"), env: { WORD: "set" } });
    assert.deepEqual([done.exitCode, text(done.stdout), text(done.stderr)], [7, "in", "set\n"]);
    const again = await client.run(["sh", "-c", "echo again; exit 1"], { retries: 2 });
    assert.deepEqual([again.task.attempt, text(again.stdout)], [3, "again\n"]);
  });

  it("tries again when and after what the policy says", async () => {
    const done = await client.run(["sh", "-c", "exit 75"], { retries: 1, retry: { backoffMs: 1, on: [75, "timeout"] }, onLost: "retry" });
    const task = await client.tasks.task(done.task.id).get();
    assert.deepEqual(task.attempts.map((attempt) => attempt.exitCode), [75, 75]);
    assert.deepEqual([task.spec?.retry?.on?.exitCodes, task.spec?.retry?.on?.timeout], [[75], true]);
  });

  it("tells the trace of a task", async () => {
    const done = await client.run(["true"], { name: "traced" });
    const trace = await client.traces.get(done.task.id);
    assert.deepEqual(trace.spans.map((span) => span.name), ["traced", "wait in the queue", "attempt 1"]);
    assert.equal((await client.traces.list({ limit: 1 }))[0]?.id, trace.summary?.id);
    await failure(NotFound, client.traces.get("beef"));
  });

  it("lists and follows what a task printed", async () => {
    const build = async (code: number) => {
      const line = `[ ${code} = 0 ] || printf '/w/a.c:1:2: error: no [-Wx]\\n'; exit ${code}`;
      await client.run(["sh", "-c", line], { name: "build", cwd: "/", matchers: ["gcc"] });
    };
    await build(1);
    const [found] = await client.diagnostics.list({ path: "/w", source: "build in /", severity: "error" });
    assert.deepEqual([found?.path, found?.diagnostics[0]?.line, found?.diagnostics[0]?.code], ["/w/a.c", 1, "-Wx"]);
    let heard = 0;
    for await (const batch of client.diagnostics.subscribe()) {
      heard += 1;
      assert.equal(batch.reset, heard === 1);
      assert.equal(batch.sets[0]?.diagnostics.length, heard === 1 ? 1 : 0);
      if (heard === 2) break;
      await build(0);
    }
    assert.deepEqual(await client.diagnostics.list(), []);
  });

  it("brings a project up, follows it and takes it down", async () => {
    const folder = mkdtempSync(join(tmpdir(), "zsync-node-"));
    const file = join(folder, "zsync.yaml");
    writeFileSync(file, "version: 1\nproject: node\nservices: {a: {run: [sleep, '60']}}\n");
    assert.deepEqual((await client.projects.check("version: 1\nx: 1\n")).map((problem) => problem.line), [2]);
    await client.projects.up(file);
    for await (const project of client.projects.follow("node")) {
      if (!project.settled) continue;
      assert.ok(project.healthy);
      break;
    }
    const down = await client.projects.down("node");
    assert.equal(down.units[0]?.state, v1.UnitState.STOPPED);
    await client.projects.remove("node");
    await failure(NotFound, client.projects.get("node"));
    rmSync(folder, { recursive: true });
  });

  it("starts after others, and is skipped when it cannot", async () => {
    const first = await client.tasks.submit(["false"], { locks: ["l"] });
    const cleans = await client.tasks.submit(["true"], { after: [{ task: first.id, condition: "failed" }], delayMs: 1 });
    const skipped = await client.tasks.submit(["true"], { after: [first.id], startAt: new Date(1) });
    assert.equal((await cleans.wait()).state, v1.TaskState.SUCCEEDED);
    assert.equal((await skipped.wait()).state, v1.TaskState.SKIPPED);
  });

  it("is paused, resumed and sent signals", async () => {
    const task = await client.tasks.submit(["sh", "-c", "trap 'exit 5' USR1; echo up; while :; do sleep 0.01; done"]);
    for await (const batch of task.output()) if (batch.records.length > 0) break;
    assert.ok((await task.pause()).pausedUnixNano > 0n);
    assert.equal((await task.resume()).pausedUnixNano, 0n);
    await task.signal(10);
    const ended = await task.wait();
    assert.equal(ended.exitCode, 5);
    assert.ok(ended.usage!.memoryPeakBytes > 0n);
    await failure(Conflict, task.pause());
  });

  it("types on a task's terminal", async () => {
    const task = await client.tasks.submit(["sh", "-c", "stty size; read x; stty size; echo got $x"], { terminal: { rows: 24, columns: 80 } });
    for await (const batch of task.output()) if (batch.records.length > 0) break;
    const keyboard = task.input();
    await keyboard.resize(30, 100);
    await keyboard.write("word\n");
    await keyboard.finish(false);
    assert.equal((await task.completed()).stdout.toString(), "24 80\r\nword\r\n30 100\r\ngot word\r\n");
  });

  it("gives a command priorities and limits", async () => {
    const done = await client.run(["sh", "-c", "nice; ionice"], { nice: 7, io: "best-effort:6", limits: { memoryBytes: 2 ** 30, cpus: 1.5 } });
    assert.equal(done.stdout.toString(), "7\nbest-effort: prio 6\n");
    assert.equal(done.task.spec?.limits?.cpuMillis, 1500);
    assert.throws(() => spec(["true"], { io: "fast" as "idle" }), /best-effort/);
  });

  it("has resources while it runs, ends by its deadline, and waits in groups with settings", async () => {
    assert.equal((await client.tasks.setResource("gpu", 2)).capacity, 2);
    const holder = await client.tasks.submit(["sleep", "60"], { resources: { gpu: 2 }, deadline: 60_000 });
    const waiter = await client.tasks.submit(["true"], { resources: { gpu: 1 }, startDeadline: 200 });
    const missed = await waiter.wait();
    assert.deepEqual([missed.state, missed.reason], [v1.TaskState.TIMED_OUT, "deadline: it had not started in time"]);
    const held = await client.tasks.resources();
    assert.deepEqual(held.find((one) => one.name === "gpu")?.holders, [holder.id]);
    assert.notEqual((await holder.get()).slack, undefined);
    await holder.cancel({ wait: true });

    const group = await client.tasks.setGroup("node", 3, { order: "deadline", overload: "reject", queuedMax: 5, drained: true });
    assert.deepEqual([group.parallel, group.order, group.queuedMax], [3, v1.GroupOrder.DEADLINE, 5]);
    await failure(Conflict, client.tasks.submit(["true"], { group: "node" }));
    assert.equal((await client.tasks.setGroup("node", 0, { drained: false })).drained, undefined);
    const limited = await client.tasks.setGroup("node", 0, { memoryBytesMax: 2 ** 30, cpusMax: 1.5 });
    assert.deepEqual([limited.memoryBytesMax, limited.cpuMillisMax], [2n ** 30n, 1500]);
    assert.equal((await (await client.tasks.submit(["true"], { group: "node", deadline: new Date(Date.now() + 1e7) })).wait()).state, v1.TaskState.SUCCEEDED);
  });

  it("comes again by a schedule until that is removed", async () => {
    const { schedules } = client.tasks;
    const made = await schedules.create("often", ["true"], { everyMs: 1000, overlap: "queue", task: { labels: { a: "b" } } });
    assert.equal(made.spec?.missed, v1.MissedRuns.SKIP);
    assert.equal((await schedules.upcoming("often", 3)).length, 3);
    await failure(AlreadyExists, schedules.create("often", ["true"], { cron: "@daily" }));
    await failure(InvalidArgument, schedules.create("sure", ["true"], { everyMs: 1000, guaranteed: true }));
    await failure(InvalidArgument, schedules.create("never", ["true"], { cron: "0 0 30 2 *" }));
    for await (const event of client.events.follow({ types: ["schedule.fired"], fromSeq: 1n })) {
      if ("subject" in event && event.subject === "often") break;
    }
    const fired = await schedules.get("often");
    assert.equal((await client.tasks.get(fired.lastTask)).spec?.labels["schedule"], "often");
    assert.notEqual((await schedules.pause("often")).paused, undefined);
    assert.equal((await schedules.resume("often")).paused, undefined);
    await schedules.remove("often");
    assert.deepEqual(await schedules.list(), []);
  });

  it("submits an array as one, waits for it and cancels it", async () => {
    const array = await client.tasks.submitArray(["echo", "{os}-{v}"], { matrix: { os: ["a", "b"], v: ["1"] } });
    const ended = await array.wait();
    assert.deepEqual(ended.map((task) => task.spec?.argv[1]), ["a-1", "b-1"]);
    assert.deepEqual((await collect(client.tasks.list({ array: array.id }))).map((task) => task.id).sort(), [...array.ids].sort());
    const sleeps = await client.tasks.submitArray(["sleep", "60"], { array: "0-1" });
    assert.deepEqual((await sleeps.cancel({ wait: true })).map((task) => task.state), [v1.TaskState.CANCELED, v1.TaskState.CANCELED]);
  });

  it("cancels a run whose timeout passes or whose signal aborts", async () => {
    await failure(DeadlineExceeded, client.run(["sleep", "60"], { name: "late" }, { timeoutMs: 300 }));
    assert.equal((await client.tasks.task("late").wait()).state, v1.TaskState.CANCELED);
    const stop = new AbortController();
    const run = client.run(["sleep", "60"], { name: "stopped" }, { signal: stop.signal });
    for await (const event of client.events.follow({ types: ["task.started"], fromSeq: 1n })) {
      if ("subject" in event && (await client.tasks.get(event.subject)).spec?.name === "stopped") break;
    }
    stop.abort();
    await failure(Canceled, run);
    assert.equal((await client.tasks.task("stopped").wait()).state, v1.TaskState.CANCELED);
  });

  it("feeds a task's stdin", async () => {
    const task = await client.tasks.submit(["cat"], { stdinStream: true });
    const stdin = task.input();
    await stdin.write("a".repeat(1000));
    await stdin.write("b");
    assert.equal(await stdin.finish(), 1001n);
    assert.equal(text((await task.completed()).stdout), "a".repeat(1000) + "b");
  });

  it("runs each of a thousand concurrent submits once", async () => {
    const tasks = await Promise.all(Array.from({ length: 1000 }, () => client.tasks.submit(["true"])));
    assert.equal(new Set(tasks.map((task) => task.id)).size, 1000);
    const records = await client.tasks.wait(tasks);
    assert.ok(records.every((record) => record.state === v1.TaskState.SUCCEEDED && record.attempt === 1));
  });

  it("reads a large output whole and in order", async () => {
    const done = await client.run(["seq", "1000000"]);
    assert.deepEqual(done.gaps, []);
    const expected = Array.from({ length: 1000000 }, (_, index) => `${index + 1}\n`).join("");
    assert.ok(text(done.stdout) === expected);
  });

  it("says what is wrong: field, reason, limit, hint, closest", async () => {
    await (await client.tasks.submit(["true"], { name: "compile" })).wait();
    const unknown = await failure(NotFound, client.tasks.get("compil3"));
    assert.deepEqual([unknown.code, unknown.field, unknown.reason], ["NOT_FOUND", "id", "NOT_FOUND"]);
    assert.ok(unknown.closest.includes("compile") && unknown.message.includes(unknown.hint));
    assert.equal((await failure(InvalidArgument, client.tasks.submit([]))).field, "spec.argv");
    assert.match((await failure(Error, client.tasks.submit(["true"], { env: { A: "x".repeat(200_000) } }))).message, /128|131072/);
    await failure(LimitExceeded, client.tasks.submit(["true"], { stdin: new Uint8Array(5 << 20) }));
    assert.ok((await client.daemon.info()).version);
  });

  it("tells what the daemon is", async () => {
    assert.equal((await client.daemon.info()).pid, BigInt(daemon.process.pid!));
    assert.ok((await client.daemon.stats()).rssBytes > 0n);
    assert.ok((await client.daemon.config()).some((value) => value.key === "socket"));
    assert.ok((await client.daemon.doctor()).length > 0);
  });

  it("carries messages in order and ends the receiver with the close", async () => {
    await client.channels.create("order", { capacity: 8 });
    const received = collect(client.channels.recv("order"));
    const sent = Array.from({ length: 10_000 }, (_, index) => String(index));
    assert.equal((await client.channels.send("order", sent)).accepted, 10_000n);
    await client.channels.close("order");
    assert.deepEqual((await received).map((record) => ("data" in record ? text(record.data) : "gap")), sent);
    await failure(Conflict, client.channels.send("order", ["late"]));
    await failure(NotFound, client.channels.send("nowhere", ["x"]));
  });

  it("a selection gives what comes first of several channels, and ends with the last", async () => {
    for (const name of ["s1", "s2"]) await client.channels.create(name);
    await client.channels.create("s3", { form: "broadcast" });
    await client.channels.send("s2", ["a", "b"]);
    await client.channels.send("s3", ["seen"]);
    const got: string[] = [];
    const sources = ["s1", "s2", { channel: "s3", follow: true, fromSeq: 1n }];
    for await (const one of client.channels.select(sources)) {
      got.push("record" in one ? `${one.channel} ${Buffer.from(one.record.data)}` : `${one.channel} closed`);
      if (got.length === 3) for (const name of ["s1", "s2", "s3"]) await client.channels.close(name);
    }
    assert.deepEqual(got.slice(0, 3), ["s2 a", "s2 b", "s3 seen"]);
    assert.deepEqual(got.slice(3).sort(), ["s1 closed", "s2 closed", "s3 closed"]);
    await failure(InvalidArgument, client.channels.select(["s1", "s1"]).next());
  });

  it("a receiver is told with what it waits for", async () => {
    await client.channels.create("idle");
    await client.channels.send("idle", ["x"]);
    const receiver = client.channels.recv("idle");
    await receiver.next();
    // The message may be here before the daemon hears that it was taken.
    let [told] = (await client.channels.get("idle")).consumers;
    for (let i = 0; i < 10_000 && told?.state === v1.ConsumerState.NOT_READING; i++) [told] = (await client.channels.get("idle")).consumers;
    assert.equal(told?.state, v1.ConsumerState.OUTSTANDING);
    await receiver.return();
  });

  it("gives back what a receiver that leaves early did not hand out", async () => {
    await client.channels.create("early");
    await client.channels.send("early", Array.from({ length: 100 }, (_, index) => String(index)));
    let count = 0;
    for await (const _ of client.channels.recv("early")) if (++count === 10) break;
    const rest = await collect(client.channels.recv("early", { limit: 90 }));
    assert.equal("data" in rest[0]! && text(rest[0].data), "10");
    assert.equal(rest.length, 90);
  });

  it("keeps what it is told and is read from a place of choice", async () => {
    await client.channels.create("kept", { durable: true, retentionBytes: 1 << 20, dedupWindowMs: 60_000 });
    const { spec } = await client.channels.update("kept", { retentionAgeMs: 86_400_000 });
    assert.equal(spec?.policy?.retentionAge?.seconds, 86_400n);
    assert.equal(spec?.policy?.retentionBytes, 1n << 20n);
    assert.equal(spec?.policy?.dedupWindow?.seconds, 60n);
    await failure(InvalidArgument, client.channels.update("kept", { retentionBytes: 1 }));
    await client.channels.send("kept", ["1", "2"]);
    const fromTime = new Date(Date.now() - 3_600_000);
    for (const start of [{ fromStart: true }, { fromTime }]) {
      for await (const one of client.channels.follow("kept", start)) {
        assert.equal("data" in one && text(one.data), "1");
        break;
      }
    }
    assert.equal((await client.channels.createGroup("kept", "g", { fromTime })).nextSeq, 1n);
    await failure(InvalidArgument, client.channels.follow("kept", { fromSeq: 9n }).next());
  });

  it("answers requests, and says why when it does not", async () => {
    await client.channels.create("upper", { form: "request" });
    await failure(Conflict, client.channels.request("upper", "x"));
    const responder = client.channels.reply("upper", async ({ body }) => {
      if (text(body) === "fail") throw new Error("no such row");
      return text(body).toUpperCase();
    }, { concurrency: 2 });
    while (!(await client.channels.get("upper")).requests?.responders);
    const asked = ["a", "b", "c"].map((body) => client.channels.request("upper", body, { timeoutMs: 30_000 }));
    assert.deepEqual((await Promise.all(asked)).map(text), ["A", "B", "C"]);
    await assert.rejects(client.channels.request("upper", "fail"), /no such row/);
    await client.channels.close("upper");
    await responder;
  });

  it("gives followers the latest of each key", async () => {
    await client.channels.create("state", { form: "latest" });
    await client.channels.send("state", [{ data: "a1", key: "a" }, { data: "a2", key: "a" }, { data: "b1", key: "b" }]);
    const seen: string[] = [];
    for await (const one of client.channels.follow("state")) {
      if ("data" in one) seen.push(text(one.data));
      if (seen.length === 2) break;
    }
    assert.deepEqual(seen, ["a2", "b1"]);
  });

  it("delivers to a group again until acknowledged, and then to the dead letters", async () => {
    await client.channels.create("work", { durable: true });
    await client.channels.createGroup("work", "g", { ackWaitMs: 60_000, maxDeliveries: 2 });
    await client.channels.send("work", ["a", "b"]);
    const seen: string[] = [];
    for await (const one of client.channels.consume("work", "g", { byHand: true })) {
      if (!("data" in one)) continue;
      seen.push(`${text(one.data)}${one.delivery}`);
      if (text(one.data) === "a") {
        assert.equal((await client.channels.ack("work", "g", [one])).done, 1n);
        await failure(Conflict, client.channels.ack("work", "g", [one]));
        await failure(InvalidArgument, client.channels.ack("work", "g", [900n]));
      } else {
        assert.equal((await client.channels.extend("work", "g", [one])).done, 1n);
        assert.equal((await client.channels.nack("work", "g", [one], { delayMs: 10, reason: "never" })).done, 1n);
        if (one.delivery === 2) break;
      }
    }
    assert.deepEqual(seen, ["a1", "b1", "b2"]);
    // A message is moved there after the refusal was answered.
    for await (const event of client.events.follow({ types: ["channel.created"], fromSeq: 1n })) {
      if ("subject" in event && event.subject === "work.dead") break;
    }
    for await (const dead of client.channels.follow("work.dead", { fromSeq: 1n })) {
      assert.ok("dead" in dead && dead.dead?.seq === 2n && dead.dead.reason === "never");
      break;
    }
    await client.channels.send("work", ["c"]);
    const rest = await collect(client.channels.consume("work", "g", { limit: 1 }));
    assert.equal("data" in rest[0]! && text(rest[0].data), "c");
    await client.channels.removeGroup("work", "g");
  });

  it("keeps a message with a known id once", async () => {
    await client.channels.create("once");
    const reply = await client.channels.send("once", [{ data: "a", id: "x", key: "k" }, { data: "b", id: "x" }, "c"]);
    assert.equal(reply.accepted, 3n);
    assert.equal(reply.duplicates, 1n);
    const got = await collect(client.channels.recv("once", { limit: 2 }));
    assert.deepEqual(got.map((one) => "data" in one && [text(one.data), one.key, one.id]), [["a", "k", "x"], ["c", "", ""]]);
  });

  it("follows a channel without taking anything, gaps announced", async () => {
    await client.channels.create("ring", { capacity: 2, overflow: "dropOldest" });
    const sender = client.channels.sender("ring");
    await sender.send("1", "2");
    assert.equal((await sender.flush()).accepted, 2n);
    await sender.send("3", "4");
    await sender.finish();
    await client.channels.close("ring");
    const [gap, ...records] = await collect(client.channels.follow("ring", { fromSeq: 1n }));
    assert.ok(gap?.$typeName === "zsync.v1.Gap" && gap.from === 1n && gap.to === 2n);
    assert.deepEqual(records.map((record) => "data" in record && text(record.data)), ["3", "4"]);
    assert.equal((await client.channels.get("ring")).depth, 2n);
  });

  it("leaves out what was only touched", async () => {
    const folder = mkdtempSync(join(tmpdir(), "zw"));
    const seen: string[] = [];
    for await (const batch of client.watch.subscribe(folder, { changedContent: true })) {
      seen.push(...batch.changes.map((change) => change.path));
      if (seen.length === 0) symlinkSync("nowhere", join(folder, "link"));
      if (seen.at(-1) === "link") {
        lutimesSync(join(folder, "link"), 1, 1);
        mkdirSync(join(folder, "last"));
      }
      if (seen.at(-1) === "last") break;
    }
    assert.deepEqual(seen, ["link", "last"]);
    rmSync(folder, { recursive: true });
  });

  it("is silent while a state is held, and told afterwards", async () => {
    const folder = mkdtempSync(join(tmpdir(), "zw"));
    const seen: string[] = [];
    let held: HeldWatchState | undefined;
    for await (const batch of client.watch.subscribe(folder, { defer: ["build"] })) {
      seen.push(...batch.changes.map((change) => change.path), batch.stateEntered, batch.stateLeft);
      if (!held) held = await client.watch.holdState(folder, "build");
      if (batch.stateEntered) {
        assert.equal(held.silent, 1);
        assert.deepEqual((await client.watch.states()).map((state) => state.name), ["build"]);
        mkdirSync(join(folder, "during"));
        await held.release();
        assert.deepEqual(await client.watch.states(), []);
      }
      if (seen.includes("during")) break;
    }
    assert.deepEqual(seen.filter(Boolean), ["build", "build", "during"]);
    rmSync(folder, { recursive: true });
  });

  it("watches a folder from a clock", async () => {
    const folder = mkdtempSync(join(tmpdir(), "zw"));
    let clock = "";
    for await (const batch of client.watch.subscribe(folder, { globs: ["*.txt"] })) {
      if (clock) {
        assert.deepEqual(batch.changes.map((change) => [change.path, change.kind]), [["a.txt", v1.ChangeKind.CREATED]]);
        clock = batch.clock;
        break;
      }
      clock = batch.clock;
      writeFileSync(join(folder, "a.txt"), "1");
    }
    writeFileSync(join(folder, "b.txt"), "2");
    const changed = new Set<string>();
    for await (const batch of client.watch.subscribe(folder, { since: clock })) {
      for (const change of batch.changes) changed.add(change.path);
      if (changed.has("b.txt")) break;
    }
    rmSync(folder, { recursive: true });
  });

  it("asks what changed since a clock", async () => {
    const folder = mkdtempSync(join(tmpdir(), "zw"));
    const clock = await client.watch.sync(folder);
    writeFileSync(join(folder, "a.txt"), "1");
    writeFileSync(join(folder, "b.bin"), "1");
    const batch = await client.watch.since(folder, clock, { globs: ["*.txt"] });
    assert.deepEqual(batch.changes.map((change) => [change.path, change.kind]), [["a.txt", v1.ChangeKind.CREATED]]);
    assert.deepEqual((await client.watch.since(folder, batch.clock)).changes, []);
    assert.equal((await client.watch.since(folder, "c:another:1")).fresh, true);
    const usage = await client.watch.usage();
    assert.ok(usage.users.some((user) => user.zsyncd && user.watches >= 1n));
    rmSync(folder, { recursive: true });
  });

  it("prints what the tour prints in every SDK", async () => {
    const environment = { ...process.env, ZSYNC_SOCKET: daemon.socket };
    const script = join(root, "sdk/node/dist/examples/tour.js");
    const done = await promisify(execFile)(process.execPath, [script], { env: environment, timeout: 60_000 });
    assert.deepEqual([done.stdout, done.stderr], [tour, ""]);
  });

  it("follows output across kill -9 without hole or duplicate", async () => {
    const task = await client.tasks.submit(["sh", "-c", lines]);
    const restart = daemon.restartSoon();
    const records = (await collect(task.output())).flatMap((batch) => batch.records);
    await restart;
    assert.equal(records.map((record) => text(record.data)).join(""), Array.from({ length: 60 }, (_, i) => `line ${i}\n`).join(""));
    assert.deepEqual(records.map((record) => Number(record.seq)), records.map((_, index) => index + 1));
  });

  it("follows output into later attempts across kill -9", async () => {
    const script = "for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.1; done; exit 1";
    const task = await client.tasks.submit(["sh", "-c", script], { retries: 2 });
    const restart = daemon.restartSoon();
    const got: string[] = [];
    for await (const batch of task.output()) for (const record of batch.records) got.push(`${batch.attempt}:${text(record.data)}`);
    await restart;
    assert.deepEqual(got, [1, 2, 3].flatMap((attempt) => [1, 2, 3, 4, 5, 6, 7, 8].map((line) => `${attempt}:${line}\n`)));
  });

  it("follows events and waits across kill -9", async () => {
    const task = await client.tasks.submit(["sh", "-c", "sleep 1.2; exit 4"]);
    const restart = daemon.restartSoon();
    const waited = task.wait();
    const seqs: number[] = [];
    for await (const event of client.events.follow({ fromSeq: 1n })) {
      assert.ok("seq" in event);
      seqs.push(Number(event.seq));
      if (event.type === "task.finished" && event.subject === task.id) break;
    }
    assert.deepEqual(seqs, seqs.map((_, index) => index + 1));
    assert.equal((await waited).exitCode, 4);
    await restart;
  });

  it("goes on across an upgrade with output, a wait and memory channels", async () => {
    const before = await client.daemon.info();
    const task = await client.tasks.submit(["sh", "-c", lines]);
    await client.channels.create("carried");
    await client.channels.send("carried", ["1", "2"]);
    const waited = task.wait();
    const output = collect(task.output());
    assert.equal((await client.daemon.checkUpgrade()).version, before.version);
    const now = await client.daemon.upgrade();
    assert.equal(now.pid, before.pid);
    assert.notEqual(now.instance, before.instance);
    const records = (await output).flatMap((batch) => batch.records);
    assert.equal(records.map((record) => text(record.data)).join(""), Array.from({ length: 60 }, (_, i) => `line ${i}\n`).join(""));
    assert.deepEqual(records.map((record) => Number(record.seq)), records.map((_, index) => index + 1));
    assert.equal((await waited).exitCode, 0);
    assert.equal((await client.channels.get("carried")).depth, 2n);
  });

  it("is told why a program cannot take over", async () => {
    const refused = await failure(Conflict, client.daemon.upgrade("/bin/true"));
    assert.match(refused.message, /did not pass its check/);
    await failure(InvalidArgument, client.daemon.upgrade("zsyncd"));
  });

  it("tells a break where resume is off", async () => {
    const plain = await daemon.client({ resume: false });
    const task = await plain.tasks.submit(["sleep", "1"]);
    const restart = daemon.restartSoon();
    await failure(Unavailable, collect(task.output()));
    plain.close();
    await restart;
  });
});

describe("finding the daemon", () => {
  it("looks in the documented order", () => {
    assert.equal(socketPath("/w", { ZSYNC_SOCKET: "/a" }), "/w");
    assert.equal(socketPath(undefined, { ZSYNC_SOCKET: "/a", XDG_RUNTIME_DIR: "/run" }), "/a");
    assert.equal(socketPath(undefined, { XDG_RUNTIME_DIR: "/run", HOME: "/h" }), "/run/zsync/zsyncd.sock");
    assert.equal(socketPath(undefined, { ZSYNC_STATE_DIR: "/st", HOME: "/h" }), "/st/zsyncd.sock");
    assert.equal(socketPath(undefined, { HOME: "/h" }), "/h/.local/state/zsync/zsyncd.sock");
  });

  it("refuses a path that is too long, with its length", () => {
    assert.throws(() => socketPath("/" + "x".repeat(199)), /has 200 bytes, at most 107 fit/);
  });

  it("says at once that there is no daemon", async () => {
    const error = await failure(Unavailable, Client.connect({ socket: "/nowhere/s" }));
    assert.match(error.message, /no zsyncd at \/nowhere\/s: start one/);
  });

  it("starts a daemon where that is allowed", { skip }, async () => {
    const daemon = new TestDaemon();
    process.env.ZSYNC_STATE_DIR = join(daemon.folder, "state");
    const client = await Client.connect({ socket: daemon.socket, autostart: true, daemonPath: join(daemon.folder, "zsyncd"), timeoutMs: 10_000 });
    const { pid } = await client.daemon.info();
    assert.ok(pid > 0n);
    await client.daemon.shutdown();
    client.close();
    delete process.env.ZSYNC_STATE_DIR;
    for (let alive = true; alive; ) {
      try {
        process.kill(Number(pid), 0);
        await new Promise((done) => setTimeout(done, 10));
      } catch {
        alive = false;
      }
    }
    rmSync(daemon.folder, { recursive: true, force: true });
  });
});
