// Tasks: submit commands, follow their output, wait for them.
import { type MessageInitShape, create } from "@bufbuild/protobuf";
import { type Duration, DurationSchema } from "@bufbuild/protobuf/wkt";
import type { ClientWritableStream } from "@grpc/grpc-js";
import { type CallOptions, type Connection, onAbort } from "./connection.js";
import { NotFound } from "./errors.js";
import type { Gap } from "./gen/zsync/v1/common_pb.js";
import { Stream } from "./gen/zsync/v1/common_pb.js";
import {
  DependencyCondition, GroupOrder, IoClass, Jitter, OnLost, OverloadPolicy, type RetryCondition, RetryConditionSchema, type RetryPolicy, RetryPolicySchema, type Task as TaskRecord, type TaskGroup, type TaskInputChunk, TaskInputChunkSchema, type TaskOutputBatch, type TaskResource, type TaskSpec,
  TaskSpecSchema, TaskState, Tasks as Service, type WhyTaskReply,
} from "./gen/zsync/v1/tasks_pb.js";
import { Schedules, TaskArray } from "./schedules.js";

const inputChunkBytesMax = 256 << 10;
const nextAttemptPollMs = 100;

type SpecInit = Exclude<MessageInitShape<typeof TaskSpecSchema>, TaskSpec>;

/** What a task may be given beyond its command; TaskSpec in proto/zsync/v1/tasks.proto says what each means. */
export interface SpecOptions extends Omit<SpecInit, "$typeName" | "$unknown" | "argv" | "timeout" | "killGrace" | "retry" | "onLost" | "after" | "delay" | "startAtUnixNano" | "resources" | "startDeadline" | "startDeadlineUnixNano" | "deadline" | "deadlineUnixNano" | "array" | "ioClass" | "ioLevel" | "limits"> {
  /** Bounds the run, where a call's own timeoutMs bounds only the call. */
  runTimeoutMs?: number;
  killGraceMs?: number;
  /** When another attempt follows a failed one; without `retries`: five more at most. */
  retry?: RetryOptions;
  /** What follows when the supervisor is killed or the machine goes down; "fail" unless said otherwise. */
  onLost?: "fail" | "retry";
  /** Tasks that have to end first, each well unless said otherwise; a name of the same call is one too. */
  after?: readonly (string | { task: string; condition: "ok" | "failed" | "any" })[];
  delayMs?: number;
  startAt?: Date;
  /** How much of each counted resource it has while it runs. */
  resources?: Readonly<Record<string, number>>;
  /** Milliseconds from the submission on, or a time: it starts by then, or never. */
  startDeadline?: number | Date;
  /** Milliseconds from the submission on, or a time: it has ended by then, or is ended. */
  deadline?: number | Date;
  /** With submitArray(): a task for each of these indexes, as in "0-9". */
  array?: string;
  /** With submitArray(): a task for each combination. */
  matrix?: Readonly<Record<string, readonly string[]>>;
  /** Of its disk accesses; a level is 0 (first) to 7 (last). */
  io?: "idle" | "best-effort" | `best-effort:${number}`;
  limits?: LimitOptions;
}

/** ResourceLimits in proto/zsync/v1/tasks.proto says what each means; `cpus` is how many, as 1.5. */
export interface LimitOptions {
  memoryBytes?: number;
  cpus?: number;
  processes?: number;
  ioWeight?: number;
}

/** What of a group is to be changed; SetGroupRequest in proto/zsync/v1/tasks.proto says what each means. */
export interface TaskGroupOptions {
  order?: "priority" | "deadline" | "rate";
  overload?: "queue" | "reject" | "shed";
  queuedMax?: number;
  memoryBytesMax?: number;
  cpusMax?: number;
  paused?: boolean;
  drained?: boolean;
}

/** What an attempt may end with: an exit code, a timeout, a signal. */
export type RetryWhen = number | "timeout" | "signal";

/** RetryPolicy in proto/zsync/v1/tasks.proto says what each means. */
export interface RetryOptions {
  backoffMs?: number;
  factor?: number;
  backoffMaxMs?: number;
  /** Full jitter unless false. */
  jitter?: boolean;
  on?: readonly RetryWhen[];
  notOn?: readonly RetryWhen[];
}

/** A command as its words, with its options; or only options, with a `shell` line. */
export type Command = readonly string[] | TaskSpec;

