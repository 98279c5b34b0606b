"""What stands before the page: limits of size, names of hosts, an allow-list of routes, and headers of every answer."""

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

from openvocab.ui.web.bodies import Body, Parts
from openvocab.ui.web.logins import Logins
from openvocab.ui.web.refusals import LOG_IN, NO_ADDRESS, NO_UPLOAD, NOTHING_HERE, TOO_LONG, Refusal, with_sentences
from openvocab.ui.web.routes import API, is_call, is_known, is_open, is_upload
from openvocab.ui.web.storage import Storage

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from openvocab.ui.web.context import Limits

__all__ = ["HEADERS", "Guard"]

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
"""Headers of every answer; a browser that heeds them asks no other host for anything."""

_ADDRESS = re.compile(r"\s*([a-z][a-z0-9+.-]*:)?[/\\]{2}", re.IGNORECASE)
"""How a web address begins, and nothing that Gradio calls an uploaded file."""

_LONGEST_CALL = 32 * 2**20
"""Bytes of a call that is no upload: labels, settings, scribbles."""
_LONGEST_FORM = 2**16
"""Bytes of any other body, such as a log-in."""
_MOST_CONTAINERS, _MOST_VALUES = 20_000, 1_000_000
"""Objects and lists, and values, of a call's JSON: a page sends tens; with millions a parser is busy for seconds."""

_LOGIN = re.compile(r"/login/?")
_READING = ("GET", "HEAD")
_FOREIGN = Refusal(403, "requests from pages of other sites are not answered; open this page by its own address")
_TWO_LENGTHS = Refusal(400, "the request says twice how long it is; send Content-Length or Transfer-Encoding, not both")
_NO_LENGTH = Refusal(411, "an upload must say how long it is; send Content-Length")
_TOO_MANY_VALUES = Refusal(413, "the call has too many values; send fewer at once")
_NO_JSON = Refusal(400, "the body is not JSON that can be read")
_OTHER_NAME = Refusal(421, "this server answers to its own address only; open the one that it printed")


