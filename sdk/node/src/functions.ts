// Functions: named work that one client does for others.
import { create } from "@bufbuild/protobuf";
import { setTimeout as sleep } from "node:timers/promises";
import { type CallOptions, type Connection, type Duplex, onAbort } from "./connection.js";
import { DeadlineExceeded, isBrokenConnection } from "./errors.js";
import {
  type Function as FunctionRecord, Functions as Service, type HandedCall, type ServeReply, type ServeRequest, ServeRequestSchema,
} from "./gen/zsync/v1/functions_pb.js";
import { type FunctionResult, TaskSpecSchema } from "./gen/zsync/v1/tasks_pb.js";
import { type SpecOptions, type Task, type Tasks, duration, spec } from "./tasks.js";

const backoffFirstMs = 10;
const backoffMaxMs = 1000;
const streamMaxMs = 2 ** 31 - 1; // of one stream, 24 days: what a timer takes; then it is opened anew

/** What a handler may return: bytes, text (UTF-8), or one of both with a content type. */
export type HandlerResult = Uint8Array | string | { payload: Uint8Array | string; contentType?: string };

/** Thrown by a handler to say how it failed: `code` is its own word; `permanent` means that no retry can help. */
export class FunctionFailed extends Error {
  readonly code: string;
  readonly permanent: boolean;

  constructor(message: string, { code = "", permanent = false }: { code?: string; permanent?: boolean } = {}) {
    super(message);
    this.name = "FunctionFailed";
    this.code = code;
    this.permanent = permanent;
  }
}

/** What a handler gets. `signal` aborts when nobody wants the result any more: canceled, out of time, the daemon went away. */
export interface ServedCall {
  readonly payload: Uint8Array;
  readonly contentType: string;
  /** Task id, attempt (a fencing token), deadline, trace; no task id: a direct call. */
  readonly call: HandedCall;
  readonly signal: AbortSignal;
}

export type Handler = (call: ServedCall) => HandlerResult | Promise<HandlerResult>;

export interface ServeOptions {
  /** Handlers at once; 1. */
  concurrency?: number;
  /** Calls that are fetched ahead; at least `concurrency`. */
  window?: number;
  /** Stops the worker: it gets no more calls, answers those it has, and serve() resolves. */
  signal?: AbortSignal;
}

export interface CallingOptions {
  contentType?: string;
  /** Take the call even if nobody ever served a function of that name. */
  waitForWorker?: boolean;
}

const bytesOf = (body: Uint8Array | string): Uint8Array => (typeof body === "string" ? Buffer.from(body) : body);
const callOf = (name: string, payload: Uint8Array | string, { contentType = "", waitForWorker = false }: CallingOptions) => ({
  name, payload: bytesOf(payload), contentType, waitForWorker,
});

function answerOf(call: bigint, result: HandlerResult) {
  const whole = typeof result === "string" || result instanceof Uint8Array ? { payload: result } : result;
  return { call, payload: bytesOf(whole.payload), contentType: whole.contentType ?? "" };
}

function errorOf(call: bigint, error: unknown) {
  const { name = "Error", message = String(error) } = error instanceof Error ? error : {};
  const failed = error instanceof FunctionFailed ? error : undefined;
  return { call, error: { code: failed?.code || name, message: message || name, permanent: failed?.permanent ?? false } };
}

/** One stream of a worker, from its opening to its end. */
class Session {
  served = false;
  private readonly inHand = new Map<bigint, AbortController>();
  private readonly waiting: HandedCall[] = [];
  private readonly working = new Set<Promise<void>>();

  constructor(
    private readonly stream: Duplex<ServeRequest, ServeReply>, private readonly handler: Handler, private readonly concurrency: number,
  ) {}