export function isFinal(state: TaskState): boolean {
  return state !== TaskState.UNSPECIFIED && state !== TaskState.QUEUED && state !== TaskState.RUNNING;
}

export function duration(ms: number): Duration {
  const seconds = Math.trunc(ms / 1000);
  return create(DurationSchema, { seconds: BigInt(seconds), nanos: Math.round((ms - seconds * 1000) * 1e6) });
}

function unixNano(time: Date): bigint {
  return BigInt(time.getTime()) * 1_000_000n;
}

const orders = { priority: GroupOrder.PRIORITY, deadline: GroupOrder.DEADLINE, rate: GroupOrder.RATE };
const policies = { queue: OverloadPolicy.QUEUE, reject: OverloadPolicy.REJECT, shed: OverloadPolicy.SHED };

const conditions = { ok: DependencyCondition.OK, failed: DependencyCondition.FAILED, any: DependencyCondition.ANY };

function condition(words: readonly RetryWhen[]): RetryCondition {
  return create(RetryConditionSchema, {
    exitCodes: words.filter((word): word is number => typeof word === "number"),
    timeout: words.includes("timeout"),
    signal: words.includes("signal"),
  });
}

function retryPolicy(options: RetryOptions): RetryPolicy {
  return create(RetryPolicySchema, {
    ...(options.backoffMs === undefined ? {} : { backoff: duration(options.backoffMs) }),
    factor: options.factor ?? 0,
    ...(options.backoffMaxMs === undefined ? {} : { backoffMax: duration(options.backoffMaxMs) }),
    jitter: options.jitter === false ? Jitter.NONE : Jitter.FULL,
    ...(options.on === undefined ? {} : { on: condition(options.on) }),
    ...(options.notOn === undefined ? {} : { notOn: condition(options.notOn) }),
  });
}

const ioClasses = new Map([["best-effort", IoClass.BEST_EFFORT], ["idle", IoClass.IDLE]]);

function ioPriority(io: string): { ioClass: IoClass; ioLevel: number } {
  const [word, level] = io.split(":");
  const ioClass = ioClasses.get(word!);
  if (ioClass === undefined) throw new TypeError(`io is "${io}"; there are: ${[...ioClasses.keys()].join(", ")}`);
  return { ioClass, ioLevel: Number(level ?? 0) };
}

/** One task for submitMany(). */
export function spec(command: Command, options: SpecOptions = {}): TaskSpec {
  const {
    runTimeoutMs, killGraceMs, retry, onLost, after, delayMs, startAt, resources, startDeadline, deadline, io, limits, array, matrix,
    ...rest
  } = options;
  const base = "$typeName" in command ? command : { argv: [...command] };
  return create(TaskSpecSchema, {
    ...base,
    ...rest,
    ...(runTimeoutMs === undefined ? {} : { timeout: duration(runTimeoutMs) }),
    ...(killGraceMs === undefined ? {} : { killGrace: duration(killGraceMs) }),
    ...(retry === undefined ? {} : { retry: retryPolicy(retry) }),
    ...(onLost === undefined ? {} : { onLost: onLost === "retry" ? OnLost.RETRY : OnLost.FAIL }),
    ...(after === undefined ? {} : {
      after: after.map((each) => typeof each === "string" ? { task: each, condition: DependencyCondition.OK }
        : { task: each.task, condition: conditions[each.condition] }),
    }),
    ...(delayMs === undefined ? {} : { delay: duration(delayMs) }),
    ...(startAt === undefined ? {} : { startAtUnixNano: unixNano(startAt) }),
    ...(resources === undefined ? {} : {
      resources: Object.entries(resources).map(([name, amount]) => ({ name, amount })),
    }),
    ...(array === undefined && matrix === undefined ? {} : {
      array: {
        indexes: array ?? "",
        matrix: Object.entries(matrix ?? {}).map(([name, values]) => ({ name, values: [...values] })),
      },
    }),
    ...(startDeadline instanceof Date ? { startDeadlineUnixNano: unixNano(startDeadline) }
      : startDeadline === undefined ? {} : { startDeadline: duration(startDeadline) }),
    ...(deadline instanceof Date ? { deadlineUnixNano: unixNano(deadline) }
      : deadline === undefined ? {} : { deadline: duration(deadline) }),
    ...(io === undefined ? {} : ioPriority(io)),
    ...(limits === undefined ? {} : {
      limits: {
        memoryBytes: BigInt(limits.memoryBytes ?? 0),
        cpuMillis: Math.round((limits.cpus ?? 0) * 1000),
        processes: BigInt(limits.processes ?? 0),
        ioWeight: limits.ioWeight ?? 0,
      },
    }),
  } as SpecInit);
}