class Guard:
    """Lets a request pass to the page, or answers it with one sentence.

    Only routes that the page has a use for are answered. Nothing that a request names makes the server fetch from the
    web or read a file of its own: images are uploaded. Bodies are counted and timed as they arrive. Where accounts are
    asked for, nothing but the log-in is answered without one.
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
        """Set up.

        Args:
            app: what answers the requests that pass.
            folder: where uploads lie; a call names no file outside of it.
            hosts: names that the server may be called by, so that no other site's name leads a browser here; None
                where any will do.
            logged_in: tells whether a request's headers are those of a visitor who has logged in; None where all may
                come in.
            tools: whether the MCP tools are offered.
        """
        self._app, self._limits, self._hosts, self._tools = app, limits, hosts, tools
        self._logged_in, self._logins = logged_in, Logins()
        self._folder = os.path.join(os.path.realpath(folder), "")
        self._storage = Storage(folder, limits.stored_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        send = _with_headers(send)
        refusal = self._before_body(scope)
        if refusal is not None:
            await refusal.send(scope, receive, send)
        elif scope["method"] in _READING:
            await self._answer(scope, receive, send, quiet=lambda: False)
        elif is_upload(unquote(scope["path"])):
            await self._upload(scope, receive, send)
        elif is_call(unquote(scope["path"])):
            await self._call(scope, receive, send)
        else:
            await self._form(scope, receive, send)

    def _before_body(self, scope: Scope) -> Refusal | None:
        headers, method, path = Headers(scope=scope), scope["method"], unquote(scope["path"])
        if self._hosts is not None and _host(headers.get("host", "")) not in self._hosts:
            return _OTHER_NAME
        if not is_known(method, path, tools=self._tools):
            return NOTHING_HERE
        if method not in _READING and _is_foreign(headers):
            return _FOREIGN
        if self._logged_in is not None and not is_open(path) and not self._logged_in(headers):
            return LOG_IN
        if path.startswith(f"{API}file=") and _ADDRESS.match(path.removeprefix(f"{API}file=")):
            return NO_ADDRESS
        if method not in _READING:
            return self._length_refused(headers, path)
        return None

    def _length_refused(self, headers: Headers, path: str) -> Refusal | None:
        length = headers.get("content-length")
        if length is not None and "transfer-encoding" in headers:
            return _TWO_LENGTHS
        if is_upload(path) and length is None:
            return _NO_LENGTH
        if length is not None and (not length.isdecimal() or int(length) > self._longest(path)):
            return TOO_LONG
        return None

    def _longest(self, path: str) -> int:
        if is_upload(path):
            return self._limits.unpacked_bytes
        return _LONGEST_CALL if is_call(path) else _LONGEST_FORM

    async def _upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        length = int(headers["content-length"])
        refusal = await anyio.to_thread.run_sync(self._storage.refusal, length)
        if refusal is not None:
            await refusal.send(scope, receive, send)
            return
        parts = Parts(headers.get("content-type", ""), self._limits.files)
        with self._storage.upload(length):
            await self._pass(scope, Body(receive, send, length, parts.look), receive, send)

    async def _form(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a small body; where it is a log-in, count it."""
        with ExitStack() as after:
            if _LOGIN.fullmatch(scope["path"]):
                address = (scope.get("client") or ("",))[0]
                refusal = self._logins.refusal(address)
                if refusal is not None:
                    await refusal.send(scope, receive, send)
                    return
                send, statuses = _with_status(send)
                after.callback(lambda: self._logins.note(address, right=statuses[:1] == [200]))
            await self._pass(scope, Body(receive, send, _LONGEST_FORM, lambda piece: None), receive, send)

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = Body(receive, send, _LONGEST_CALL, lambda piece: None)
        data = await _whole(body)
        refusal = body.refusal or await anyio.to_thread.run_sync(self._odd_content, data, scope["path"])
        if body.gone:
            return
        if refusal is not None:
            await refusal.send(scope, receive, send)
            return
        await self._answer(scope, _again(data, receive), send, quiet=lambda: False)

    async def _pass(self, scope: Scope, body: Body, receive: Receive, send: Send) -> None:
        """Let the page answer; where the body was refused on the way, answer with that instead."""
        await self._answer(scope, body.receive, body.send, quiet=lambda: body.gone or body.refusal is not None)
        if body.refusal is not None and not body.answered:
            await body.refusal.send(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, quiet: Callable[[], bool]) -> None:
        """Let the page answer. What it raises is logged, and the connection stays; Gradio has answered by then.

        Args:
            quiet: tells that the page failed because the request was broken off.
        """
        try:
            await self._app(_uncompressed(scope), receive, with_sentences(send))
        except Exception:
            if not quiet():
                log.exception("a request failed: %s %s", scope["method"], scope["path"])

    def _odd_content(self, body: bytes, path: str) -> Refusal | None:
        """Look for files that are no uploads; in calls of tools (MCP) any text may stand for a file."""
        if body.count(b"{") + body.count(b"[") > _MOST_CONTAINERS or body.count(b",") > _MOST_VALUES:
            return _TOO_MANY_VALUES
        try:
            content = json.loads(body or b"null")
        except (ValueError, RecursionError):
            return _NO_JSON
        anywhere = path.startswith(f"{API}mcp")
        for key, text in _texts(content):
            if (anywhere or key == "path") and _ADDRESS.match(text):
                return NO_ADDRESS
            if key == "path" and not self._uploaded(text):
                return NO_UPLOAD
        return None

    def _uploaded(self, path: str) -> bool:
        """Tell whether a path leads to the folder of uploads."""
        try:
            return os.path.realpath(path).startswith(self._folder)
        except (OSError, ValueError):  # a NUL, for example
            return False


def _host(header: str) -> str:
    """The name in a Host header, without port and brackets."""
    name = header.rpartition("]")[0] if header.startswith("[") else header.partition(":")[0]
    return name.lstrip("[").lower()


def _is_foreign(headers: Headers) -> bool:
    """Tell whether a browser says that another site's page sends the request (Origin and Sec-Fetch-Site)."""
    if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        return True
    origin = headers.get("origin")
    if origin is None:
        return False
    own = {headers.get("host", "").lower(), headers.get("x-forwarded-host", "").lower()} - {""}
    return urlsplit(origin).netloc.lower() not in own


def _uncompressed(scope: Scope) -> Scope:
    """The request without the wish for a compressed answer, where answers are looked at for their sentence."""
    if not scope["path"].startswith(API) or scope["path"].startswith(f"{API}file="):
        return scope
    return {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]}


async def _whole(body: Body) -> bytes:
    """Read a body to its end, or to where it is refused."""
    data, more = bytearray(), True
    while more:
        message = await body.receive()
        data += message.get("body", b"")
        more = message.get("more_body", False)
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
    """Return a send that sets HEADERS, and lets no other site read the answer, whatever Gradio would allow it."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name in [name for name in headers if name.startswith("access-control-")]:
                del headers[name]
            for name, value in HEADERS.items():
                headers[name] = value
        await send(message)

    return sent


def _with_status(send: Send) -> tuple[Callable[[Message], Any], list[int]]:
    """Return a send, and a list that has the status of the answer once it was sent."""
    statuses: list[int] = []

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
        await send(message)

    return sent, statuses