  async run(name: string, window: number, signal: AbortSignal | undefined): Promise<void> {
    const say = (request: Parameters<typeof create<typeof ServeRequestSchema>>[1]) => this.stream.write(create(ServeRequestSchema, request));
    const forget = onAbort(signal, () => say({ drain: true }));
    try {
      say({ open: { name, window } });
      for (let drained = false; !drained; ) {
        const reply = await this.stream.read();
        if (!reply) break;
        this.served ||= reply.serving;
        drained = reply.drained;
        for (const call of reply.calls) {
          this.inHand.set(call.call, new AbortController());
          this.waiting.push(call);
        }
        for (const call of reply.canceled) this.inHand.get(call)?.abort();
        this.begin();
      }
      while (this.working.size > 0) await Promise.race(this.working);
      this.stream.doneWriting();
      while (await this.stream.read());
    } finally {
      forget();
      this.waiting.length = 0;
      for (const controller of this.inHand.values()) controller.abort(); // others get these
      this.stream.close();
    }
  }

  private begin(): void {
    while (this.working.size < this.concurrency) {
      const call = this.waiting.shift();
      if (!call) return;
      const work: Promise<void> = this.work(call).finally(() => {
        this.working.delete(work);
        this.begin();
      });
      this.working.add(work);
    }
  }

  private async work(call: HandedCall): Promise<void> {
    const { signal } = this.inHand.get(call.call)!;
    let answer;
    try {
      answer = answerOf(call.call, await this.handler({ payload: call.payload, contentType: call.contentType, call, signal }));
    } catch (error) {
      answer = errorOf(call.call, error);
    }
    this.inHand.delete(call.call);
    this.stream.write(create(ServeRequestSchema, { answers: [answer] }));
  }
}

export class Functions {
  constructor(private readonly connection: Connection, private readonly tasks: Tasks) {}

  /**
   * Is a worker of the function until `signal` aborts. What the handler throws is a failure with its name as code (FunctionFailed
   * says more). A broken connection is opened again, for as long as it takes; what was in hand then goes to other workers.
   */
  async serve(name: string, handler: Handler, options: ServeOptions = {}): Promise<void> {
    const { concurrency = 1, window = 0, signal } = options;
    if (concurrency < 1) throw new RangeError("concurrency is at least 1");
    for (let pause = backoffFirstMs; !signal?.aborted; ) {
      const stream = this.connection.duplex(Service.method.serve, this.connection.bounds({ timeoutMs: streamMaxMs }));
      const session = new Session(stream, handler, concurrency);
      try {
        return await session.run(name, Math.max(window, concurrency), signal);
      } catch (error) {
        if (!isBrokenConnection(error) && !(error instanceof DeadlineExceeded)) throw error;
      }
      pause = session.served ? backoffFirstMs : Math.min(pause * 2, backoffMaxMs);
      await sleep(pause, undefined, { signal }).catch(() => undefined);
    }
  }

  /** A direct call, in memory only: resolves with its result, within `timeoutMs` (30,000). */
  async call(
    name: string, payload: Uint8Array | string = "", calling: CallingOptions = {}, options: CallOptions = {},
  ): Promise<FunctionResult> {
    const timeout = options.timeoutMs === undefined ? {} : { timeout: duration(options.timeoutMs) };
    const request = { call: callOf(name, payload, calling), ...timeout };
    return (await this.connection.unary(Service.method.call, request, options, false)).result!;
  }

  /** A call as a task: resolves once it is on disk; its wait() has the `result`. */
  submit(
    name: string, payload: Uint8Array | string = "", specOptions: SpecOptions & CallingOptions = {}, options: CallOptions = {},
  ): Promise<Task> {
    const { contentType, waitForWorker, ...rest } = specOptions;
    const calling = { ...(contentType === undefined ? {} : { contentType }), ...(waitForWorker === undefined ? {} : { waitForWorker }) };
    return this.tasks.submit(spec(create(TaskSpecSchema, { function: callOf(name, payload, calling) }), rest), {}, options);
  }

  /** Those that are served, or were in the last 30 days. */
  async list(options: CallOptions = {}): Promise<FunctionRecord[]> {
    return (await this.connection.unary(Service.method.list, {}, options, true)).functions;
  }
}
