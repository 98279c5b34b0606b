"""HTTP error responses with one sentence, and a sentence for error responses of Gradio that have none."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

__all__ = ["LOG_IN", "NOT_FOUND", "NO_UPLOAD", "NO_URL", "TOO_LONG", "ErrorResponse", "with_error_messages"]


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """An error response.

    Attributes:
        status: HTTP status.
        message: One sentence, sent as "detail".
        headers: Additional headers.
    """

    status: int
    message: str
    headers: dict[str, str] = field(default_factory=dict)

    async def send(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response and close the connection, since the request's body may be unread."""
        response = JSONResponse({"detail": self.message}, self.status, {**self.headers, "Connection": "close"})
        await response(scope, receive, send)


TOO_LONG = ErrorResponse(413, "the request is larger than the server accepts; send less at once")
NO_URL = ErrorResponse(403, "images are not downloaded from URLs; download the image and upload the file")
NO_UPLOAD = ErrorResponse(403, "this is not an uploaded file; upload it and send the path in the response")
NOT_FOUND = ErrorResponse(404, "this address does not exist")
LOG_IN = ErrorResponse(401, "log in first; open the page, or give gradio_client auth=(user, password)")

_INVALID_CALL = "this is not a valid call; 'Use via API' in the page's footer lists the calls and their parameters"
_MESSAGES = {
    404: NOT_FOUND.message,
    405: "this address does not accept this method",
    422: _INVALID_CALL,
    500: "the server could not answer this call; compare it with 'Use via API' in the page's footer and try again",
    503: "the server is busy; try again in a moment",
}
_NULL_ERROR = re.compile(rb'("output":\s*\{\s*"error":\s*)null')
"""The error of a failed call in an event of Gradio's queue."""
_MAX_ERROR_BYTES = 2**16
"""Bytes of an error response that are searched for a message."""


def with_error_messages(send: Send) -> Callable[[Message], Awaitable[None]]:
    """Return a send that adds a sentence to error responses that have none.

    For a call that its handlers cannot take, Gradio answers {"error": null} and FastAPI a list of fields; in an event
    stream the error of a failed call is null. Responses with a message are passed on unchanged.
    """
    started: list[Message] = []
    body = bytearray()

    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            if message["status"] >= 400:
                started.append(message)
                return
        elif started:
            body.extend(message.get("body", b""))
            if message.get("more_body", False) and len(body) <= _MAX_ERROR_BYTES:
                return
            await _finish(send, started.pop(), bytes(body), message)
            return
        elif b"null" in message.get("body", b""):
            message = {**message, "body": _fill_null_errors(message["body"])}
        await send(message)

    return wrapped


def _fill_null_errors(events: bytes) -> bytes:
    """Add a message to events of failed calls that have none; an "error": null inside an answer's data stays."""
    return _NULL_ERROR.sub(rb"\g<1>" + json.dumps(_INVALID_CALL).encode(), events)


async def _finish(send: Send, start: Message, body: bytes, last: Message) -> None:
    text = None if _has_message(body) else _MESSAGES.get(start["status"], _INVALID_CALL)
    if text is not None and not last.get("more_body", False):
        body = json.dumps({"detail": text, "error": text}).encode()
        headers = MutableHeaders(raw=list(start["headers"]))
        headers["content-type"], headers["content-length"] = "application/json", str(len(body))
        if "content-encoding" in headers:
            del headers["content-encoding"]
        start = {**start, "headers": headers.raw}
    await send(start)
    await send({**last, "body": body})


def _has_message(body: bytes) -> bool:
    """Whether the body of an error response contains a message for people."""
    try:
        content: Any = json.loads(body)
    except ValueError:
        return False
    if not isinstance(content, dict):
        return False
    found = content.get("detail", content.get("error"))
    if isinstance(found, dict):
        found = found.get("error")
    return isinstance(found, str) and bool(found.strip())
