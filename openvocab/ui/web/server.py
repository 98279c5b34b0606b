"""The web server: the mounted page behind its middleware, with a temporary folder for uploads."""

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
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles

import openvocab
from openvocab.errors import BadInput, require
from openvocab.ui.freed_memory import returning_freed_memory
from openvocab.ui.web import app as page_of
from openvocab.ui.web.guard import MAX_CALL_BYTES, Guard
from openvocab.ui.web.protection.header_timeout import HeaderTimeoutProtocol
from openvocab.ui.web.protection.login_limiter import logged_in
from openvocab.ui.web.routes import TOOLS
from openvocab.ui.web.strip.component import thumbnails
from openvocab.ui.web.theme import launch_options

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

    from openvocab.ui.web.context import Context

__all__ = ["ServerOptions", "application", "listen", "run_server"]

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_MAX_CONNECTIONS = 1024
_MAX_SESSIONS = 1024
"""Pages whose state Gradio keeps, about 0.2 MB each; it would keep 10,000, also of closed pages."""

LoginCheck = Callable[[Headers], bool]
"""Whether the headers of a request belong to a logged-in visitor."""


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Options of the server.

    Attributes:
        host: Address to listen on.
        port: Port to listen on; 0 selects a free one.
        accounts: Pairs of user and password; with none, no login is needed.
        any_host: Answer requests with any Host header, even without accounts.
        mcp: Also offer the API endpoints as MCP tools at /mcp.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    accounts: tuple[tuple[str, str], ...] = ()
    any_host: bool = False
    mcp: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class RunningServer:
    """A running server.

    Attributes:
        url: Address of the page.
        context: State of the page.
        folder: Folder of uploads and downloads; deleted on exit.
        thread: Thread of the server; it ends with the server.
    """

    url: str
    context: Context
    folder: Path
    thread: threading.Thread


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        BadInput: the port is in use, or the address does not belong to this machine.
    """
    name = host.strip("[]")
    family = socket.AF_INET6 if ":" in name else socket.AF_INET
    try:
        return socket.create_server((name, port), family=family)
    except (OSError, OverflowError) as error:
        number = getattr(error, "errno", None)
        why = os.strerror(number) if number and number > 0 else str(error)
        raise BadInput(f"cannot listen on port {port} of {host} ({why}); choose another --port or --host") from error


def application(context: Context, options: ServerOptions) -> FastAPI:
    """Return the application: the page behind its middleware, and /healthz.

    Raises:
        MissingExtra: MCP is enabled and its package is not installed.
    """
    page = page_of.build(context)
    page.has_launched = True  # otherwise a mounted Gradio skips its check of file paths
    page.state_session_capacity = _MAX_SESSIONS
    page.queue(max_size=context.limits.waiting, default_concurrency_limit=1, api_open=False)
    tools = _tools(context) if options.mcp else None
    lifespan = None if tools is None else lambda _: tools.session_manager.run()
    made = FastAPI(title="openvocab", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    if tools is not None:
        made.router.routes.extend(_tool_routes(tools))

    def has_login(headers: Headers) -> bool:
        return logged_in(_gradio_app(made), headers)

    made.add_api_route("/healthz", _health(context, has_login if options.accounts else None), methods=["GET"])
    _mount_files(made, context)
    gr.mount_gradio_app(
        made,
        page,
        path="/",
        server_name=options.host,
        server_port=options.port,
        auth=list(options.accounts) or None,
        allowed_paths=[],
        show_error=False,
        max_file_size=context.limits.upload_bytes,
        ssr_mode=False,
        enable_monitoring=False,
        run_history=False,
        pwa=False,
        mcp_server=False,
        **launch_options(),
    )
    _guard(made, context, options, has_login if options.accounts else None)
    return made


def _mount_files(made: FastAPI, context: Context) -> None:
    """Serve the scripts of the page, and the thumbnails of folders."""
    for name in ("canvas", "strip"):
        made.mount(f"/{name}", StaticFiles(directory=Path(__file__).parent / name))
    made.add_api_route("/folder/thumbnail/{key}", thumbnails(context), methods=["GET"])


def _tools(context: Context) -> MCPServer[Any]:
    """Return the MCP server.

    Raises:
        MissingExtra: the package mcp is not installed.
    """
    require("mcp", extra="mcp")
    from openvocab.ui.web.tools import server

    return server(context)


def _tool_routes(tools: MCPServer[Any]) -> list[BaseRoute]:
    """Return the routes of the MCP server; Guard checks the host, the origin and the size of requests."""
    from mcp.server.transport_security import TransportSecuritySettings

    security = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    return tools.streamable_http_app(
        streamable_http_path=TOOLS,
        json_response=True,
        stateless_http=True,
        max_request_body_size=MAX_CALL_BYTES,
        transport_security=security,
    ).routes


def _guard(made: FastAPI, context: Context, options: ServerOptions, has_login: LoginCheck | None) -> None:
    """Add the middleware."""
    made.add_middleware(
        Guard,
        limits=context.limits,
        folder=get_upload_folder(),
        hosts=None if options.accounts or options.any_host else _LOOPBACK_NAMES,
        logged_in=has_login,
        tools=options.mcp,
    )


def _gradio_app(made: FastAPI) -> Any:
    """Return the mounted Gradio application."""
    return next(route.app for route in made.routes if isinstance(route, Mount) and not route.path)


def _health(context: Context, has_login: LoginCheck | None) -> Any:
    """Return the handler of /healthz; with accounts, the details need a login."""

    def health(request: Request) -> dict[str, Any]:
        if has_login is not None and not has_login(request.headers):
            return {"status": "ok"}
        models = context.models
        return {
            "status": "ok",
            "version": openvocab.__version__,
            "presets": list(models.loaded),
            "model_calls": dict(models.calls),
            "cached_results": len(context.workspaces),
        }

    return health


@contextmanager
def run_server(context: Context, options: ServerOptions, log_level: str = "warning") -> Iterator[RunningServer]:
    """Load the first preset and serve the page in a thread; on exit, stop and delete all uploads.

    Raises:
        BadInput: the port is in use, or the address does not belong to this machine.
        BadWeights: the models cannot be loaded.
        MissingExtra: see application.
    """
    if options.mcp:
        require("mcp", extra="mcp")
    with (
        listen(options.host, options.port) as listener,
        _upload_folder() as folder,
        returning_freed_memory(lambda: sum(dict(context.models.calls).values())),
    ):
        with context.models.using():
            pass
        config = uvicorn.Config(
            application(context, options),
            http=HeaderTimeoutProtocol,
            log_level=log_level,
            access_log=False,
            server_header=False,
            limit_concurrency=_MAX_CONNECTIONS,
            timeout_graceful_shutdown=2,
            ws="none",
        )
        server = _Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), name="openvocab-page", daemon=True)
        thread.start()
        try:
            _wait(server, thread)
            host, port = listener.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            yield RunningServer(f"http://{shown}:{port}", context, folder, thread)
        finally:
            server.should_exit = True
            thread.join(timeout=10)


class _Server(uvicorn.Server):
    """A server that first ends the event streams of open pages, which would otherwise never end."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the event streams, then shut down."""
        for route in self.config.app.routes:  # type: ignore[union-attr]
            stop_event = getattr(getattr(route, "app", None), "stop_event", None)
            if stop_event is not None:
                stop_event.set()
        await super().shutdown(sockets)


def _wait(server: uvicorn.Server, thread: threading.Thread) -> None:
    """Wait until the server accepts requests.

    Raises:
        BadInput: the server stopped during startup.
    """
    while not server.started:
        thread.join(timeout=0.01)
        if not thread.is_alive():
            raise BadInput("the server stopped during startup; see its log for the cause")


@contextmanager
def _upload_folder() -> Iterator[Path]:
    """Create a temporary folder for this server's uploads and downloads, and delete it on exit."""
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
