// What every noun stands on: one gRPC channel, the bounds of a call, and coming back after a restart of the daemon.
import { setTimeout as sleep } from "node:timers/promises";
import { type DescMessage, type DescMethod, type MessageInitShape, type MessageShape, create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type CallOptions as GrpcOptions, Client as GrpcClient, Metadata, credentials } from "@grpc/grpc-js";
import type { ClientDuplexStream, ClientReadableStream, ClientWritableStream } from "@grpc/grpc-js";
import { type Reaching, reach } from "./endpoint.js";
import { Unavailable, fromStatus, isBrokenConnection, isDraining, makeError } from "./errors.js";

const messageBytesMax = 4 << 20;
const backoffFirstMs = 10;
const backoffMaxMs = 1000;

/** What bounds one call. */
export interface CallOptions {
  /** Absent: ClientOptions.timeoutMs. */
  timeoutMs?: number | undefined;
  /** Ends the call with Canceled. */
  signal?: AbortSignal | undefined;
}

export interface Settings extends Reaching {
  timeoutMs: number | undefined;
  resume: boolean;
  resumeTimeoutMs: number;
}

/** When a call of several tries ends, and who may end it earlier. */
export class Bounds {
  readonly end: number | undefined;
  readonly signal: AbortSignal | undefined;

  constructor(settings: Settings, options: CallOptions) {
    const timeout = options.timeoutMs ?? settings.timeoutMs;
    this.end = timeout === undefined ? undefined : Date.now() + timeout;
    this.signal = options.signal;
  }

  /** The same bounds for a further call. */
  options(): CallOptions {
    return { timeoutMs: this.end === undefined ? undefined : Math.max(this.end - Date.now(), 0), signal: this.signal };
  }

  async pause(ms: number, doing: string): Promise<void> {
    const left = this.end === undefined ? ms : Math.min(ms, this.end - Date.now());
    if (left <= 0) throw makeError("DEADLINE_EXCEEDED", `deadline passed while ${doing}`);
    try {
      await sleep(left, undefined, { signal: this.signal });
    } catch {
      throw makeError("CANCELLED", `cancelled while ${doing}`);
    }
  }
}

type Method<I extends DescMessage, O extends DescMessage> = DescMethod & { input: I; output: O };
type Stream<I, O> = ClientReadableStream<O> | ClientDuplexStream<I, O>;

/** One call whose messages come one by one. */
export class Receiving<T> {
  private readonly messages: AsyncIterator<T>;
  private readonly forget: () => void;

  constructor(private readonly call: Stream<never, T>, signal: AbortSignal | undefined) {
    call.on("error", () => undefined); // told by read()
    this.messages = (call as AsyncIterable<T>)[Symbol.asyncIterator]();
    this.forget = onAbort(signal, () => call.cancel());
  }

  /** Resolves with the next message, or with undefined at the good end. */
  async read(): Promise<T | undefined> {
    try {
      const next = await this.messages.next();
      return next.done ? undefined : next.value;
    } catch (error) {
      throw fromStatus(error);
    }
  }

  close(): void {
    this.forget();
    this.call.cancel();
  }
}

/** One call whose messages go and come one by one. */
export class Duplex<I, O> extends Receiving<O> {
  constructor(private readonly duplex: ClientDuplexStream<I, O>, signal: AbortSignal | undefined) {
    super(duplex as unknown as Stream<never, O>, signal);
  }

  write(message: I): void {
    if (!this.duplex.writableEnded && !this.duplex.destroyed) this.duplex.write(message);
  }

  doneWriting(): void {
    this.duplex.end();
  }
}

export function onAbort(signal: AbortSignal | undefined, end: () => void): () => void {
  if (!signal) return () => undefined;
  if (signal.aborted) end();
  signal.addEventListener("abort", end, { once: true });
  return () => signal.removeEventListener("abort", end);
}

const path = (method: DescMethod) => `/${method.parent.typeName}/${method.name}`;
const writer = (schema: DescMessage) => (message: unknown) => Buffer.from(toBinary(schema, message as never));
const reader = <O extends DescMessage>(schema: O) => (bytes: Buffer) => fromBinary(schema, bytes);

export class Connection {
  private readonly grpc: GrpcClient;
  /** Of "CHANNEL/GROUP": the last message given to a consumer that then lost its call. */
  readonly breaks = new Map<string, bigint>();

  constructor(readonly socket: string, readonly settings: Settings) {
    this.grpc = new GrpcClient(`unix:${socket}`, credentials.createInsecure(), {
      "grpc.max_receive_message_length": messageBytesMax,
      "grpc.max_send_message_length": messageBytesMax,
      // Each client its own connection: it ends with its client, and the daemon can count it.
      "grpc.use_local_subchannel_pool": 1,
      "grpc.enable_http_proxy": 0,
      "grpc.enable_retries": 0,
      "grpc.initial_reconnect_backoff_ms": 100,
      "grpc.max_reconnect_backoff_ms": 1000,
      "grpc.service_config_disable_resolution": 1,
    });
  }

