"""Requests and replies of channels of the form request."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zsync import _channel_core, _requests, v1
from zsync._requests import Duration


class Exchange:
    """The part of Channels that asks and answers."""

    _driver: Any

    def request(self, name: str, body: bytes = b"", *, trace: str = "", timeout: Duration | None = None) -> bytes:
        """Asks one of those who reply -> its answer, within `timeout` (30 s).

        Conflict at once when nobody replies; Unavailable when the responder went away: it may have been done; Error with what
        it says when it failed. A reply that comes too late is dropped.
        """
        request = _requests.ask(name, body, trace, timeout)
        return (self._driver.unary("Channels.Request", request, timeout, False)).body

    def reply(self, name: str, handler: Callable[[v1.Inquiry], bytes], *, timeout: Duration | None = None) -> None:
        """Answers requests with what `handler` returns, one at a time, until the channel is closed and nothing waits.

        What it raises is told to the one who asked. Several replies share the requests.
        """
        driver = self._driver
        responder = _channel_core.Responder(name, driver.deadline(timeout))
        for inquiry in driver.iterate(responder.inquiries(), responder.settle()):
            try:
                responder.answer(inquiry, handler(inquiry))
            except Exception as error:
                responder.answer(inquiry, error=str(error) or type(error).__name__)
