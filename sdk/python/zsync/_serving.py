"""What both clients do to serve a function, without I/O: what is in hand, what is said about it."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from zsync import v1
from zsync._requests import Duration, SpecOptions, proto_duration, spec

#: What a handler may return: bytes, text (UTF-8), one of both with a content type, or a whole result.
HandlerResult = bytes | str | tuple[bytes | str, str] | v1.FunctionResult


class FunctionFailed(Exception):
    """Raised by a handler to say how it failed: `code` is its own word; `permanent` means that no retry can help."""

    def __init__(self, message: str, *, code: str = "", permanent: bool = False):
        super().__init__(message)
        self.code, self.permanent = code, permanent


@dataclass
class ServedCall:
    """What a handler gets: `payload` and `content_type`; `call` has the rest, as task id, attempt, deadline and trace."""

    call: v1.HandedCall
    #: Nobody wants the result any more: canceled, out of time, or the daemon went away.
    canceled: bool = False

    @property
    def payload(self) -> bytes:
        return self.call.payload

    @property
    def content_type(self) -> str:
        return self.call.content_type


class Hands:
    """The calls that one stream of a worker has in hand."""

    def __init__(self, name: str, concurrency: int, window: int):
        if concurrency < 1:
            raise ValueError("concurrency is at least 1")
        self.open = v1.ServeRequest(open=v1.ServeOpen(name=name, window=max(concurrency, window)))
        self.held: dict[int, ServedCall] = {}
        self.served = False

    def take(self, reply: v1.ServeReply) -> list[ServedCall]:
        """-> what is new in hand"""
        self.served = self.served or reply.serving
        fresh = [ServedCall(call) for call in reply.calls]
        self.held.update((one.call.call, one) for one in fresh)
        for call in reply.canceled:
            if call in self.held:
                self.held[call].canceled = True
        return fresh

    def drop(self) -> None:
        """The stream broke: others get what is in hand."""
        for one in list(self.held.values()):
            one.canceled = True

    def answer(self, served: ServedCall, result: HandlerResult | BaseException) -> v1.ServeRequest:
        self.held.pop(served.call.call, None)
        answer = v1.CallAnswer(call=served.call.call)
        if isinstance(result, BaseException):
            answer.error.code = getattr(result, "code", "") or type(result).__name__
            answer.error.message = str(result) or type(result).__name__
            answer.error.permanent = bool(getattr(result, "permanent", False))
        elif isinstance(result, v1.FunctionResult):
            answer.payload, answer.content_type = result.payload, result.content_type
            if result.HasField("error"):
                answer.error.CopyFrom(result.error)
        else:
            body, content_type = result if isinstance(result, tuple) else (result, "")
            answer.payload = body.encode() if isinstance(body, str) else body
            answer.content_type = content_type
        return v1.ServeRequest(answers=[answer])


def function_call(name: str, payload: bytes | str, content_type: str, wait_for_worker: bool) -> v1.FunctionCall:
    body = payload.encode() if isinstance(payload, str) else payload
    return v1.FunctionCall(name=name, payload=body, content_type=content_type, wait_for_worker=wait_for_worker)


def direct(call: v1.FunctionCall, timeout: Duration | None) -> v1.CallFunctionRequest:
    request = v1.CallFunctionRequest(call=call)
    if timeout is not None:
        request.timeout.CopyFrom(proto_duration(timeout))
    return request


def task_spec(call: v1.FunctionCall, options: SpecOptions) -> v1.TaskSpec:
    message = spec((), options)
    message.function.CopyFrom(call)
    return message


def checked(result: Any) -> HandlerResult | BaseException:
    """What a handler returned, or that it cannot be sent."""
    body = result[0] if isinstance(result, tuple) and len(result) == 2 else result
    if isinstance(body, (bytes, bytearray, str, v1.FunctionResult)):
        return result
    return TypeError(f"the handler returned {type(result).__name__}: return bytes, text, or (bytes, content type)")