/** A command that was run to its end: its final record and the output of its last attempt. */
export interface Completed {
  task: TaskRecord;
  /** The exit code, or minus the signal; undefined when no command ended by itself. */
  exitCode: number | undefined;
  stdout: Buffer;
  stderr: Buffer;
  /** Parts of the output that are gone, in order. */
  gaps: Gap[];
}

class OutputCollector {
  final: TaskRecord | undefined;
  private attempt = 0;
  private parts: [Stream, Uint8Array][] = [];
  private gaps: Gap[] = [];

  take(batch: TaskOutputBatch): void {
    if (batch.attempt && batch.attempt !== this.attempt) {
      this.attempt = batch.attempt;
      this.parts = [];
      this.gaps = [];
    }
    if (batch.gap) this.gaps.push(batch.gap);
    for (const record of batch.records) this.parts.push([record.stream, record.data]);
    this.final = batch.finished ?? this.final;
  }

  of(stream?: Stream): Buffer {
    return Buffer.concat(this.parts.filter(([from]) => stream === undefined || from === stream).map(([, data]) => data));
  }

  completed(task: TaskRecord): Completed {
    const ended = task.state === TaskState.SUCCEEDED || task.state === TaskState.FAILED;
    const exitCode = task.state === TaskState.SIGNALED ? -task.signal : ended ? task.exitCode : undefined;
    return { task, exitCode, stdout: this.of(Stream.STDOUT), stderr: this.of(Stream.STDERR), gaps: this.gaps };
  }
}

/** Feeds stdin of one task that was submitted with stdinStream. */
export class TaskInput {
  private readonly call: ClientWritableStream<TaskInputChunk>;
  private readonly result: Promise<bigint>;
  private readonly forget: () => void;
  private named = false;

  constructor(connection: Connection, private readonly id: string, options: CallOptions) {
    const bounds = connection.bounds(options);
    let call!: ClientWritableStream<TaskInputChunk>;
    this.result = new Promise((done, fail) => {
      call = connection.upload(Service.method.input, bounds, (error, reply) => (reply ? done(reply.bytes) : fail(error)));
    });
    this.result.catch(() => undefined); // told by finish()
    this.call = call;
    this.call.on("error", () => undefined);
    this.forget = onAbort(bounds.signal, () => call.cancel());
  }

  /** Resolves once more may be written: a task that does not read holds its writer. */
  async write(data: Uint8Array | string): Promise<void> {
    const bytes = typeof data === "string" ? Buffer.from(data) : data;
    for (let start = 0; start < bytes.length; start += inputChunkBytesMax) {
      await this.chunk({ data: bytes.subarray(start, start + inputChunkBytesMax) });
    }
  }

  /** The terminal of the task is as large from now on. */
  async resize(rows: number, columns: number): Promise<void> {
    await this.chunk({ resize: { rows, columns } });
  }

  /** Resolves with how many bytes were taken. Closes the task's stdin with `eof`, else only this stream. */
  async finish(eof = true): Promise<bigint> {
    if (eof || !this.named) await this.chunk({ eof });
    this.call.end();
    try {
      return await this.result;
    } finally {
      this.forget();
    }
  }

  private async chunk(chunk: MessageInitShape<typeof TaskInputChunkSchema>): Promise<void> {
    const message = create(TaskInputChunkSchema, this.named ? chunk : { ...chunk, id: this.id });
    this.named = true;
    if (this.call.destroyed || this.call.write(message)) return;
    const drained = new Promise<void>((done) => this.call.once("drain", done));
    await Promise.race([drained, this.result.catch(() => undefined)]);
  }
}

/** A handle onto one task; making one asks the daemon nothing. */
export class Task {
  constructor(
    private readonly connection: Connection,
    /** An id, a unique prefix of one, or a unique name. */
    readonly id: string,
    /** Whether an idempotency key matched an earlier task. */
    readonly existing = false,
  ) {}

  get(options: CallOptions = {}): Promise<TaskRecord> {
    return this.connection.unary(Service.method.get, { id: this.id }, options, true);
  }

