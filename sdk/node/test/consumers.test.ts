// Consumers of groups against a real zsyncd that is killed.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import type { Client } from "../src/index.js";
import { TestDaemon, missing } from "./harness.js";

const skip = missing.length > 0 ? `not built: ${missing.join(", ")}` : false;

describe("a consumer", { skip, timeout: 120_000 }, () => {
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

  it("joins its group again across kill -9, and is told what comes again", async () => {
    const { channels } = client;
    await channels.create("jobs", { durable: true });
    await channels.createGroup("jobs", "g");
    await channels.send("jobs", ["1"]);
    const consumed = channels.consume("jobs", "g", { byHand: true, limit: 3 });
    const next = async () => {
      const { value } = await consumed.next();
      assert.ok(value && "delivery" in value);
      return value;
    };
    const first = await next();
    assert.deepEqual([first.seq, first.delivery], [1n, 1]);
    await daemon.kill();
    await daemon.start();
    const again = await next();
    assert.deepEqual([again.seq, again.delivery], [1n, 2]);
    const late = await channels.ack("jobs", "g", [first]);
    assert.deepEqual([late.done, late.refused[0]?.reason], [0n, "REDELIVERED"]);
    const other = await daemon.client({});
    await assert.rejects(other.channels.ack("jobs", "g", [first]));
    other.close();
    assert.equal((await channels.ack("jobs", "g", [again])).done, 1n);
    await channels.send("jobs", ["2"]);
    const second = await next();
    assert.equal(second.seq, 2n);
    assert.equal((await channels.ack("jobs", "g", [second])).done, 1n);
    assert.ok((await consumed.next()).done, "its limit counts what was given before the break");
  });
});
