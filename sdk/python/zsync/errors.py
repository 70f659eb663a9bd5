"""What a call can fail with: one class for each way to react."""
from __future__ import annotations

from collections.abc import Iterable

from zsync import v1

__all__ = [
    "Aborted", "AlreadyExists", "Canceled", "CommandFailed", "Conflict", "DataLoss", "DeadlineExceeded", "Denied",
    "Error", "Internal", "InvalidArgument", "LimitExceeded", "NotFound", "OutOfRange", "Unauthenticated",
    "Unavailable", "Unimplemented", "Unknown",
]  # fmt: skip

_TRAILER = "zsync-error-bin"


class Error(Exception):
    """Any failed call. `str()` is one line: what failed, and what to do about it."""

    #: The gRPC status code by name.
    code = "UNKNOWN"

    def __init__(self, message: str, detail: v1.ErrorDetail | None = None):
        super().__init__(message)
        self.message = message
        #: The request field at fault, as written in the proto ("spec.argv").
        self.field = detail.field if detail else ""
        #: A stable upper-snake word: "NOT_FOUND", "LIMIT", "CLOSED", ...
        self.reason = detail.reason if detail else ""
        #: The limit that was hit, with its name and unit.
        self.limit = detail.limit if detail else ""
        #: What to do.
        self.hint = detail.hint if detail else ""
        #: Existing names or ids nearest to the one given.
        self.closest: tuple[str, ...] = tuple(detail.closest) if detail else ()
        #: Whether the daemon spoke the error on purpose; False: it came from the connection or from this side.
        self.spoken = detail is not None

    def __str__(self) -> str:
        return f"{self.message}: {self.hint}" if self.hint else self.message


class Canceled(Error):
    """The call was ended before its reply."""

    code = "CANCELLED"


class Unknown(Error):
    """The other side failed without saying how."""


class InvalidArgument(Error):
    """The request is wrong whatever the state of the daemon; `field` says where."""

    code = "INVALID_ARGUMENT"


class DeadlineExceeded(Error, TimeoutError):
    """`timeout` passed before the reply; what was accepted stays accepted."""

    code = "DEADLINE_EXCEEDED"


class NotFound(Error):
    """No such task, channel or directory; `closest` names near ones."""

    code = "NOT_FOUND"


class AlreadyExists(Error):
    """The name is taken."""

    code = "ALREADY_EXISTS"


class Denied(Error):
    """The daemon serves its own user and root; the message says who the caller is."""

    code = "PERMISSION_DENIED"


class Unauthenticated(Error):
    """The daemon could not tell who the caller is."""

    code = "UNAUTHENTICATED"


class LimitExceeded(Error):
    """A limit was hit (`limit` names it), or a channel with overflow "error" is full."""

    code = "RESOURCE_EXHAUSTED"


class Conflict(Error):
    """Not in the present state: retrying a running task, sending to a closed channel."""

    code = "FAILED_PRECONDITION"


class Aborted(Error):
    """Another call was faster."""

    code = "ABORTED"


class OutOfRange(Error):
    """A position outside what exists."""

    code = "OUT_OF_RANGE"


class Unimplemented(Error):
    """The daemon does not have this yet."""

    code = "UNIMPLEMENTED"


class Internal(Error):
    """A defect of the daemon."""

    code = "INTERNAL"


class Unavailable(Error):
    """No daemon answers, it is going down, or it cannot write its state."""

    code = "UNAVAILABLE"


class DataLoss(Error):
    """Part of what was asked for is gone for good."""

    code = "DATA_LOSS"


class CommandFailed(Error):
    """A command that was to succeed did not; `completed` has its record and output."""

    code = "ABORTED"

    def __init__(self, message: str, completed: object):
        super().__init__(message)
        self.completed = completed


_BY_CODE = {
    kind.code: kind
    for kind in (
        Aborted, AlreadyExists, Canceled, Conflict, DataLoss, DeadlineExceeded, Denied, Internal, InvalidArgument,
        LimitExceeded, NotFound, OutOfRange, Unauthenticated, Unavailable, Unimplemented, Unknown,
    )
}  # fmt: skip

# How gRPC words a connection that broke under a call, where it does not say UNAVAILABLE.
_BROKEN = ("Stream removed", "RST_STREAM", "Socket closed", "Connection reset")


def from_status(code: str, message: str, trailers: Iterable[tuple[str, str | bytes]]) -> Error:
    """The error for a finished call's status."""
    detail = None
    for key, value in trailers:
        if key == _TRAILER and isinstance(value, bytes):
            detail = v1.ErrorDetail.FromString(value)
    if detail is None and code in ("UNKNOWN", "INTERNAL") and any(words in message for words in _BROKEN):
        code = "UNAVAILABLE"
    # Who cancels a call here does not ask for its status: the daemon ended it unheard as it went down.
    if detail is None and code == "CANCELLED":
        code, message = "UNAVAILABLE", "zsyncd ended the call as it went down"
    return _BY_CODE.get(code, Unknown)(message or code.lower(), detail)


def is_broken_connection(error: Error) -> bool:
    """The connection broke or the daemon is going down: worth another try."""
    return isinstance(error, Unavailable) and (not error.spoken or is_draining(error))


def is_draining(error: Error) -> bool:
    """The daemon did nothing, because another program takes over from it: any call may be made again."""
    return isinstance(error, Unavailable) and error.reason == "DRAINING"
