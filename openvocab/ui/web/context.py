"""State and limits that the tabs of the page share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from openvocab.errors import BadInput
from openvocab.ui.web.served.folder import ServedFolder
from openvocab.ui.web.workspace import Workspace
from openvocab.ui.web.workspace_store import WorkspaceStore

if TYPE_CHECKING:
    from openvocab.ui.web.models import Models

__all__ = ["Context", "Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on requests and on the server's memory and disk.

    Attributes:
        upload_bytes: Maximum size of an uploaded file.
        pixels: Maximum width times height of an image; the header is checked before the image is decoded.
        files: Maximum number of images in a batch.
        unpacked_bytes: Maximum total size of the unpacked archives of a batch.
        ratio: Maximum ratio of an archive's unpacked size to its file size.
        waiting: Maximum number of queued requests; further requests get "busy" at once.
        stored_bytes: Maximum total size of all uploads and downloads on disk.
        cache_bytes: Maximum total size of the images and raw scores of open pages in memory.
    """

    upload_bytes: int = 20 * 2**20
    pixels: int = 40_000_000
    files: int = 500
    unpacked_bytes: int = 2**30
    ratio: int = 100
    waiting: int = 32
    stored_bytes: int = 4 * 2**30
    cache_bytes: int = 2**30


@dataclass(frozen=True, eq=False, slots=True)
class Context:
    """State that all tabs share.

    Attributes:
        models: The loaded presets.
        limits: Limits on requests and memory.
        folders: Folders on the server whose images the page and the tools may open.
        served: The folder that is worked through on the page, if there is one.
        workspaces: Images of open pages with their objects, under tokens.
    """

    models: Models
    limits: Limits = field(default_factory=Limits)
    folders: tuple[Path, ...] = ()
    served: ServedFolder | None = None
    workspaces: WorkspaceStore = field(init=False)

    def __post_init__(self) -> None:
        """Create the store of workspaces."""
        object.__setattr__(self, "workspaces", WorkspaceStore(self.limits.cache_bytes, self._open))

    def _open(self, key: str) -> Workspace:
        if self.served is None:
            raise BadInput("no folder is served; start the page with openvocab serve FOLDER")
        preset = self.models.names[0]
        with self.models.using(preset) as pipe:
            return self.served.open(key, pipe, preset)
