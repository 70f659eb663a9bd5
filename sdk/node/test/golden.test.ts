// The recorded bytes of proto/golden: decoded, compared, encoded again; and src/gen is what the protos say.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { it } from "node:test";
import { type DescMessage, fromBinary, toBinary, toJson } from "@bufbuild/protobuf";
import { v1 } from "../src/index.js";
import { root } from "./harness.js";

const golden = join(root, "proto/golden");
const schemas = Object.entries(v1).filter(([name]) => name.endsWith("Schema")) as [string, { kind: string }][];
const messages = schemas.map(([, schema]) => schema).filter((schema): schema is DescMessage => schema.kind === "message");

it("reads every recorded message as its JSON and writes it again with future fields", () => {
  const recorded = readdirSync(golden).filter((name) => name.endsWith(".bin")).map((name) => name.slice(0, -4));
  const known = messages.filter((schema) => !schema.parent).map((schema) => schema.name);
  assert.deepEqual(recorded.sort(), known.sort());
  for (const schema of messages.filter((one) => !one.parent)) {
    const bytes = readFileSync(join(golden, `${schema.name}.bin`));
    const message = fromBinary(schema, bytes);
    const expected: unknown = JSON.parse(readFileSync(join(golden, `${schema.name}.json`), "utf8"));
    assert.deepEqual(toJson(schema, message), expected, schema.name);
    assert.ok(bytes.equals(toBinary(schema, message)), `${schema.name} is written differently`);
  }
});

it("src/gen is what the protos say", (context) => {
  const protoc = spawnSync("protoc", ["--version"]);
  if (protoc.status !== 0) return context.skip("no protoc");
  const package_ = join(root, "sdk/node");
  const out = mkdtempSync(join(tmpdir(), "zg"));
  const command: string = JSON.parse(readFileSync(join(package_, "package.json"), "utf8")).scripts.generate;
  execFileSync("sh", ["-c", command.replace("--es_out=src/gen", `--es_out=${out}`)], { cwd: package_ });
  for (const noun of ["channels", "common", "daemon", "diagnostics", "events", "functions", "projects", "tasks", "traces", "triggers", "watch"]) {
    const file = `zsync/v1/${noun}_pb.ts`;
    const same = readFileSync(join(out, file)).equals(readFileSync(join(package_, "src/gen", file)));
    assert.ok(same, `src/gen/${file} is not what the proto says: npm run generate`);
  }
  rmSync(out, { recursive: true });
});
