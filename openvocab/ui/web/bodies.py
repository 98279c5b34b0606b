"""Bodies of requests as they arrive: counted, timed, and, where they are uploads, looked at part by part."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.types import Message, Receive, Send

from openvocab.ui.web.refusals import TOO_LONG, Refusal

__all__ = ["Body", "Parts"]

_PAUSE = 30.0
"""Seconds that may pass between two pieces of a body."""
_START, _RATE = 60.0, 2**16
"""A body may take that many seconds, and one more for each so many bytes."""
_TOO_SLOW = Refusal(408, "the request took too long to arrive; send it again")
_NO_FILES = Refusal(400, "an upload is multipart/form-data whose parts are files named 'files'")
_TOO_MANY = Refusal(413, "there are too many files in one upload; send fewer at once")
_GONE: Message = {"type": "http.disconnect"}


class Body:
    """A request's body on its way to a handler.

    Where it is too long, too slow, or not what look accepts, the handler is told that the client is gone, what it
    answers is dropped, and refusal says why.
    """

    def __init__(self, receive: Receive, send: Send, longest: int, look: Callable[[bytes], Refusal | None]) -> None:
        """Set up.

        Args:
            longest: bytes that are taken.
            look: is given each piece, and returns why the body is refused, or None.
        """
        self._receive, self._send, self._longest, self._look = receive, send, longest, look
        self._count, self._begun = 0, time.monotonic()
        self.refusal: Refusal | None = None
        self.gone = False
        self.answered = False

    async def receive(self) -> Message:
        """Return the next message of the client."""
        if self.refusal is not None:
            return _GONE
        try:
            message = await asyncio.wait_for(self._receive(), None if self._whole() else self._patience())
        except TimeoutError:
            self.refusal = _TOO_SLOW
            return _GONE
        if message["type"] == "http.disconnect":
            self.gone = True
            return message
        self.refusal = self._checked(message.get("body", b""))
        self._ended = not message.get("more_body", False)
        return _GONE if self.refusal is not None else message

    async def send(self, message: Message) -> None:
        """Send on what a handler answers, unless the body was refused before it began to."""
        if self.refusal is not None and not self.answered:
            return
        self.answered = True
        await self._send(message)

    _ended = False

    def _whole(self) -> bool:
        """Whether all of the body has come; what comes next is the client's leaving, whenever that is."""
        return self._ended

    def _patience(self) -> float:
        left = self._begun + _START + self._count / _RATE - time.monotonic()
        return max(0.0, min(_PAUSE, left))

    def _checked(self, piece: bytes) -> Refusal | None:
        self._count += len(piece)
        return TOO_LONG if self._count > self._longest else self._look(piece)


class Parts:
    """Reads an upload's parts as they pass, without keeping them: each is a file of the field "files"."""

    def __init__(self, content_type: str, most: int) -> None:
        """Set up.

        Args:
            content_type: the request's header.
            most: files that are taken.
        """
        self._most, self._files = most, 0
        self._name, self._value, self._disposition = bytearray(), bytearray(), b""
        self._refusal: Refusal | None = None
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            self._refusal = _NO_FILES
            return
        callbacks: Any = {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._header,
            "on_headers_finished": self._headers,
        }
        self._parser = MultipartParser(boundary, callbacks)

    def look(self, piece: bytes) -> Refusal | None:
        """Return why an upload is refused after this piece of it, or None."""
        if self._refusal is None and piece:
            try:
                self._parser.write(piece)
            except MultipartParseError:
                self._refusal = _NO_FILES
        return self._refusal

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
            self._refusal = _NO_FILES
        elif self._files > self._most:
            self._refusal = _TOO_MANY
