"""Log-ins: a limit on wrong passwords, and who has logged in."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import cookie_parser

from openvocab.ui.web.refusals import Refusal

__all__ = ["Logins", "logged_in"]

_FREE = 5
"""Wrong passwords in a row that an address may give before it has to wait."""
_LONGEST = 300.0
"""Seconds; the wait doubles from one second with each further wrong password up to this."""
_ADDRESSES = 10_000


class Logins:
    """Counts the wrong passwords of each address, and says how long it has to wait before the next."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Set up; clock returns seconds."""
        self._clock = clock
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def refusal(self, address: str) -> Refusal | None:
        """Return why an address may not try now, or None."""
        left = self._wrong.get(address, (0, 0.0))[1] - self._clock()
        if left <= 0:
            return None
        seconds = math.ceil(left)
        return Refusal(429, f"too many wrong passwords; try again in {seconds} seconds", {"Retry-After": str(seconds)})

    def note(self, address: str, *, right: bool) -> None:
        """Count a log-in."""
        count = self._wrong.pop(address, (0, 0.0))[0] + 1
        if right:
            return
        wait = 0.0 if count < _FREE else min(_LONGEST, 2.0 ** (count - _FREE))
        self._wrong[address] = (count, self._clock() + wait)
        while len(self._wrong) > _ADDRESSES:
            self._wrong.popitem(last=False)


def logged_in(page: Any, headers: Mapping[str, str]) -> bool:
    """Tell whether a request brings the cookie of a log-in, as Gradio's own routes do.

    Args:
        page: the gradio.routes.App.
        headers: of the request.
    """
    cookies = cookie_parser(headers.get("cookie", ""))
    names = (f"access-token-{page.cookie_id}", f"access-token-unsecure-{page.cookie_id}")
    return any(page.tokens.get(cookies.get(name)) is not None for name in names)
