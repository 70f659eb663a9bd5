// Channels: named message streams between processes.
import { create } from "@bufbuild/protobuf";
import type { Bounds, CallOptions, Connection, Duplex } from "./connection.js";
import { ZsyncError, isBrokenConnection, makeError } from "./errors.js";
import {
  type AckReply, AckReplySchema, type AckRequest, type Channel, ChannelClass, ChannelForm, type ChannelGroup, Channels as Service, type Inquiry, Overflow,
  type RecvBatch, ReplyRequestSchema,
  type RecvRequest, RecvRequestSchema, RecvSourceSchema,
  type SendReply, SendReplySchema, type SendRequest, SendRequestSchema,
} from "./gen/zsync/v1/channels_pb.js";
import type { Gap, Record } from "./gen/zsync/v1/common_pb.js";
import { duration } from "./tasks.js";

const recvCredit = 4096; // messages let come before they were handed out
const batchesInFlightMax = 16;
const batchMessagesMax = 1024;
const batchBytesMax = 1 << 20;

/**
 * A message, alone or with its key and id. A group has messages of one key in one consumer's hands at a time; a message whose
 * id was accepted within the dedup window is not kept twice.
 */
export type Payload = Uint8Array | string | { data: Uint8Array | string; key?: string; id?: string };
interface Named { data: Uint8Array | string; key?: string; id?: string }
const named = (message: Payload): Named =>
  typeof message === "string" || message instanceof Uint8Array ? { data: message } : message;
const bytesOf = (message: Payload): Uint8Array => {
  const { data } = named(message);
  return typeof data === "string" ? Buffer.from(data) : data;
};
const batchOf = (messages: Payload[]) => {
  const all = messages.map(named);
  return {
    messages: messages.map(bytesOf),
    keys: all.some((one) => one.key) ? all.map((one) => one.key ?? "") : [],
    ids: all.some((one) => one.id) ? all.map((one) => one.id ?? "") : [],
  };
};

export interface ChannelOptions extends ChannelPolicyOptions {
  /** Messages; 0: 1024. */
  capacity?: number;
  unbounded?: boolean;
  /** Ceiling of what is held; 0: 256 MiB. */
  bytesMax?: number;
  /** What an unbounded memory channel puts on disk beyond that; default 1 GiB; 0: nothing. */
  diskBytesMax?: number;
  overflow?: "block" | "error" | "dropOldest";
  /** Each message to one receiver; the newest of each key; all to every follower; questions and answers; shared memory (its ends are in C++ and zsyncctl). */
  form?: "queue" | "latest" | "broadcast" | "request" | "ring";
  /** Accepted means on disk. */
  durable?: boolean;
  /** An equal channel that exists already is a success. */
  ifAbsent?: boolean;
}

/** How long a channel keeps messages and their ids; 0 is no limit. What is left out is the default, or stays. */
export interface ChannelPolicyOptions {
  /** Of durable channels: older messages go; default 7 days. */
  retentionAgeMs?: number;
  /** Of durable channels: the oldest messages go while the log is larger; default 1 GiB. */
  retentionBytes?: number;
  /** Also what a group, or without groups a receiver, still has to get. */
  retentionDropsUnsettled?: boolean;
  /** How long ids are remembered; default 2 min; 0: not at all. */
  dedupWindowMs?: number;
  dedupIdsMax?: number;
}
const policyOf = (policy: ChannelPolicyOptions) => ({
  ...(policy.retentionAgeMs === undefined ? {} : { retentionAge: duration(policy.retentionAgeMs) }),
  ...(policy.retentionBytes === undefined ? {} : { retentionBytes: BigInt(policy.retentionBytes) }),
  ...(policy.retentionDropsUnsettled === undefined ? {} : { retentionDropsUnsettled: policy.retentionDropsUnsettled }),
  ...(policy.dedupWindowMs === undefined ? {} : { dedupWindow: duration(policy.dedupWindowMs) }),
  ...(policy.dedupIdsMax === undefined ? {} : { dedupIdsMax: BigInt(policy.dedupIdsMax) }),
});

