"""Request bodies as they arrive: limits on size and time, and a check of the parts of an upload."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.types import Message, Receive, Send

from openvocab.ui.web.protection.error_responses import TOO_LONG, ErrorResponse

__all__ = ["MultipartFiles", "RequestBody"]

_CHUNK_TIMEOUT = 30.0
"""Maximum seconds between two chunks of a body."""
_BASE_TIMEOUT, _MIN_RATE = 60.0, 2**16
"""Seconds for a whole body, plus one second per this many bytes."""
_TOO_SLOW = ErrorResponse(408, "the request took too long to arrive; send it again")
_NO_FILES = ErrorResponse(400, "an upload must be multipart/form-data whose parts are files named 'files'")
_TOO_MANY = ErrorResponse(413, "there are too many files in one upload; send fewer at once")
_DISCONNECT: Message = {"type": "http.disconnect"}


class RequestBody:
    """Wraps the receive and send of a request and checks the body on its way to the handler.

    If the body is too large, too slow or rejected by the check, the handler receives a disconnect and its response is
    discarded.

    Attributes:
        rejection: The response to send instead, or None.
        disconnected: Whether the client disconnected.
        answered: Whether the handler has started its response.
    """

    def __init__(
        self, receive: Receive, send: Send, max_bytes: int, check: Callable[[bytes], ErrorResponse | None]
    ) -> None:
        """Wrap a request.

        Args:
            receive: ASGI receive of the request.
            send: ASGI send of the request.
            max_bytes: Maximum size of the body.
            check: Called with each chunk; returns an error response or None.
        """
        self._receive, self._send, self._max_bytes, self._check = receive, send, max_bytes, check
        self._count, self._start = 0, time.monotonic()
        self._complete = False
        self.rejection: ErrorResponse | None = None
        self.disconnected = False
        self.answered = False

    async def receive(self) -> Message:
        """Return the client's next message; after a complete body only a disconnect follows, without a timeout."""
        if self.rejection is not None:
            return _DISCONNECT
        try:
            message = await asyncio.wait_for(self._receive(), None if self._complete else self._timeout())
        except TimeoutError:
            self.rejection = _TOO_SLOW
            return _DISCONNECT
        if message["type"] == "http.disconnect":
            self.disconnected = True
            return message
        self.rejection = self._checked(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        return _DISCONNECT if self.rejection is not None else message

    async def send(self, message: Message) -> None:
        """Send a message of the handler, unless the body was rejected before the handler answered."""
        if self.rejection is not None and not self.answered:
            return
        self.answered = True
        await self._send(message)

    @property
    def interrupted(self) -> bool:
        """Whether the handler did not receive the whole body."""
        return self.disconnected or self.rejection is not None

    def _timeout(self) -> float:
        left = self._start + _BASE_TIMEOUT + self._count / _MIN_RATE - time.monotonic()
        return max(0.0, min(_CHUNK_TIMEOUT, left))

    def _checked(self, chunk: bytes) -> ErrorResponse | None:
        self._count += len(chunk)
        return TOO_LONG if self._count > self._max_bytes else self._check(chunk)


class MultipartFiles:
    """Checks an upload chunk by chunk without storing it: each part must be a file of the field "files"."""

    def __init__(self, content_type: str, max_files: int) -> None:
        """Create the parser.

        Args:
            content_type: Content-Type header of the request.
            max_files: Maximum number of files.
        """
        self._max_files, self._files = max_files, 0
        self._name, self._value, self._disposition = bytearray(), bytearray(), b""
        self._rejection: ErrorResponse | None = None
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            self._rejection = _NO_FILES
            return
        callbacks: Any = {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._header,
            "on_headers_finished": self._headers,
        }
        self._parser = MultipartParser(boundary, callbacks)

    def check(self, chunk: bytes) -> ErrorResponse | None:
        """Parse a chunk and return an error response, or None."""
        if self._rejection is None and chunk:
            try:
                self._parser.write(chunk)
            except MultipartParseError:
                self._rejection = _NO_FILES
        return self._rejection

    def _begin(self) -> None:
        self._disposition = b""

    def _header(self) -> None:
        if bytes(self._name).lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _headers(self) -> None:
        options = parse_options_header(self._disposition)[1]
        self._files += 1
        if options.get(b"name") != b"files" or b"filename" not in options:
            self._rejection = _NO_FILES
        elif self._files > self._max_files:
            self._rejection = _TOO_MANY
