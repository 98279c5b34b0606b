"""Logins: a rate limit on wrong passwords, and the check of a login's cookie."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import cookie_parser

from openvocab.errors import counted
from openvocab.ui.web.protection.error_responses import ErrorResponse

__all__ = ["LoginLimiter", "logged_in"]

_FREE_ATTEMPTS = 5
"""Consecutive wrong passwords per client address before the first delay."""
_MAX_DELAY = 300.0
"""Seconds; the delay starts at one second and doubles with each further wrong password up to this."""
_MAX_ADDRESSES = 10_000


class LoginLimiter:
    """Counts wrong passwords per client address and enforces an exponential delay."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Create an empty limiter; clock returns seconds."""
        self._clock = clock
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def rejection(self, address: str) -> ErrorResponse | None:
        """Return the error response for an address that must wait, or None."""
        left = self._failures.get(address, (0, 0.0))[1] - self._clock()
        if left <= 0:
            return None
        seconds = math.ceil(left)
        message = f"too many wrong passwords; try again in {counted(seconds, 'second')}"
        return ErrorResponse(429, message, {"Retry-After": str(seconds)})

    def record(self, address: str, *, success: bool) -> None:
        """Record a login attempt."""
        count = self._failures.pop(address, (0, 0.0))[0] + 1
        if success:
            return
        delay = 0.0 if count < _FREE_ATTEMPTS else min(_MAX_DELAY, 2.0 ** (count - _FREE_ATTEMPTS))
        self._failures[address] = (count, self._clock() + delay)
        while len(self._failures) > _MAX_ADDRESSES:
            self._failures.popitem(last=False)


def logged_in(page: Any, headers: Mapping[str, str]) -> bool:
    """Whether a request has the cookie of a login, checked as Gradio's own routes do.

    Args:
        page: The gradio.routes.App.
        headers: Headers of the request.
    """
    cookies = cookie_parser(headers.get("cookie", ""))
    names = (f"access-token-{page.cookie_id}", f"access-token-unsecure-{page.cookie_id}")
    return any(page.tokens.get(cookies.get(name)) is not None for name in names)