/** Where reading begins; at most one. */
export interface StartOptions {
  fromSeq?: bigint;
  /** The oldest message that is kept. */
  fromStart?: boolean;
  /** The first message sent at that time or later. */
  fromTime?: Date;
}
const startOf = (start: StartOptions) => ({
  fromSeq: start.fromSeq ?? 0n,
  fromStart: start.fromStart ?? false,
  fromTimeUnixNano: start.fromTime ? BigInt(start.fromTime.getTime()) * 1_000_000n : 0n,
});

export interface GroupOptions extends StartOptions {
  /** Until an unacknowledged message is delivered again; default 30 s. */
  ackWaitMs?: number;
  /** Then a message goes to NAME.dead; default 5. */
  maxDeliveries?: number;
  /** Unacknowledged messages of one consumer; default 1000. */
  inFlightMax?: number;
  /** Only what is sent from now on. */
  fromNow?: boolean;
}

/** One of several channels: its name, or more about it. `follow` observes it, from a start of choice, and takes nothing away. */
export type Source = string | ({ channel: string; group?: string; follow?: boolean } & StartOptions);
const sourceOf = (source: Source) =>
  typeof source === "string"
    ? { channel: source }
    : { channel: source.channel, group: source.group ?? "", follow: source.follow ?? false, ...startOf(source) };

/** What came, and from which of several channels. `closed`: that one is closed and drained, and has left the selection. */
export type Selected =
  | { channel: string; record: Record }
  | { channel: string; gap: Gap }
  | { channel: string; closed: true };

/** A message as it was received, or its number: then whichever delivery was the last. */
export type Delivery = Pick<Record, "seq" | "delivery"> | bigint;
const delivered = (messages: Delivery[]) =>
  messages.map((one) => (typeof one === "bigint" ? { seq: one } : { seq: one.seq, delivery: one.delivery }));

/** What is said of a message that was acknowledged meanwhile, or is or will be delivered again. */
const late = new Set(["SETTLED", "RETURNED", "REDELIVERED", "NOT_DELIVERED"]);
interface Settling { channel: string; group: string; messages: { seq: bigint; delivery?: number }[] }

const forms = {
  queue: ChannelForm.QUEUE, latest: ChannelForm.LATEST, broadcast: ChannelForm.BROADCAST, request: ChannelForm.REQUEST,
  ring: ChannelForm.RING,
};
const overflows = { block: Overflow.BLOCK, error: Overflow.ERROR, dropOldest: Overflow.DROP_OLDEST };

/** A stream of batches into one channel; at most 16 wait for their acknowledgement. One caller at a time. */
export class Sender {
  private stream: Duplex<SendRequest, SendReply> | undefined;
  private readonly inFlight: number[] = [];
  private readonly total = create(SendReplySchema);
  private finished = false;
  private readonly bounds: Bounds;

  constructor(private readonly connection: Connection, private readonly name: string, options: CallOptions) {
    this.bounds = connection.bounds(options);
  }

  /** Puts one batch on the way; waits while a full channel holds earlier ones back. */
  async send(...messages: Payload[]): Promise<void> {
    if (this.finished) throw makeError("FAILED_PRECONDITION", `the sender into channel ${this.name} is finished`);
    const request = create(SendRequestSchema, batchOf(messages));
    if (!this.stream) {
      this.stream = this.connection.duplex(Service.method.send, this.bounds);
      request.channel = this.name;
    } else if (this.inFlight.length >= batchesInFlightMax) {
      await this.acknowledge();
    }
    this.inFlight.push(messages.length);
    this.stream.write(request);
  }

  /** Resolves once everything sent so far is accepted (durable: is on disk). */
  async flush(): Promise<SendReply> {
    while (this.inFlight.length > 0) await this.acknowledge();
    return create(SendReplySchema, { accepted: this.total.accepted, lastSeq: this.total.lastSeq, duplicates: this.total.duplicates });
  }

