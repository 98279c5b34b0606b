"""The actions of the polygon tool: the outline of an object's mask, and a polygon as its new mask."""

from __future__ import annotations

from typing import Any

import openvocab
from openvocab.ui.web.polygons.fill import filled, parse_rings
from openvocab.ui.web.polygons.trace import rings_of
from openvocab.ui.web.workspace import Workspace

__all__ = ["outline", "reshaped"]


def outline(workspace: Workspace, event: Any) -> dict[str, Any]:
    """Return the polygon of an object's mask for the page; it has no ring if the object has no mask.

    Args:
        workspace: The image.
        event: The visitor's action, with the key of the object.

    Raises:
        BadInput: there is no object with this key.
    """
    key, code = str(event.key), workspace.find(str(event.key)).mask
    rings = [] if code is None else rings_of(openvocab.decode_mask(code))
    return {"polygon": {"key": key, "rings": [ring.tolist() for ring in rings]}}


def reshaped(workspace: Workspace, event: Any) -> Workspace:
    """Return the workspace with a polygon as the mask of an object.

    Args:
        workspace: The image.
        event: The visitor's action, with the key of the object and the rings, in pixels of the image.

    Raises:
        BadInput: there is no object with this key, or the polygon is invalid or has no area.
    """
    height, width = workspace.size
    return workspace.reshape(str(event.key), filled(parse_rings(event.rings, height, width), height, width))
