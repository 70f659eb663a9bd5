"""Client of zsyncd, the daemon that runs, connects and watches the work of one machine.

`zsync.Client` is synchronous, `zsync.aio.Client` has the same shape for asyncio; `zsync.v1` holds the messages.
"""
from collections.abc import Sequence
from typing import Unpack

from zsync import aio, errors, v1
from zsync._channel_core import Selected
from zsync._core import is_final
from zsync._requests import Argument, Completed, Duration, GroupOptions, LimitOptions, RetryOptions, SpecOptions
from zsync._requests import spec as _spec
from zsync._schedules import TaskArray
from zsync._serving import FunctionFailed, ServedCall
from zsync.client import Client, Sender, Task, TaskInput
from zsync.errors import *  # noqa: F403

__version__ = "0.1.0"
__all__ = [
    *errors.__all__, "Client", "Completed", "Duration", "FunctionFailed", "GroupOptions", "LimitOptions", "RetryOptions", "Selected", "Sender", "ServedCall", "SpecOptions", "Task", "TaskArray", "TaskInput", "aio", "is_final", "spec", "v1",
]  # fmt: skip


def spec(*command: Argument | Sequence[Argument], **options: Unpack[SpecOptions]) -> v1.TaskSpec:
    """One task for Tasks.submit_many()."""
    return _spec(command, options)
