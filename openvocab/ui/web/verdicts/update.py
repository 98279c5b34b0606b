"""Updates of a workspace that change which boxes are found, and so which the tagger must see for verification."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from openvocab.ui.web.workspace import Workspace

if TYPE_CHECKING:
    from openvocab import Explored
    from openvocab.ui.web.context import Context

__all__ = ["update_verified"]


def update_verified(
    context: Context, token: str | None, change: Callable[[Workspace], Workspace], *, keep: bool = False
) -> Workspace:
    """Update a stored workspace, as WorkspaceStore.update; before, the tagger sees the boxes that the change lets in.

    The models are called for boxes that they have not seen yet, and outside the lock of the store. If another handler
    changes the thresholds or the answer meanwhile, it is done again.

    Raises:
        BadInput: see WorkspaceStore.update.
        CannotWrite: see WorkspaceStore.update.
    """
    while (made := _tried(context, token, change, keep)) is None:
        pass
    return made


def _tried(
    context: Context, token: str | None, change: Callable[[Workspace], Workspace], keep: bool
) -> Workspace | None:
    """Update a workspace once; None if it changed meanwhile."""
    wanted = change(context.workspaces.get(token))
    seen, made = _seen(context, wanted), list[Workspace]()

    def ready(now: Workspace) -> Workspace:
        after = change(now)
        if _alike(after, wanted):
            made.append(_with_crops(after, seen))
        return made[0] if made else now

    updated = context.workspaces.update(token, ready, keep=keep)
    return updated if made else None


def _seen(context: Context, wanted: Workspace) -> Explored | None:
    """Return the answer of a workspace with what the tagger sees of the boxes that it has not seen."""
    explored = wanted.explored
    if explored is None or not len(explored.unverified(**wanted.thresholds)):
        return explored
    with context.models.using(wanted.preset) as pipe:
        return pipe.verified(explored, **wanted.thresholds)


def _alike(one: Workspace, other: Workspace) -> bool:
    """Whether two workspaces find the same boxes."""
    first, second = one.explored, other.explored
    if first is None or second is None:
        return first is second
    return first.candidates is second.candidates and one.thresholds == other.thresholds


def _with_crops(after: Workspace, seen: Explored | None) -> Workspace:
    if after.explored is None or seen is None or seen.crops is None:
        return after
    crops = {**(after.explored.crops or {}), **seen.crops}
    return replace(after, explored=replace(after.explored, crops=crops))
