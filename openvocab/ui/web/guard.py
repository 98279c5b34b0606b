"""What stands before the page: limits of size, names of hosts, routes that stay closed, and headers of every answer."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from openvocab.ui.web.context import Limits

__all__ = ["HEADERS", "Guard"]

HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'self'",
            "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",  # Gradio compiles its templates in the page
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "media-src 'self' data: blob:",
            "font-src 'self' data:",
            "worker-src 'self' blob:",
            "connect-src 'self' data: blob:",
            "object-src 'none'",
            "base-uri 'self'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        )
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
}
"""Headers of every answer; a browser that heeds them asks no other host for anything."""

_API = "/gradio_api/"
_CLOSED = re.compile(
    r"/monitoring|/gradio_api/(proxy=|run-history|runs|deep_link|vibe-|undo-vibe|process_recording|dev/)"
)
"""Routes of Gradio that this page has no use for."""

_ADDRESS = re.compile(r"\s*([a-z][a-z0-9+.-]*:)?[/\\]{2}", re.IGNORECASE)
"""How a web address begins, and nothing that Gradio calls an uploaded file."""

_LONGEST_CALL = 32 * 2**20
"""Bytes of a call that is no upload: labels, settings, scribbles."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    status: int
    says: str


class Guard:
    """Lets a request pass to the page, or answers it with one sentence.

    Nothing that a request names makes the server fetch from the web or read a file of its own: pictures are uploaded.
    Bodies have a largest size, known before they are read. Routes that tell of other visitors or start other programs
    are closed.
    """

    def __init__(self, app: ASGIApp, limits: Limits, folder: str | Path, hosts: frozenset[str] | None) -> None:
        """Set up.

        Args:
            app: what answers the requests that pass.
            folder: where uploads lie; a call names no file outside of it.
            hosts: names that the server may be called by, so that no other site's name leads a browser here; None
                where any will do.
        """
        self._app, self._limits, self._hosts = app, limits, hosts
        self._folder = os.path.join(os.path.realpath(folder), "")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        send = _with_headers(send)
        refusal = self._before_body(scope)
        if refusal is None and _is_call(scope):
            body = await _body(receive)
            refusal = _TOO_LONG if body is None else self._odd_content(body, scope["path"])
            receive = _again(body or b"", receive)
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await JSONResponse({"detail": refusal.says}, refusal.status)(scope, receive, send)

    def _before_body(self, scope: Scope) -> _Refusal | None:
        headers, path = Headers(scope=scope), unquote(scope["path"])
        if self._hosts is not None and _host(headers.get("host", "")) not in self._hosts:
            return _Refusal(421, "this server answers to its own address only; open the one that it printed")
        if _CLOSED.match(path):
            return _Refusal(404, "there is nothing here")
        if path.startswith(f"{_API}file=") and _ADDRESS.match(path.removeprefix(f"{_API}file=")):
            return _NO_ADDRESS
        upload = path.startswith(f"{_API}upload")
        length = headers.get("content-length")
        if upload and length is None and scope["method"] == "POST":
            return _Refusal(411, "an upload must say how long it is; send Content-Length")
        longest = self._limits.unpacked_bytes if upload else _LONGEST_CALL
        if length is not None and (not length.isdecimal() or int(length) > longest):
            return _TOO_LONG
        return None

    def _odd_content(self, body: bytes, path: str) -> _Refusal | None:
        """Look for files that are no uploads; in calls of tools (MCP) any text may stand for a file."""
        try:
            content = json.loads(body or b"null")
        except (ValueError, RecursionError):
            return _Refusal(400, "the body is not JSON that can be read")
        anywhere = path.startswith(f"{_API}mcp")
        for key, text in _texts(content):
            if (anywhere or key == "path") and _ADDRESS.match(text):
                return _NO_ADDRESS
            if key == "path" and not self._uploaded(text):
                return _NO_UPLOAD
        return None

    def _uploaded(self, path: str) -> bool:
        """Tell whether a path leads to the folder of uploads."""
        try:
            return os.path.realpath(path).startswith(self._folder)
        except (OSError, ValueError):  # a NUL, for example
            return False


_TOO_LONG = _Refusal(413, "this is larger than the server takes; send less at once")
_NO_ADDRESS = _Refusal(403, "pictures are not fetched from the web; download it and upload the file")
_NO_UPLOAD = _Refusal(403, "this is no uploaded file; upload it and send the path in the answer")


def _host(header: str) -> str:
    """The name in a Host header, without port and brackets."""
    name = header.rpartition("]")[0] if header.startswith("[") else header.partition(":")[0]
    return name.lstrip("[").lower()


def _is_call(scope: Scope) -> bool:
    """Whether the body of a request is JSON for a handler."""
    path = scope["path"]
    return scope["method"] == "POST" and path.startswith(_API) and not path.startswith(f"{_API}upload")


async def _body(receive: Receive) -> bytes | None:
    """Read a body whole; None where it is too long."""
    data, more = bytearray(), True
    while more:
        message = await receive()
        data += message.get("body", b"")
        more = message.get("more_body", False)
        if len(data) > _LONGEST_CALL:
            return None
    return bytes(data)


def _again(body: bytes, receive: Receive) -> Receive:
    """Hand on a body that was read, and after it what comes next: that the client is gone."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def given() -> Message:
        return left.pop() if left else await receive()

    return given


def _texts(content: Any) -> Iterator[tuple[str, str]]:
    """Yield every text in JSON with the key that it stands under, however deep."""
    left = [("", content)]
    while left:
        key, value = left.pop()
        if isinstance(value, str):
            yield key, value
        elif isinstance(value, dict):
            left += value.items()
        elif isinstance(value, list):
            left += [(key, each) for each in value]


def _with_headers(send: Send) -> Callable[[Message], Any]:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
        await send(message)

    return sent
