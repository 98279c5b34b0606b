"""A thread-safe LRU store of values under random tokens: the state of open pages, held on the server."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from typing import Generic, TypeVar

from openvocab.errors import BadInput

__all__ = ["LRUStore"]

V = TypeVar("V")


class LRUStore(Generic[V]):
    """Values under random tokens of 128 bits; the least recently used value is evicted first.

    A value is only reachable by its token, so one visitor cannot read another visitor's image.
    """

    def __init__(self, max_bytes: int) -> None:
        """Create an empty store.

        Args:
            max_bytes: Maximum total size of all values; the newest value is stored even if it is larger.
        """
        self._max_bytes, self._used = max_bytes, 0
        self._values: OrderedDict[str, tuple[V, int]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, value: V, size: int, token: str | None = None, *, named: bool = False) -> str:
        """Store a value and return its token.

        Args:
            size: Size of the value in bytes.
            token: Token of a stored value to replace; a new token is issued if it is None or unknown.
            named: Whether an unknown token is taken as it is.
        """
        with self._lock:
            if not token or (token not in self._values and not named):
                token = secrets.token_urlsafe(16)
            self._discard(token)
            self._values[token] = (value, size)
            self._used += size
            while self._used > self._max_bytes and len(self._values) > 1:
                self._discard(next(iter(self._values)))
            return token

    def get(self, token: str | None) -> V:
        """Return a value and mark it as recently used.

        Raises:
            BadInput: the token is unknown or its value was evicted.
        """
        with self._lock:
            if token is None or token not in self._values:
                raise BadInput("this image is no longer stored on the server; choose it again and press the button")
            self._values.move_to_end(token)
            return self._values[token][0]

    def discard(self, token: str | None) -> None:
        """Remove a value if it is stored."""
        with self._lock:
            self._discard(token)

    def _discard(self, token: str | None) -> None:
        if token is not None and token in self._values:
            self._used -= self._values.pop(token)[1]

    def __len__(self) -> int:
        return len(self._values)