  /** Resolves with the record once the task is in a final state. */
  async wait(options: CallOptions = {}): Promise<TaskRecord> {
    const reply = await this.connection.unary(Service.method.wait, { ids: [this.id] }, options, true);
    return reply.tasks[0]!;
  }

  /**
   * Reads records in the order in which the supervisor read them; a batch's `gap` comes before its records. With `follow`
   * (the default) it stays until the task has ended; the last batch then carries `finished`. With attempt 0 it begins with
   * the newest attempt and goes on into later ones; a batch's `attempt` says where seq starts anew.
   */
  async *output(
    options: CallOptions & { fromSeq?: bigint; follow?: boolean; attempt?: number } = {},
  ): AsyncGenerator<TaskOutputBatch, void, void> {
    const { fromSeq = 1n, follow = true, attempt = 0 } = options;
    const bounds = this.connection.bounds(options);
    const everyAttempt = attempt === 0 && follow;
    // seq starts anew with each attempt, so a resumed stream names its attempt. The daemon then ends it with that attempt,
    // and the later ones are asked for here.
    const at = { id: this.id, fromSeq, follow, attempt };
    for (let first = true; ; first = false) {
      let named = at.attempt !== 0;
      let came = false;
      let missing = false;
      try {
        const asked = () => ((named = at.attempt !== 0), at);
        for await (const batch of this.connection.follow(Service.method.output, asked, bounds)) {
          yield batch;
          if (batch.attempt && batch.attempt !== at.attempt) {
            at.fromSeq = came || at.attempt ? 1n : at.fromSeq;
            at.attempt = batch.attempt;
          }
          came ||= batch.attempt !== 0;
          if (batch.gap) at.fromSeq = batch.gap.to + 1n;
          const last = batch.records.at(-1);
          if (last) at.fromSeq = last.seq + 1n;
        }
      } catch (error) {
        if (!(error instanceof NotFound) || !everyAttempt || first || came) throw error;
        missing = true;
      }
      if (!everyAttempt || (!named && !missing)) return;
      const task = await this.get(bounds.options());
      if (isFinal(task.state) && task.attempt <= at.attempt) return;
      if (!missing || task.attempt > at.attempt) at.attempt += 1;
      at.fromSeq = 1n;
      if (missing || task.attempt < at.attempt) await bounds.pause(nextAttemptPollMs, "waiting for the next attempt");
    }
  }

  /** Resolves with the final record and the output of the last attempt, once the task has ended. */
  async completed(options: CallOptions = {}): Promise<Completed> {
    const bounds = this.connection.bounds(options);
    const collector = new OutputCollector();
    for await (const batch of this.output(bounds.options())) collector.take(batch);
    const final = collector.final && isFinal(collector.final.state) ? collector.final : await this.wait(bounds.options());
    return collector.completed(final);
  }

  /** Ends the whole process tree; resolves once the intent is on disk, with `wait` once the tree is gone. */
  cancel(options: CallOptions & { wait?: boolean; killGraceMs?: number } = {}): Promise<TaskRecord> {
    const { wait = false, killGraceMs } = options;
    const killGrace = killGraceMs === undefined ? undefined : duration(killGraceMs);
    return this.connection.unary(Service.method.cancel, { id: this.id, wait, killGrace }, options, true);
  }

  /** Stops every process of the running task. It keeps its place, its locks, and what is left of its timeout. */
  pause(options: CallOptions = {}): Promise<TaskRecord> {
    return this.connection.unary(Service.method.pause, { id: this.id }, options, true);
  }

  /** Lets the paused task go on. */
  resume(options: CallOptions = {}): Promise<TaskRecord> {
    return this.connection.unary(Service.method.resume, { id: this.id }, options, true);
  }

  /** Sends a signal (1 to 64) to the command's process group. */
  signal(number: number, options: CallOptions = {}): Promise<TaskRecord> {
    return this.connection.unary(Service.method.signal, { id: this.id, signal: number }, options, false);
  }

  /** Queues another attempt of the finished task. */
  retry(options: CallOptions = {}): Promise<TaskRecord> {
    return this.connection.unary(Service.method.retry, { id: this.id }, options, false);
  }

  /** Forgets the finished task and its output. */
  async remove(options: CallOptions = {}): Promise<void> {
    await this.connection.unary(Service.method.remove, { id: this.id }, options, false);
  }

