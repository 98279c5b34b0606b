"""What a visitor's page goes on from: values kept by the server under tokens that cannot be guessed."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from typing import Generic, TypeVar

from openvocab.errors import BadInput

__all__ = ["Held"]

V = TypeVar("V")


class Held(Generic[V]):
    """Keeps values, the least recently used let go of first; safe to use from several threads.

    A value is found by its token alone, and tokens are 128 random bits, so one visitor never meets another's image.
    """

    def __init__(self, room: int) -> None:
        """Set up.

        Args:
            room: bytes that all values may take together; the newest is kept even where it takes more.
        """
        self._room, self._used = room, 0
        self._values: OrderedDict[str, tuple[V, int]] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, value: V, size: int, instead_of: str | None = None) -> str:
        """Keep a value and return its token.

        Args:
            size: bytes that the value takes.
            instead_of: the token of a value that this one replaces; that token means the new value from now on.
        """
        with self._lock:
            token = instead_of if instead_of and instead_of in self._values else secrets.token_urlsafe(16)
            self._drop(token)
            self._values[token] = (value, size)
            self._used += size
            while self._used > self._room and len(self._values) > 1:
                self._drop(next(iter(self._values)))
            return token

    def get(self, token: str | None) -> V:
        """Return a value.

        Raises:
            BadInput: there is none under this token, or no longer.
        """
        with self._lock:
            if token is None or token not in self._values:
                raise BadInput("this image is no longer held here; choose it again and press the button")
            self._values.move_to_end(token)
            return self._values[token][0]

    def drop(self, token: str | None) -> None:
        """Let go of a value, if it is there."""
        with self._lock:
            self._drop(token)

    def _drop(self, token: str | None) -> None:
        if token is not None and token in self._values:
            self._used -= self._values.pop(token)[1]

    def __len__(self) -> int:
        return len(self._values)