  /** Ends the stream: how many messages were accepted, and the seq of the last. */
  async finish(): Promise<SendReply> {
    if (!this.finished) {
      if (!this.stream) await this.send(); // a stream without a batch still names its channel
      this.finished = true;
      this.stream!.doneWriting();
      await this.flush();
      await this.stream!.read();
      this.stream!.close();
    }
    return this.flush();
  }

  /** Withdraws what was not accepted yet. */
  cancel(): void {
    this.finished = true;
    this.stream?.close();
  }

  private async acknowledge(): Promise<void> {
    const reply = await this.stream!.read();
    if (!reply) {
      this.finished = true;
      throw makeError("DATA_LOSS", "the stream ended before every batch was accepted");
    }
    this.total.accepted += reply.accepted;
    this.total.duplicates += reply.duplicates;
    if (reply.lastSeq) this.total.lastSeq = reply.lastSeq;
    if (reply.accepted < BigInt(this.inFlight.shift()!)) {
      this.cancel();
      const count = this.total.accepted;
      throw makeError("RESOURCE_EXHAUSTED", `channel ${this.name} is full: ${count} messages were accepted, not all`);
    }
  }
}

async function* batchesOf(messages: Iterable<Payload> | AsyncIterable<Payload>): AsyncGenerator<Payload[], void, void> {
  let batch: Payload[] = [];
  let size = 0;
  for await (const message of messages) {
    const bytes = bytesOf(message);
    if (batch.length > 0 && (batch.length >= batchMessagesMax || size + bytes.length > batchBytesMax)) {
      yield batch;
      batch = [];
      size = 0;
    }
    batch.push(message);
    size += bytes.length;
  }
  if (batch.length > 0) yield batch;
}

interface Received { batch: RecvBatch; item?: Record | Gap }
async function* items(received: AsyncIterable<Received>): AsyncGenerator<Record | Gap, void, void> {
  for await (const { item } of received) if (item) yield item;
}

export class Channels {
  constructor(private readonly connection: Connection) {}

  create(name: string, channel: ChannelOptions = {}, options: CallOptions = {}): Promise<Channel> {
    const spec = {
      name,
      capacity: BigInt(channel.capacity ?? 0),
      unbounded: channel.unbounded ?? false,
      bytesMax: BigInt(channel.bytesMax ?? 0),
      ...(channel.diskBytesMax === undefined ? {} : { diskBytesMax: BigInt(channel.diskBytesMax) }),
      overflow: overflows[channel.overflow ?? "block"],
      class: channel.durable ? ChannelClass.DURABLE : ChannelClass.MEMORY,
      policy: policyOf(channel),
      form: forms[channel.form ?? "queue"],
    };
    const ifAbsent = channel.ifAbsent ?? false;
    return this.connection.unary(Service.method.create, { spec, ifAbsent }, options, ifAbsent);
  }

  get(name: string, options: CallOptions = {}): Promise<Channel> {
    return this.connection.unary(Service.method.get, { name }, options, true);
  }

  async *list(options: CallOptions = {}): AsyncGenerator<Channel, void, void> {
    const bounds = this.connection.bounds(options);
    for (let pageToken = ""; ; ) {
      const request = { pageSize: 1000, pageToken };
      const reply = await this.connection.unary(Service.method.list, request, bounds.options(), true);
      yield* reply.channels;
      pageToken = reply.nextPageToken;
      if (pageToken === "") return;
    }
  }

  /** Later sends fail; receivers drain what is there and then see the end. */
  close(name: string, options: CallOptions = {}): Promise<Channel> {
    return this.connection.unary(Service.method.close, { name }, options, true);
  }

  async remove(name: string, options: CallOptions = {}): Promise<void> {
    await this.connection.unary(Service.method.remove, { name }, options, false);
  }

