"""What a request is refused with, and the sentence that takes the place of an answer without one."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

__all__ = ["LOG_IN", "NOTHING_HERE", "NO_ADDRESS", "NO_UPLOAD", "TOO_LONG", "Refusal", "with_sentences"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer in one sentence.

    status   of HTTP.
    says     the sentence.
    headers  more headers.
    """

    status: int
    says: str
    headers: dict[str, str] = field(default_factory=dict)

    async def send(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request with it and end the connection, whose body may not have been read."""
        await JSONResponse({"detail": self.says}, self.status, {**self.headers, "Connection": "close"})(
            scope, receive, send
        )


TOO_LONG = Refusal(413, "this is larger than the server takes; send less at once")
NO_ADDRESS = Refusal(403, "images are not fetched from the web; download it and upload the file")
NO_UPLOAD = Refusal(403, "this is no uploaded file; upload it and send the path in the answer")
NOTHING_HERE = Refusal(404, "there is nothing here")
LOG_IN = Refusal(401, "log in first; open the page, or give gradio_client auth=(user, password)")

_WRONG_CALL = "this call is not one that the page can answer; 'Use via API' at the foot of the page lists them"
_SENTENCES = {
    404: NOTHING_HERE.says,
    405: "this address does not take such a request",
    422: _WRONG_CALL,
    500: "the server could not answer this call; check it against 'Use via API' at the foot of the page and try again",
    503: "the server is busy; try again in a moment",
}
_LONGEST_ERROR = 2**16
"""Bytes of an answer that is looked at for a sentence."""


def with_sentences(send: Send) -> Callable[[Message], Awaitable[None]]:
    """Return a send that puts a sentence into answers of errors that have none.

    Gradio answers a call that its handlers cannot take with {"error": null}, FastAPI with a list of fields; and in a
    stream of events the error of a failed call is null. Answers that say why pass as they are.
    """
    begun: list[Message] = []
    body = bytearray()

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            if message["status"] >= 400:
                begun.append(message)
                return
        elif begun:
            body.extend(message.get("body", b""))
            if message.get("more_body", False) and len(body) <= _LONGEST_ERROR:
                return
            await _finish(send, begun.pop(), bytes(body), message)
            return
        elif b"null" in message.get("body", b""):
            message = {**message, "body": _with_reason(message["body"])}
        await send(message)

    return sent


def _with_reason(events: bytes) -> bytes:
    """Put a sentence where an event of a failed call has no reason."""
    reason = json.dumps(_WRONG_CALL).encode()
    for nothing in (b'"error":null', b'"error": null'):
        events = events.replace(nothing, b'"error":' + reason)
    return events


async def _finish(send: Send, start: Message, body: bytes, last: Message) -> None:
    sentence = None if _says_why(body) else _SENTENCES.get(start["status"], _WRONG_CALL)
    if sentence is not None and not last.get("more_body", False):
        body = json.dumps({"detail": sentence, "error": sentence}).encode()
        headers = MutableHeaders(raw=list(start["headers"]))
        headers["content-type"], headers["content-length"] = "application/json", str(len(body))
        if "content-encoding" in headers:
            del headers["content-encoding"]
        start = {**start, "headers": headers.raw}
    await send(start)
    await send({**last, "body": body})


def _says_why(body: bytes) -> bool:
    """Tell whether the body of an error holds a text for people."""
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
