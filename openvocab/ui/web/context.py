"""What the tabs of the page share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from openvocab.ui.web.held import Held

if TYPE_CHECKING:
    from openvocab.ui.web.finding import Finding
    from openvocab.ui.web.models import Models

__all__ = ["Context", "Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one visitor may ask for.

    upload_bytes     of one uploaded file.
    pixels           width times height of an image, read from its header before it is decoded.
    files            images of one batch.
    unpacked_bytes   of one archive, once unpacked,
    ratio            and how many times its packed size that may be.
    waiting          requests that may wait for a model; more are told "busy" at once.
    stored_bytes     of all uploads and downloads that the server keeps for the moment, together.
    held_bytes       of the images and raw scores that pages go on from, together.
    """

    upload_bytes: int = 20 * 2**20
    pixels: int = 40_000_000
    files: int = 500
    unpacked_bytes: int = 2**30
    ratio: int = 100
    waiting: int = 32
    stored_bytes: int = 4 * 2**30
    held_bytes: int = 2**30


@dataclass(frozen=True, eq=False, slots=True)
class Context:
    """The models that the page uses, what it holds for its visitors, and the limits they are held to."""

    models: Models
    limits: Limits = field(default_factory=Limits)
    findings: Held[Finding] = field(init=False)

    def __post_init__(self) -> None:
        """Set up what is held."""
        object.__setattr__(self, "findings", Held(self.limits.held_bytes))
