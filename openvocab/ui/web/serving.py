"""The page behind a socket: mounted, guarded, with a folder of its own for what visitors upload."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import uvicorn
from fastapi import FastAPI, Request
from gradio.utils import get_upload_folder
from starlette.datastructures import Headers
from starlette.routing import Mount

import openvocab
from openvocab.errors import BadInput, MissingExtra, require
from openvocab.ui.web import app as page_of
from openvocab.ui.web.guard import Guard
from openvocab.ui.web.logins import logged_in
from openvocab.ui.web.slow_clients import PatientProtocol
from openvocab.ui.web.theme import looks

if TYPE_CHECKING:
    from openvocab.ui.web.context import Context

__all__ = ["Serving", "application", "listen", "running"]

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_CONNECTIONS = 1024

Known = Callable[[Headers], bool]
"""Tells whether a request's headers are those of a visitor who has logged in."""


@dataclass(frozen=True, slots=True)
class Serving:
    """How the page is offered.

    host       the address to listen at.
    port       0 takes a free one.
    accounts   pairs of user and password, of which a visitor must give one; none: everyone may come in.
    any_name   answer whatever name the server is called by, also without accounts.
    mcp        offer the named actions as MCP tools too.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    accounts: tuple[tuple[str, str], ...] = ()
    any_name: bool = False
    mcp: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class Running:
    """A page that is being served.

    url      its address.
    context  what it serves.
    folder   where uploads and downloads lie; deleted at the end.
    thread   ends when the server does.
    """

    url: str
    context: Context
    folder: Path
    thread: threading.Thread


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        BadInput: the port is taken, or the address is not this machine's.
    """
    name = host.strip("[]")
    family = socket.AF_INET6 if ":" in name else socket.AF_INET
    try:
        return socket.create_server((name, port), family=family)
    except (OSError, OverflowError) as error:
        number = getattr(error, "errno", None)
        why = os.strerror(number) if number and number > 0 else str(error)
        raise BadInput(f"cannot listen at port {port} of {host} ({why}); choose another --port or --host") from error


def application(context: Context, serving: Serving) -> FastAPI:
    """Return the page with its limits and headers, and /healthz beside it.

    Raises:
        MissingExtra: MCP is asked for and cannot be offered.
    """
    page = page_of.build(context)
    page.has_launched = True  # else Gradio, once mounted, takes any file of the server for an uploaded one
    page.queue(max_size=context.limits.waiting, default_concurrency_limit=1, api_open=False)
    made = FastAPI(title="openvocab", docs_url=None, redoc_url=None, openapi_url=None)

    def known(headers: Headers) -> bool:
        return logged_in(_page_app(made), headers)

    made.add_api_route("/healthz", _health(context, known if serving.accounts else None), methods=["GET"])
    gr.mount_gradio_app(
        made,
        page,
        path="/",
        server_name=serving.host,
        server_port=serving.port,
        auth=list(serving.accounts) or None,
        allowed_paths=[],
        show_error=False,
        max_file_size=context.limits.upload_bytes,
        ssr_mode=False,
        enable_monitoring=False,
        run_history=False,
        pwa=False,
        mcp_server=serving.mcp,
        **looks(),
    )
    if serving.mcp and page.mcp_error:
        raise MissingExtra(f"the MCP tools cannot be offered ({page.mcp_error}); run: pip install 'openvocab[mcp]'")
    _guard(made, context, serving, known if serving.accounts else None)
    return made


def _guard(made: FastAPI, context: Context, serving: Serving, known: Known | None) -> None:
    """Put the guard before the page."""
    made.add_middleware(
        Guard,
        limits=context.limits,
        folder=get_upload_folder(),
        hosts=None if serving.accounts or serving.any_name else _LOOPBACK_NAMES,
        logged_in=known,
        tools=serving.mcp,
    )


def _page_app(made: FastAPI) -> Any:
    """The application of Gradio's that is mounted."""
    return next(route.app for route in made.routes if isinstance(route, Mount))


def _health(context: Context, known: Known | None) -> Any:
    """Return the handler of /healthz; where accounts are asked for, only visitors who have one see the counts."""

    def health(request: Request) -> dict[str, Any]:
        if known is not None and not known(request.headers):
            return {"status": "ok"}
        models = context.models
        return {
            "status": "ok",
            "version": openvocab.__version__,
            "presets": list(models.loaded),
            "model_calls": dict(models.calls),
            "held": len(context.findings),
        }

    return health


@contextmanager
def running(context: Context, serving: Serving, log_level: str = "warning") -> Iterator[Running]:
    """Load the first preset and serve the page in a thread while this is open; then delete what visitors left.

    Raises:
        BadInput: the port is taken, or the address is not this machine's.
        BadWeights: the models cannot be loaded.
        MissingExtra: see application.
    """
    if serving.mcp:
        require("mcp", extra="mcp")
    with listen(serving.host, serving.port) as listening, _own_folder() as folder:
        with context.models.using():
            pass
        config = uvicorn.Config(
            application(context, serving),
            http=PatientProtocol,
            log_level=log_level,
            access_log=False,
            server_header=False,
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=2,
            ws="none",
        )
        server = _Server(config)
        thread = threading.Thread(target=server.run, args=([listening],), name="openvocab-page", daemon=True)
        thread.start()
        try:
            _wait(server, thread)
            host, port = listening.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            yield Running(f"http://{shown}:{port}", context, folder, thread)
        finally:
            server.should_exit = True
            thread.join(timeout=10)


class _Server(uvicorn.Server):
    """A server that ends the streams of open pages first, since they would never end by themselves."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then the rest."""
        for route in self.config.app.routes:  # type: ignore[union-attr]
            ending = getattr(getattr(route, "app", None), "stop_event", None)
            if ending is not None:
                ending.set()
        await super().shutdown(sockets)


def _wait(server: uvicorn.Server, thread: threading.Thread) -> None:
    """Wait until the server answers.

    Raises:
        BadInput: it ended before.
    """
    while not server.started:
        thread.join(timeout=0.01)
        if not thread.is_alive():
            raise BadInput("the server ended before it was ready; its log says why")


@contextmanager
def _own_folder() -> Iterator[Path]:
    """Make a folder for uploads and downloads that this server alone uses, and delete it in the end."""
    before = os.environ.get("GRADIO_TEMP_DIR")
    with tempfile.TemporaryDirectory(prefix="openvocab-web-", ignore_cleanup_errors=True) as folder:
        os.environ["GRADIO_TEMP_DIR"] = os.path.realpath(folder)
        try:
            yield Path(folder)
        finally:
            if before is None:
                del os.environ["GRADIO_TEMP_DIR"]
            else:
                os.environ["GRADIO_TEMP_DIR"] = before
