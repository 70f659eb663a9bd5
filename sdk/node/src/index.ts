/** Client of zsyncd, the daemon that runs, connects and watches the work of one machine. */
export { Client, type ClientOptions } from "./client.js";
export type { CallOptions } from "./connection.js";
export {
  type ChannelOptions, type ChannelPolicyOptions, type Delivery, type GroupOptions, type Payload, type Selected, Sender, type Source,
  type StartOptions,
} from "./channels.js";
export {
  AlreadyExists, Canceled, Conflict, DataLoss, DeadlineExceeded, Denied, type ErrorCode, InvalidArgument, LimitExceeded,
  NotFound, Unavailable, Unimplemented, ZsyncError,
} from "./errors.js";
export { type CallingOptions, FunctionFailed, Functions, type Handler, type HandlerResult, type ServeOptions, type ServedCall } from "./functions.js";
export { socketPath, stateDirectory } from "./endpoint.js";
export type { DiagnosticsOptions, HeldWatchState, WatchOptions } from "./observe.js";
export { Projects, type UpOptions } from "./projects.js";
export { type ScheduleOptions, Schedules, TaskArray } from "./schedules.js";
export { type Command, type Completed, type LimitOptions, type RetryOptions, type RetryWhen, type SpecOptions, Task, type TaskFilter, type TaskGroupOptions, TaskInput, isFinal, spec } from "./tasks.js";
export { type TriggerOptions, Triggers } from "./triggers.js";
/** The messages of zsync.v1; each has a schema for create(), toJson(), ... of @bufbuild/protobuf. */
export * as v1 from "./v1.js";