  /**
   * Asks one of those who reply; resolves to its answer within `timeoutMs` (30 s). Conflict at once when nobody replies,
   * Unavailable when the responder went away: it may have been done. A reply that comes too late is dropped.
   */
  async request(name: string, body: Uint8Array | string, options: CallOptions = {}): Promise<Uint8Array> {
    const timeout = options.timeoutMs === undefined ? {} : { timeout: duration(options.timeoutMs) };
    const request = { channel: name, body: bytesOf(body), ...timeout };
    return (await this.connection.unary(Service.method.request, request, options, false)).body;
  }

  /**
   * Answers requests with what `handler` returns, `concurrency` (1) at a time, until the channel is closed and nothing waits,
   * or the signal ends it. What it throws is told to the one who asked.
   */
  async reply(
    name: string, handler: (inquiry: Inquiry) => Uint8Array | string | Promise<Uint8Array | string>,
    options: CallOptions & { concurrency?: number } = {},
  ): Promise<void> {
    const stream = this.connection.duplex(Service.method.reply, this.connection.bounds(options));
    const answer = async (inquiry: Inquiry) => {
      const said = await Promise.resolve(inquiry).then(handler).then(
        (body) => ({ body: bytesOf(body) }),
        (error: unknown) => ({ error: (error instanceof Error && error.message) || String(error) }),
      );
      stream.write(create(ReplyRequestSchema, { credit: 1n, answers: [{ id: inquiry.id, ...said }] }));
    };
    const running = new Set<Promise<void>>();
    try {
      stream.write(create(ReplyRequestSchema, { channel: name, credit: BigInt(options.concurrency ?? 1) }));
      for (let batch = await stream.read(); batch && !batch.closed; batch = await stream.read()) {
        for (const inquiry of batch.inquiries) {
          const one = answer(inquiry).finally(() => running.delete(one));
          running.add(one);
        }
      }
      await Promise.all(running);
      stream.doneWriting();
      while (await stream.read());
    } finally {
      stream.close();
    }
  }

  /** Changes how long a channel keeps messages and their ids; what is left out stays. */
  update(name: string, policy: ChannelPolicyOptions, options: CallOptions = {}): Promise<Channel> {
    return this.connection.unary(Service.method.update, { name, policy: policyOf(policy) }, options, true);
  }

  /** One batch that never waits for room: how many messages of it were accepted. */
  trySend(name: string, messages: Payload[], options: CallOptions = {}): Promise<SendReply> {
    const request = { channel: name, ...batchOf(messages) };
    return this.connection.unary(Service.method.trySend, request, options, false);
  }

  /** Sends many messages, in batches; resolves once all are accepted. For what comes over time: sender(). */
  async send(
    name: string, messages: Iterable<Payload> | AsyncIterable<Payload>, options: CallOptions = {},
  ): Promise<SendReply> {
    const sender = this.sender(name, options);
    try {
      for await (const batch of batchesOf(messages)) await sender.send(...batch);
      return await sender.finish();
    } catch (error) {
      sender.cancel();
      throw error;
    }
  }

  sender(name: string, options: CallOptions = {}): Sender {
    return new Sender(this.connection, name, options);
  }

  /**
   * Competes for messages: each goes to one receiver. Ends after `limit`, or when the channel is closed and drained. Never
   * resumed. What was not handed out when the loop is left goes back to the front of the channel.
   */
  recv(name: string, options: CallOptions & { limit?: number } = {}): AsyncGenerator<Record | Gap, void, void> {
    return items(this.receive({ channel: name }, false, options));
  }

  /** Makes a consumer group of a durable channel; one of the same settings that exists is a success. */
  createGroup(channel: string, name: string, group: GroupOptions = {}, options: CallOptions = {}): Promise<ChannelGroup> {
    const spec = {
      name,
      ...(group.ackWaitMs === undefined ? {} : { ackWait: duration(group.ackWaitMs) }),
      maxDeliveries: group.maxDeliveries ?? 0,
      inFlightMax: group.inFlightMax ?? 0,
    };
    const request = { channel, spec, ...startOf(group), fromNow: group.fromNow ?? false };
    return this.connection.unary(Service.method.createGroup, request, options, true);
  }

