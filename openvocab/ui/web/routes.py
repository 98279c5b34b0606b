"""Which requests the page has a use for: an allow-list of methods and paths, so other routes of Gradio are closed."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["API", "is_call", "is_known", "is_open", "is_upload"]

API = "/gradio_api/"

_NAME = r"[\w.-]{1,100}"
_FOR_ALL = (
    r"/|/healthz|/logout|/favicon\.ico|/robots\.txt|/manifest\.json"
    rf"|(/gradio_api)?/theme\.css|/(assets|static|svelte)/[\w./@+-]+|{API}startup-events/?"
)
"""The page's own files and what its login form needs."""

_READS = (
    rf"/config/?|{API}(info|openapi\.json|app_id|login_check|upload_progress|queue/data|queue/status)/?"
    rf"|{API}heartbeat/{_NAME}|{API}file=.+|{API}call/(v2/)?{_NAME}/{_NAME}"
)
_CALLS = rf"{API}(queue/join|cancel|reset|component_server)/?|{API}(run|api|call|call/v2)/{_NAME}/?"
_UPLOADS = rf"{API}upload/?"
_TOOLS = rf"{API}mcp(/.*)?"


def _table(tools: bool) -> Mapping[str, re.Pattern[str]]:
    """Method -> the paths that are answered."""
    more = f"|{_TOOLS}" if tools else ""
    table = {
        "GET": f"{_FOR_ALL}|{_READS}{more}",
        "HEAD": f"{_FOR_ALL}|{_READS}",
        "POST": f"/login/?|{_CALLS}|{_UPLOADS}{more}",
        "DELETE": more[1:] or "(?!)",
    }
    return {method: re.compile(paths) for method, paths in table.items()}


_WITH_TOOLS, _WITHOUT_TOOLS = _table(True), _table(False)
_OPEN = re.compile(f"{_FOR_ALL}|/login/?")
_CALL = re.compile(f"{_CALLS}|{_TOOLS}")
_UPLOAD = re.compile(_UPLOADS)


def is_known(method: str, path: str, *, tools: bool) -> bool:
    """Tell whether a request is one that the page has a use for.

    Args:
        path: decoded, without the query.
        tools: whether the MCP tools are offered.
    """
    paths = (_WITH_TOOLS if tools else _WITHOUT_TOOLS).get(method)
    return paths is not None and paths.fullmatch(path) is not None


def is_open(path: str) -> bool:
    """Tell whether a path is answered to visitors who have not logged in."""
    return _OPEN.fullmatch(path) is not None


def is_call(path: str) -> bool:
    """Tell whether the body of a POST there is JSON for a handler."""
    return _CALL.fullmatch(path) is not None


def is_upload(path: str) -> bool:
    """Tell whether a POST there sends files."""
    return _UPLOAD.fullmatch(path) is not None
