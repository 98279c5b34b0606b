"""The workspaces of open pages, held on the server under tokens."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import count

from openvocab.errors import BadInput
from openvocab.ui.web.lru_store import LRUStore
from openvocab.ui.web.workspace import Workspace

__all__ = ["WorkspaceStore", "is_served"]

_SERVED = "served/"
"""Start of the tokens of images of the served folder."""


def is_served(token: str | None) -> bool:
    """Whether a token is that of an image of the served folder."""
    return token is not None and token.startswith(_SERVED)


class WorkspaceStore:
    """An LRU store of workspaces; updates are serialized so that none is lost.

    Workspaces of a served folder have the key of their image as token, so that all visitors edit the same one.
    """

    def __init__(self, max_bytes: int, reopen: Callable[[str], Workspace] | None = None) -> None:
        """Create an empty store.

        Args:
            max_bytes: Maximum total size of all workspaces.
            reopen: Returns the workspace of an image of the served folder by its key, after it was evicted.
        """
        self._store: LRUStore[Workspace] = LRUStore(max_bytes)
        self._lock, self._reopen = threading.Lock(), reopen
        self._versions = count(1)

    def put(self, workspace: Workspace, token: str | None = None) -> str:
        """Store a workspace, under a known token if one is given, and return its token."""
        own = _SERVED + workspace.place if workspace.place else None if is_served(token) else token
        with self._lock:
            made = replace(workspace, version=next(self._versions))
            return self._store.put(made, made.nbytes, own, named=bool(made.place))

    def get(self, token: str | None) -> Workspace:
        """Return a workspace; one of the served folder is opened if it is not stored.

        Raises:
            BadInput: the token is unknown or its workspace was evicted.
        """
        try:
            return self._store.get(token)
        except BadInput:
            if token is None or self._reopen is None or not is_served(token):
                raise
        self.put(self._reopen(token.removeprefix(_SERVED)))
        return self._store.get(token)

    def served(self, key: str) -> tuple[Workspace, str]:
        """Return the workspace of an image of the served folder, and its token.

        Raises:
            BadInput: there is no served folder, or no such image in it.
        """
        return self.get(_SERVED + key), _SERVED + key

    def update(self, token: str | None, change: Callable[[Workspace], Workspace], *, keep: bool = False) -> Workspace:
        """Replace a workspace by the result of a function of it, and return the new one.

        Args:
            token: Token of the workspace.
            change: The function.
            keep: Whether the run gets it even if no edit changed.

        Raises:
            BadInput: the token is unknown or its workspace was evicted, or the function raises it.
            CannotWrite: the run of the served folder cannot be written; then nothing changes.
        """
        self.get(token)
        with self._lock:
            before = self._store.get(token)
            workspace = replace(change(before), version=next(self._versions))
            if workspace.keeper is not None and (keep or workspace.edits is not before.edits):
                workspace.keeper(workspace)
            self._store.put(workspace, workspace.nbytes, token)
            return workspace

    def discard(self, token: str | None) -> None:
        """Remove a workspace if it is stored; those of the served folder stay for other visitors."""
        if not is_served(token):
            self._store.discard(token)

    def forget(self, key: str) -> None:
        """Remove the workspace of an image of a folder that was deleted."""
        self._store.discard(_SERVED + key)

    def __len__(self) -> int:
        return len(self._store)
