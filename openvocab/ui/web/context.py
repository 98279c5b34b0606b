"""State and limits that the tabs of the page share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from openvocab.errors import BadInput
from openvocab.ui.web.limits import Limits
from openvocab.ui.web.served.entries import KEY
from openvocab.ui.web.served.folder import ServedFolder
from openvocab.ui.web.uploads.folders import UploadedFolders
from openvocab.ui.web.workspace import Workspace
from openvocab.ui.web.workspace_store import WorkspaceStore

if TYPE_CHECKING:
    from openvocab.ui.web.models import Models

__all__ = ["Context", "Limits"]


@dataclass(frozen=True, eq=False, slots=True)
class Context:
    """State that all tabs share.

    Attributes:
        models: The loaded presets.
        limits: Limits on requests and memory.
        folders: Folders on the server whose images the page and the tools may open.
        served: The folder that is worked through on the page, if there is one.
        workspaces: Images of open pages with their objects, under tokens.
        uploaded: The folders that visitors uploaded to work through.
    """

    models: Models
    limits: Limits = field(default_factory=Limits)
    folders: tuple[Path, ...] = ()
    served: ServedFolder | None = None
    workspaces: WorkspaceStore = field(init=False)
    uploaded: UploadedFolders = field(init=False)

    def __post_init__(self) -> None:
        """Create the stores of workspaces and of uploaded folders."""
        object.__setattr__(self, "workspaces", WorkspaceStore(self.limits.cache_bytes, self._open))
        object.__setattr__(self, "uploaded", UploadedFolders(self.limits, self._forget))

    def folder_of(self, key: object) -> ServedFolder:
        """Return the folder of an image by its key, which begins with the token of an uploaded folder.

        Raises:
            BadInput: no folder is served, or the uploaded one was deleted.
        """
        if self.served is not None:
            return self.served
        if not isinstance(key, str) or len(key) <= KEY:
            raise BadInput("no folder is open; upload several images or a zip, or start openvocab serve FOLDER")
        return self.uploaded.get(key[:-KEY])

    def _forget(self, served: ServedFolder) -> None:
        for each in served.entries:
            self.workspaces.forget(each.key)

    def _open(self, key: str) -> Workspace:
        served, preset = self.folder_of(key), self.models.names[0]
        with self.models.using(preset) as pipe:
            return served.open(key, pipe, preset)