  /** Says what the task is waiting for. */
  why(options: CallOptions = {}): Promise<WhyTaskReply> {
    return this.connection.unary(Service.method.why, { id: this.id }, options, true);
  }

  /** Opens stdin of a task that was submitted with stdinStream. */
  input(options: CallOptions = {}): TaskInput {
    return new TaskInput(this.connection, this.id, options);
  }
}

export interface TaskFilter {
  states?: TaskState[];
  group?: string;
  name?: string;
  labels?: Record<string, string>;
  oldestFirst?: boolean;
  array?: string;
}

export class Tasks {
  readonly schedules: Schedules;

  constructor(private readonly connection: Connection) {
    this.schedules = new Schedules(connection);
  }

  /** Queues one task; resolves once it is on disk. */
  async submit(command: Command, specOptions: SpecOptions = {}, options: CallOptions = {}): Promise<Task> {
    const [task] = await this.submitMany([spec(command, specOptions)], options);
    return task!;
  }

  /** Queues up to 10,000 tasks; all are accepted, or none. */
  async submitMany(specs: TaskSpec[], options: CallOptions = {}): Promise<Task[]> {
    const safe = specs.every((one) => one.idempotencyKey !== "");
    const reply = await this.connection.unary(Service.method.submit, { specs }, options, safe);
    return reply.ids.map((id, index) => new Task(this.connection, id, reply.existing[index]));
  }

  /** Queues a task for each index of `array`, or for each combination of `matrix`. */
  async submitArray(command: Command, specOptions: SpecOptions, options: CallOptions = {}): Promise<TaskArray> {
    const one = spec(command, specOptions);
    const reply = await this.connection.unary(Service.method.submit, { specs: [one] }, options, one.idempotencyKey !== "");
    return new TaskArray(this.connection, reply.arrayIds[0] ?? "", reply.ids);
  }

  /** A handle onto an existing task, by id, unique prefix of one, or unique name. */
  task(id: string): Task {
    return new Task(this.connection, id);
  }

  get(id: string, options: CallOptions = {}): Promise<TaskRecord> {
    return this.task(id).get(options);
  }

  /** Reads page after page. */
  async *list(filter: TaskFilter = {}, options: CallOptions = {}): AsyncGenerator<TaskRecord, void, void> {
    const bounds = this.connection.bounds(options);
    for (let pageToken = ""; ; ) {
      const request = { ...filter, pageSize: 1000, pageToken };
      const reply = await this.connection.unary(Service.method.list, request, bounds.options(), true);
      yield* reply.tasks;
      pageToken = reply.nextPageToken;
      if (pageToken === "") return;
    }
  }

  /** Resolves with the records once every task is in a final state. */
  async wait(tasks: Iterable<Task | string>, options: CallOptions = {}): Promise<TaskRecord[]> {
    const ids = [...tasks].map((task) => (typeof task === "string" ? task : task.id));
    return (await this.connection.unary(Service.method.wait, { ids }, options, true)).tasks;
  }

  async groups(options: CallOptions = {}): Promise<TaskGroup[]> {
    return (await this.connection.unary(Service.method.listGroups, {}, options, true)).groups;
  }

  /** Lets `parallel` tasks of the group run at once (0: as many as now), and changes what the options name. */
  setGroup(name: string, parallel: number, options: TaskGroupOptions & CallOptions = {}): Promise<TaskGroup> {
    const { order, overload, queuedMax, memoryBytesMax, cpusMax, paused, drained } = options;
    const request = {
      name, parallel, queuedMax, paused, drained,
      ...(memoryBytesMax === undefined ? {} : { memoryBytesMax: BigInt(memoryBytesMax) }),
      ...(cpusMax === undefined ? {} : { cpuMillisMax: Math.round(cpusMax * 1000) }),
      ...(order === undefined ? {} : { order: orders[order] }),
      ...(overload === undefined ? {} : { overload: policies[overload] }),
    };
    return this.connection.unary(Service.method.setGroup, request, options, true);
  }

  /** Counted resources, and the locks that tasks hold or wait for. */
  async resources(options: CallOptions = {}): Promise<TaskResource[]> {
    return (await this.connection.unary(Service.method.listResources, {}, options, true)).resources;
  }

  /** Says how much of a resource there is. */
  setResource(name: string, capacity: number, options: CallOptions = {}): Promise<TaskResource> {
    return this.connection.unary(Service.method.setResource, { name, capacity }, options, true);
  }
}