  close(): void {
    this.grpc.close();
  }

  bounds(options: CallOptions): Bounds {
    return new Bounds(this.settings, options);
  }

  /** One call. `safe`: it may be made twice, so it survives a restart of the daemon. */
  unary<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O>, request: MessageInitShape<I>, options: CallOptions, safe: boolean,
  ): Promise<MessageShape<O>> {
    const bounds = this.bounds(options);
    const attempt = () => this.once(method, create(method.input, request), bounds);
    return this.resuming(bounds, attempt, safe ? isBrokenConnection : isDraining);
  }

  /** The same, without coming back. */
  once<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O>, request: MessageShape<I>, bounds: Bounds,
  ): Promise<MessageShape<O>> {
    return new Promise((done, fail) => {
      let forget = () => undefined as void;
      const call = this.grpc.makeUnaryRequest(
        path(method), writer(method.input), reader(method.output), request, new Metadata(), this.deadline(bounds),
        (error, reply) => {
          forget();
          if (error) fail(fromStatus(error));
          else done(reply as MessageShape<O>);
        },
      );
      forget = onAbort(bounds.signal, () => call.cancel());
    });
  }

  /** A stream of replies to one request. */
  receive<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O>, request: MessageInitShape<I>, bounds: Bounds,
  ): Receiving<MessageShape<O>> {
    const call = this.grpc.makeServerStreamRequest(
      path(method), writer(method.input), reader(method.output), create(method.input, request), new Metadata(),
      this.deadline(bounds),
    );
    return new Receiving(call as unknown as Stream<never, MessageShape<O>>, bounds.signal);
  }

  /** A stream both ways. */
  duplex<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O>, bounds: Bounds,
  ): Duplex<MessageShape<I>, MessageShape<O>> {
    const call = this.grpc.makeBidiStreamRequest(
      path(method), writer(method.input), reader(method.output), new Metadata(), this.deadline(bounds),
    );
    return new Duplex(call as unknown as ClientDuplexStream<MessageShape<I>, MessageShape<O>>, bounds.signal);
  }

  /** A stream of requests with one reply. */
  upload<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O>, bounds: Bounds, done: (error: unknown, reply?: MessageShape<O>) => void,
  ): ClientWritableStream<MessageShape<I>> {
    return this.grpc.makeClientStreamRequest(
      path(method), writer(method.input), reader(method.output), new Metadata(), this.deadline(bounds),
      (error, reply) => done(error ? fromStatus(error) : undefined, reply as MessageShape<O>),
    ) as unknown as ClientWritableStream<MessageShape<I>>;
  }

  /** Runs `attempt` again while it ends with a broken connection. */
  async resuming<T>(
    bounds: Bounds, attempt: () => Promise<T>, worthAnother: (error: unknown) => boolean = isBrokenConnection,
  ): Promise<T> {
    const retry = this.retry(bounds, worthAnother);
    for (;;) {
      try {
        return await attempt();
      } catch (error) {
        await retry.after(error);
      }
    }
  }

  /** Decides whether to try again: after() resolves once a daemon accepts, or rejects with what is to be told. */
  retry(
    bounds: Bounds, worthAnother: (error: unknown) => boolean = isBrokenConnection,
  ): { progressed(): void; after(error: unknown): Promise<void> } {
    let backoff = backoffFirstMs;
    let giveUp: number | undefined;
    return {
      progressed: () => {
        backoff = backoffFirstMs;
        giveUp = undefined;
      },
      after: async (broken: unknown) => {
        if (!this.settings.resume || !worthAnother(broken)) throw broken;
        giveUp ??= Date.now() + this.settings.resumeTimeoutMs;
        for (;;) {
          await bounds.pause(backoff, "reconnecting to zsyncd");
          backoff = Math.min(backoff * 2, backoffMaxMs);
          try {
            await reach(this.socket, this.settings);
            break;
          } catch (error) {
            if (!(error instanceof Unavailable) || Date.now() >= giveUp) throw error;
          }
        }
        if (Date.now() >= giveUp) throw broken;
      },
    };
  }

  /** Yields batch after batch from `request()`, asked anew after each break; it moves behind every batch that was taken. */
  async *follow<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O>, request: () => MessageInitShape<I>, bounds: Bounds,
  ): AsyncGenerator<MessageShape<O>, void, void> {
    const retry = this.retry(bounds);
    for (;;) {
      const stream = this.receive(method, request(), bounds);
      try {
        for (let batch = await stream.read(); batch !== undefined; batch = await stream.read()) {
          retry.progressed();
          yield batch;
        }
        return;
      } catch (error) {
        await retry.after(error);
      } finally {
        stream.close();
      }
    }
  }

  private deadline(bounds: Bounds): GrpcOptions {
    return bounds.end === undefined ? {} : { deadline: bounds.end };
  }
}