  /** Forgets how far a group came. */
  async removeGroup(channel: string, group: string, options: CallOptions = {}): Promise<void> {
    await this.connection.unary(Service.method.removeGroup, { channel, group }, options, false);
  }

  /**
   * Receives as a consumer of a group; ends as recv() does. What was handed out is acknowledged with its batch, or by ack()
   * when `byHand`. The rest goes to another consumer: at once when the loop is left, after the group's ack wait when it
   * takes too long. When the daemon restarts it joins the group again: what was not acknowledged by then is delivered again.
   */
  consume(
    channel: string, group: string, options: CallOptions & { limit?: number; byHand?: boolean } = {},
  ): AsyncGenerator<Record | Gap, void, void> {
    return items(this.receive({ channel, group }, options.byHand ?? false, options));
  }

  /**
   * Whatever comes first from any of several channels; those that have something take turns. A closed and drained channel
   * leaves; the last one ends the loop, as does `limit`. What was handed out is confirmed, or acknowledged unless `byHand`;
   * the rest stays where it was.
   */
  async *select(
    sources: Source[], options: CallOptions & { limit?: number; byHand?: boolean } = {},
  ): AsyncGenerator<Selected, void, void> {
    if (sources.length === 0) throw makeError("INVALID_ARGUMENT", "a selection needs a channel");
    const first = { sources: sources.map((source) => create(RecvSourceSchema, sourceOf(source))) };
    for await (const { batch, item } of this.receive(first, options.byHand ?? false, options)) {
      const channel = batch.channel;
      if (!item) yield { channel, closed: true };
      else if (item.$typeName === "zsync.v1.Gap") yield { channel, gap: item };
      else yield { channel, record: item };
    }
  }

  /** Settles messages for good. The refusal of a single one is thrown, those of several are in the reply. */
  ack(channel: string, group: string, messages: Delivery[], options: CallOptions = {}): Promise<AckReply> {
    const request = { channel, group, messages: delivered(messages) };
    return this.settle(Service.method.ack, request, options);
  }

  /** Gives messages back, to be delivered again after a delay. */
  nack(
    channel: string, group: string, messages: Delivery[], options: CallOptions & { delayMs?: number; reason?: string } = {},
  ): Promise<AckReply> {
    const delay = options.delayMs === undefined ? {} : { delay: duration(options.delayMs) };
    const request = { channel, group, messages: delivered(messages), reason: options.reason ?? "", ...delay };
    return this.settle(Service.method.nack, request, options);
  }

  /** Begins the ack wait of messages anew: the heartbeat of work that takes longer. */
  extend(channel: string, group: string, messages: Delivery[], options: CallOptions = {}): Promise<AckReply> {
    const request = { channel, group, messages: delivered(messages) };
    return this.settle(Service.method.extend, request, options);
  }

  /**
   * Acknowledges, gives back or extends. A restart of the daemon makes the first try's outcome unknown and gives messages to
   * others: a refusal that comes from that is told in the reply.
   */
  private async settle(
    method: typeof Service.method.ack | typeof Service.method.nack | typeof Service.method.extend, request: Settling,
    options: CallOptions,
  ): Promise<AckReply> {
    const bounds = this.connection.bounds(options);
    let tries = 0;
    try {
      return await this.connection.resuming(bounds, () => {
        tries += 1;
        return this.connection.once(method as typeof Service.method.ack, create(method.input, request) as AckRequest, bounds);
      });
    } catch (error) {
      const [one, more] = request.messages;
      if (!one || more || !(error instanceof ZsyncError) || !late.has(error.reason)) throw error;
      const broken = this.connection.breaks.get(`${request.channel}/${request.group}`) ?? 0n;
      if (tries === 1 && one.seq > broken) throw error;
      return create(AckReplySchema, { refused: [{ seq: one.seq, reason: error.reason, message: error.message }] });
    }
  }

