"""ASGI middleware in front of the page: size limits, allowed hosts and routes, and security headers."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import anyio
from starlette.datastructures import Headers, MutableHeaders

from openvocab.ui.web.protection.error_responses import (
    LOG_IN,
    NO_UPLOAD,
    NO_URL,
    NOT_FOUND,
    TOO_LONG,
    ErrorResponse,
    with_error_messages,
)
from openvocab.ui.web.protection.login_limiter import LoginLimiter
from openvocab.ui.web.protection.request_bodies import MultipartFiles, RequestBody
from openvocab.ui.web.routes import API, TOOLS, is_allowed, is_call, is_public, is_upload
from openvocab.ui.web.storage import Storage

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from openvocab.ui.web.context import Limits

__all__ = ["HEADERS", "MAX_CALL_BYTES", "Guard"]

log = logging.getLogger("openvocab.web")

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
"""Headers of every response; with them, a browser sends no request to another host."""

_URL = re.compile(r"\s*([a-z][a-z0-9+.-]*:)?[/\\]{2}", re.IGNORECASE)
"""Start of a URL; no path of an uploaded file matches."""

MAX_CALL_BYTES = 32 * 2**20
"""Maximum body of a call: labels, settings, strokes."""
_MAX_FORM_BYTES = 2**16
"""Maximum body of other requests, such as a login."""
_MAX_CONTAINERS, _MAX_VALUES = 20_000, 1_000_000
"""Maximum objects and lists, and values, in the JSON of a call. The page sends tens; parsing millions takes seconds."""

_LOGIN = re.compile(r"/login/?")
_SAFE_METHODS = ("GET", "HEAD")
_FOREIGN = ErrorResponse(403, "requests from other sites are not answered; open the page at its own address")
_TWO_LENGTHS = ErrorResponse(400, "the request has two lengths; send Content-Length or Transfer-Encoding, not both")
_NO_LENGTH = ErrorResponse(411, "an upload must state its length; send Content-Length")
_TOO_MANY_VALUES = ErrorResponse(413, "the call has too many values; send fewer at once")
_NO_JSON = ErrorResponse(400, "the body is not valid JSON; send JSON")
_WRONG_HOST = ErrorResponse(421, "this server only answers at its own address; open the address that it printed")


class Guard:
    """Passes a request to the page, or rejects it with one sentence.

    Only allowed routes are served. No request makes the server fetch a URL or read one of its own files: images must
    be uploaded. Bodies are limited in size and time while they arrive. With accounts, only the login is served to
    visitors who are not logged in.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: Limits,
        folder: str | Path,
        hosts: frozenset[str] | None,
        logged_in: Callable[[Headers], bool] | None = None,
        tools: bool = False,
    ) -> None:
        """Wrap an application.

        Args:
            app: The application.
            limits: Limits on uploads.
            folder: Folder of the uploads; calls may only name files in it.
            hosts: Allowed host names, against DNS rebinding; None allows any.
            logged_in: Whether the headers of a request belong to a logged-in visitor; None if no login is needed.
            tools: Whether MCP tools are enabled.
        """
        self._app, self._limits, self._hosts, self._tools = app, limits, hosts, tools
        self._logged_in, self._login_limiter = logged_in, LoginLimiter()
        self._folder = os.path.join(os.path.realpath(folder), "")
        self._storage = Storage(folder, limits.stored_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        send = _with_headers(send)
        rejection = self._before_body(scope)
        if rejection is not None:
            await rejection.send(scope, receive, send)
        elif scope["method"] in _SAFE_METHODS:
            await self._answer(scope, receive, send, quiet=lambda: False)
        elif is_upload(unquote(scope["path"])):
            await self._upload(scope, receive, send)
        elif is_call(unquote(scope["path"])):
            await self._call(scope, receive, send)
        else:
            await self._form(scope, receive, send)

    def _before_body(self, scope: Scope) -> ErrorResponse | None:
        headers, method, path = Headers(scope=scope), scope["method"], unquote(scope["path"])
        if self._hosts is not None and _host(headers.get("host", "")) not in self._hosts:
            return _WRONG_HOST
        if not is_allowed(method, path, tools=self._tools):
            return NOT_FOUND
        if method not in _SAFE_METHODS and _is_foreign(headers):
            return _FOREIGN
        if self._logged_in is not None and not is_public(path) and not self._logged_in(headers):
            return LOG_IN
        if path.startswith(f"{API}file=") and _URL.match(path.removeprefix(f"{API}file=")):
            return NO_URL
        if method not in _SAFE_METHODS:
            return self._length_rejection(headers, path)
        return None

    def _length_rejection(self, headers: Headers, path: str) -> ErrorResponse | None:
        length = headers.get("content-length")
        if length is not None and "transfer-encoding" in headers:
            return _TWO_LENGTHS
        if is_upload(path) and length is None:
            return _NO_LENGTH
        if length is not None and (not length.isdecimal() or int(length) > self._max_bytes(path)):
            return TOO_LONG
        return None

    def _max_bytes(self, path: str) -> int:
        if is_upload(path):
            return self._limits.unpacked_bytes
        return MAX_CALL_BYTES if is_call(path) else _MAX_FORM_BYTES

    async def _upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        length = int(headers["content-length"])
        rejection = await anyio.to_thread.run_sync(self._storage.rejection, length)
        if rejection is not None:
            await rejection.send(scope, receive, send)
            return
        parts = MultipartFiles(headers.get("content-type", ""), self._limits.files)
        with self._storage.upload(length):
            await self._pass(scope, RequestBody(receive, send, length, parts.check), receive, send)

    async def _form(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a small body; record it if it is a login."""
        with ExitStack() as after:
            if _LOGIN.fullmatch(scope["path"]):
                address = (scope.get("client") or ("",))[0]
                rejection = self._login_limiter.rejection(address)
                if rejection is not None:
                    await rejection.send(scope, receive, send)
                    return
                send, statuses = _with_status(send)
                after.callback(lambda: self._login_limiter.record(address, success=statuses[:1] == [200]))
            await self._pass(scope, RequestBody(receive, send, _MAX_FORM_BYTES, lambda chunk: None), receive, send)

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = RequestBody(receive, send, MAX_CALL_BYTES, lambda chunk: None)
        data = await _read_all(body)
        rejection = body.rejection or await anyio.to_thread.run_sync(self._content_rejection, data, scope["path"])
        if body.disconnected:
            return
        if rejection is not None:
            await rejection.send(scope, receive, send)
            return
        await self._answer(scope, _replay(data, receive), send, quiet=lambda: False)

    async def _pass(self, scope: Scope, body: RequestBody, receive: Receive, send: Send) -> None:
        """Let the page answer; if the body was rejected meanwhile, send the rejection instead."""
        await self._answer(scope, body.receive, body.send, quiet=lambda: body.interrupted)
        if body.rejection is not None and not body.answered:
            await body.rejection.send(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, quiet: Callable[[], bool]) -> None:
        """Let the page answer. Its exceptions are logged and the connection stays open; Gradio has answered by then.

        Args:
            scope: ASGI scope.
            receive: ASGI receive.
            send: ASGI send.
            quiet: Whether an exception is expected because the request was interrupted.
        """
        try:
            is_tool = scope["path"] == TOOLS  # its errors are JSON-RPC
            await self._app(_uncompressed(scope), receive, send if is_tool else with_error_messages(send))
        except Exception:
            if not quiet():
                log.exception("a request failed: %s %s", scope["method"], scope["path"])

    def _content_rejection(self, body: bytes, path: str) -> ErrorResponse | None:
        """Reject files that are not uploads; MCP tools check their own arguments."""
        if body.count(b"{") + body.count(b"[") > _MAX_CONTAINERS or body.count(b",") > _MAX_VALUES:
            return _TOO_MANY_VALUES
        try:
            content = json.loads(body or b"null")
        except (ValueError, RecursionError):
            return _NO_JSON
        paths = [] if path == TOOLS else [text for key, text in _strings(content) if key == "path"]
        for text in paths:
            if _URL.match(text):
                return NO_URL
            if not self._is_upload(text):
                return NO_UPLOAD
        return None

    def _is_upload(self, path: str) -> bool:
        """Whether a path is in the folder of uploads."""
        try:
            return os.path.realpath(path).startswith(self._folder)
        except (OSError, ValueError):  # a NUL, for example
            return False


def _host(header: str) -> str:
    """Return the name in a Host header without port and brackets."""
    name = header.rpartition("]")[0] if header.startswith("[") else header.partition(":")[0]
    return name.lstrip("[").lower()


def _is_foreign(headers: Headers) -> bool:
    """Whether the request comes from a page of another site (Origin and Sec-Fetch-Site)."""
    if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        return True
    origin = headers.get("origin")
    if origin is None:
        return False
    own = {headers.get("host", "").lower(), headers.get("x-forwarded-host", "").lower()} - {""}
    return urlsplit(origin).netloc.lower() not in own


def _uncompressed(scope: Scope) -> Scope:
    """Remove Accept-Encoding from calls, since their responses are searched for error messages."""
    if not scope["path"].startswith(API) or scope["path"].startswith(f"{API}file="):
        return scope
    return {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]}


async def _read_all(body: RequestBody) -> bytes:
    """Read a body until its end or its rejection."""
    data, more = bytearray(), True
    while more:
        message = await body.receive()
        data += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(data)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a receive that yields a body that was read, then the client's next messages."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def given() -> Message:
        return left.pop() if left else await receive()

    return given


def _strings(content: Any) -> Iterator[tuple[str, str]]:
    """Yield every string in JSON with its key, at any depth."""
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
    """Return a send that sets HEADERS and removes Gradio's CORS headers, so that no other site reads the response."""

    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name in [name for name in headers if name.startswith("access-control-")]:
                del headers[name]
            for name, value in HEADERS.items():
                headers[name] = value
        await send(message)

    return wrapped


def _with_status(send: Send) -> tuple[Callable[[Message], Any], list[int]]:
    """Return a send, and a list to which it appends the status of the response."""
    statuses: list[int] = []

    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
        await send(message)

    return wrapped, statuses
