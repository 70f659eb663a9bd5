// What a call can fail with.
import { fromBinary } from "@bufbuild/protobuf";
import { type ServiceError, status as Code } from "@grpc/grpc-js";
import { ErrorDetailSchema } from "./gen/zsync/v1/common_pb.js";

/** The status of a failed call: gRPC's codes by name. */
export type ErrorCode = Exclude<keyof typeof Code, "OK">;

export interface ErrorFields {
  /** The request field at fault, as written in the proto ("spec.argv"). */
  field: string;
  /** A stable upper-snake word: "NOT_FOUND", "LIMIT", "CLOSED", ... */
  reason: string;
  /** The limit that was hit, with its name and unit. */
  limit: string;
  /** What to do. */
  hint: string;
  /** Existing names or ids nearest to the one given. */
  closest: string[];
}

/** Any failed call. `message` is one line: what failed, and what to do about it. */
export class ZsyncError extends Error {
  readonly code: ErrorCode;
  readonly field: string;
  readonly reason: string;
  readonly limit: string;
  readonly hint: string;
  readonly closest: readonly string[];
  /** Whether the daemon spoke the error on purpose; false: it came from the connection or from this side. */
  readonly spoken: boolean;

  constructor(code: ErrorCode, message: string, detail?: ErrorFields) {
    super(detail?.hint ? `${message}: ${detail.hint}` : message);
    this.name = new.target.name;
    this.code = code;
    this.field = detail?.field ?? "";
    this.reason = detail?.reason ?? "";
    this.limit = detail?.limit ?? "";
    this.hint = detail?.hint ?? "";
    this.closest = detail?.closest ?? [];
    this.spoken = detail !== undefined;
  }
}

/** No such task, channel or directory; `closest` names near ones. */
export class NotFound extends ZsyncError {}
/** The request is wrong whatever the state of the daemon; `field` says where. */
export class InvalidArgument extends ZsyncError {}
/** The name is taken. */
export class AlreadyExists extends ZsyncError {}
/** The daemon serves its own user and root; the message says who the caller is. */
export class Denied extends ZsyncError {}
/** A limit was hit (`limit` names it), or a channel with overflow "error" is full. */
export class LimitExceeded extends ZsyncError {}
/** Not in the present state: retrying a running task, sending to a closed channel. */
export class Conflict extends ZsyncError {}
/** `timeoutMs` passed before the reply; what was accepted stays accepted. */
export class DeadlineExceeded extends ZsyncError {}
/** The call was ended before its reply, by its signal or by close(). */
export class Canceled extends ZsyncError {}
/** No daemon answers, it is going down, or it cannot write its state. */
export class Unavailable extends ZsyncError {}
/** The daemon does not have this yet. */
export class Unimplemented extends ZsyncError {}
/** Part of what was asked for is gone for good. */
export class DataLoss extends ZsyncError {}

type Kind = new (code: ErrorCode, message: string, detail?: ErrorFields) => ZsyncError;
const kinds: Partial<Record<ErrorCode, Kind>> = {
  NOT_FOUND: NotFound,
  INVALID_ARGUMENT: InvalidArgument,
  ALREADY_EXISTS: AlreadyExists,
  PERMISSION_DENIED: Denied,
  RESOURCE_EXHAUSTED: LimitExceeded,
  FAILED_PRECONDITION: Conflict,
  DEADLINE_EXCEEDED: DeadlineExceeded,
  CANCELLED: Canceled,
  UNAVAILABLE: Unavailable,
  UNIMPLEMENTED: Unimplemented,
  DATA_LOSS: DataLoss,
};

export function makeError(code: ErrorCode, message: string, detail?: ErrorFields): ZsyncError {
  return new (kinds[code] ?? ZsyncError)(code, message, detail);
}

// How grpc-js words a connection that broke under a call, where it does not say UNAVAILABLE.
const broken = /RST_STREAM|ECONNRESET|EPIPE|ECONNREFUSED|ENOENT|Connection dropped|socket hang up|Stream removed/;

// And one that was cancelled on this side.
const cancelledHere = "Cancelled on client";

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "code" in error && typeof error.code === "number" && "metadata" in error;
}

/** The error for a finished call's status; what is none of gRPC's stays as it is. */
export function fromStatus(error: unknown): unknown {
  if (!isServiceError(error)) return error;
  const trailer = error.metadata.get("zsync-error-bin")[0];
  const detail = trailer instanceof Buffer ? fromBinary(ErrorDetailSchema, trailer) : undefined;
  let code = Code[error.code] as ErrorCode;
  if (!detail && ["UNKNOWN", "INTERNAL", "CANCELLED"].includes(code) && broken.test(error.details)) code = "UNAVAILABLE";
  // Cancelled by others than us: the daemon ended it unheard as it went down.
  if (!detail && code === "CANCELLED" && error.details !== cancelledHere) {
    return makeError("UNAVAILABLE", "zsyncd ended the call as it went down");
  }
  return makeError(code, error.details || code.toLowerCase(), detail);
}

/** The connection broke or the daemon is going down: worth another try. */
export function isBrokenConnection(error: unknown): boolean {
  return error instanceof Unavailable && (!error.spoken || isDraining(error));
}

/** The daemon did nothing, because another program takes over from it: any call may be made again. */
export function isDraining(error: unknown): boolean {
  return error instanceof Unavailable && error.reason === "DRAINING";
}