  private async *receive(
    first: Partial<Pick<RecvRequest, "channel" | "group" | "sources">>, byHand: boolean, options: CallOptions & { limit?: number },
  ): AsyncGenerator<Received, void, void> {
    const bounds = this.connection.bounds(options);
    let left = options.limit ?? 0;
    if (!first.group) {
      yield* this.receiveOnce(first, byHand, left, bounds);
      return;
    }
    const group = `${first.channel}/${first.group}`;
    const retry = this.connection.retry(bounds);
    let highest = 0n;
    for (;;) {
      try {
        for await (const received of this.receiveOnce(first, byHand, left, bounds)) {
          retry.progressed();
          if (received.item?.$typeName === "zsync.v1.Record") {
            if (received.item.seq > highest) highest = received.item.seq;
            if (left > 0) left -= 1;
          }
          yield received;
        }
        return;
      } catch (error) {
        if (isBrokenConnection(error) && highest > (this.connection.breaks.get(group) ?? 0n)) {
          this.connection.breaks.set(group, highest);
        }
        await retry.after(error);
      }
    }
  }

  private async *receiveOnce(
    first: Partial<Pick<RecvRequest, "channel" | "group" | "sources">>, byHand: boolean, limit: number, bounds: Bounds,
  ): AsyncGenerator<Received, void, void> {
    const stream = this.connection.duplex(Service.method.recv, bounds);
    const ask = (
      request: Partial<Pick<RecvRequest, "channel" | "credit" | "limit" | "received" | "confirms" | "group" | "sources">>,
    ) => stream.write(create(RecvRequestSchema, request));
    // By hand the group's in_flight_max is the credit.
    let granted = byHand ? 0 : limit ? Math.min(limit, recvCredit) : recvCredit;
    let seen = 0; // messages handed out
    let ended = false;
    try {
      ask({ ...first, limit: BigInt(limit), credit: BigInt(granted), confirms: true });
      for (let batch = await read(); batch; batch = await read()) {
        if (batch.gap) yield { batch, item: batch.gap };
        for (const record of batch.records) {
          seen += 1;
          yield { batch, item: record };
        }
        if (batch.closed && first.sources) yield { batch };
        if ((batch.closed && batch.sourcesLeft === 0) || (limit > 0 && seen >= limit)) return;
        if (byHand) continue;
        const wanted = limit ? Math.min(seen + recvCredit, limit) : seen + recvCredit;
        ask({ credit: BigInt(wanted - granted), received: BigInt(seen) });
        granted = wanted;
      }
    } finally {
      if (!ended) {
        ask({ received: byHand ? 0n : BigInt(seen) });
        stream.doneWriting();
        for (let rest = await read().catch(() => undefined); rest; rest = await read().catch(() => undefined));
      }
      stream.close();
    }

    async function read(): Promise<RecvBatch | undefined> {
      try {
        const batch = await stream.read();
        if (!batch) ended = true;
        return batch;
      } catch (error) {
        ended = true;
        throw error;
      }
    }
  }

  /** Observes, by default from the first next() on, and takes nothing away. */
  async *follow(name: string, options: CallOptions & StartOptions = {}): AsyncGenerator<Record | Gap, void, void> {
    const bounds = this.connection.bounds(options);
    let start = startOf(options);
    const goOnFrom = (fromSeq: bigint) => (start = startOf({ fromSeq }));
    // "From now on" must be a number, or what is sent during a restart would be a silent hole.
    const fromNow = !start.fromSeq && !start.fromStart && !start.fromTimeUnixNano;
    if (fromNow && this.connection.settings.resume) {
      const { nextSeq, spec } = await this.get(name, bounds.options());
      if (spec?.form !== ChannelForm.LATEST) goOnFrom(nextSeq); // of the values of now the newest are wanted
    }
    for await (const batch of this.connection.follow(Service.method.follow, () => ({ channel: name, ...start }), bounds)) {
      if (batch.gap) yield batch.gap;
      yield* batch.records;
      if (batch.gap) goOnFrom(batch.gap.to + 1n);
      const last = batch.records.at(-1);
      if (last) goOnFrom(last.seq + 1n);
    }
  }
}
