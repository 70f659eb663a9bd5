// Triggers against a real zsyncd.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { AlreadyExists, type Client, NotFound } from "../src/index.js";
import { TestDaemon, failure, missing } from "./harness.js";

const skip = missing.length > 0 ? `not built: ${missing.join(", ")}` : false;

describe("triggers", { skip, timeout: 120_000 }, () => {
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

  it("runs a command on changes by a trigger until that is removed", async () => {
    const { triggers } = client;
    const folder = mkdtempSync(join(tmpdir(), "zsync-trigger-"));
    const trigger = { globs: ["*.txt"], writes: ["out.txt"], settleMs: 10, task: { labels: { a: "b" } } };
    const made = await triggers.create("count", folder, ["sh", "-c", "echo $ZSYNC_TRIGGER $ZSYNC_CHANGED"], trigger);
    assert.equal(made.spec?.path, folder);
    await failure(AlreadyExists, triggers.create("count", folder, ["true"]));
    await failure(NotFound, triggers.create("other", join(folder, "none"), ["true"]));
    writeFileSync(join(folder, "out.txt"), "1");
    writeFileSync(join(folder, "in.txt"), "1");
    for await (const event of client.events.follow({ types: ["trigger.fired"], fromSeq: 1n })) {
      if ("subject" in event && event.subject === "count") break;
    }
    const fired = await triggers.get("count");
    assert.deepEqual(fired.last?.changed, ["in.txt"]);
    const task = await client.tasks.get(fired.last?.task ?? "");
    assert.deepEqual(task.spec?.labels, { a: "b", trigger: "count" });
    assert.equal((await triggers.pause("count")).paused === undefined, false);
    await triggers.run("count");
    let runs = 0;
    for await (const event of client.events.follow({ types: ["trigger.fired"], fromSeq: 1n })) {
      if ("subject" in event && event.subject === "count" && ++runs === 2) break;
    }
    assert.equal((await triggers.get("count")).last?.byHand, true);
    assert.equal((await triggers.resume("count")).paused, undefined);
    assert.deepEqual((await triggers.list()).map((one) => one.spec?.name), ["count"]);
    assert.deepEqual(await triggers.list({ project: "none" }), []);
    await triggers.remove("count");
    assert.deepEqual(await triggers.list(), []);
    rmSync(folder, { recursive: true });
  });
});
