"""Allow-list of the HTTP methods and paths that the page uses; Gradio's other routes are closed."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["API", "TOOLS", "is_allowed", "is_call", "is_public", "is_upload"]

API = "/gradio_api/"

_NAME = r"[\w.-]{1,100}"
_PUBLIC = (
    r"/|/healthz|/logout|/favicon\.ico|/robots\.txt|/manifest\.json"
    rf"|(/gradio_api)?/theme\.css|/(canvas|strip)/[a-z]+\.js|/(assets|static|svelte)/[\w./@+-]+|{API}startup-events/?"
)
"""Static files and what the login form needs."""

_READS = (
    rf"/config/?|{API}(info|openapi\.json|app_id|login_check|upload_progress|queue/data|queue/status)/?"
    rf"|{API}heartbeat/{_NAME}|{API}file=.+|{API}call/(v2/)?{_NAME}/{_NAME}"
    r"|/folder/thumbnail/([0-9a-f]{32})?[0-9a-f]{24}"
)
_CALLS = rf"{API}(queue/join|cancel|reset|component_server)/?|{API}(run|api|call|call/v2)/{_NAME}/?"
_UPLOADS = rf"{API}upload/?"
TOOLS = "/mcp"
"""Path of the MCP server."""


def _table(tools: bool) -> Mapping[str, re.Pattern[str]]:
    """Method -> pattern of the allowed paths."""
    more = f"|{TOOLS}" if tools else ""
    table = {
        "GET": f"{_PUBLIC}|{_READS}{more}",
        "HEAD": f"{_PUBLIC}|{_READS}",
        "POST": f"/login/?|{_CALLS}|{_UPLOADS}{more}",
        "DELETE": more[1:] or "(?!)",
    }
    return {method: re.compile(paths) for method, paths in table.items()}


_WITH_TOOLS, _WITHOUT_TOOLS = _table(True), _table(False)
_PUBLIC_OR_LOGIN = re.compile(f"{_PUBLIC}|/login/?")
_CALL = re.compile(f"{_CALLS}|{TOOLS}")
_UPLOAD = re.compile(_UPLOADS)


def is_allowed(method: str, path: str, *, tools: bool) -> bool:
    """Whether a request is allowed.

    Args:
        method: HTTP method.
        path: Decoded path without the query.
        tools: Whether MCP tools are enabled.
    """
    paths = (_WITH_TOOLS if tools else _WITHOUT_TOOLS).get(method)
    return paths is not None and paths.fullmatch(path) is not None


def is_public(path: str) -> bool:
    """Whether a path is served without a login."""
    return _PUBLIC_OR_LOGIN.fullmatch(path) is not None


def is_call(path: str) -> bool:
    """Whether a POST to this path calls a handler with JSON."""
    return _CALL.fullmatch(path) is not None


def is_upload(path: str) -> bool:
    """Whether a POST to this path uploads files."""
    return _UPLOAD.fullmatch(path) is not None
