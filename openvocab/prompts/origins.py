"""Where an exemplar was cut from: an image, known by the digest of its pixels, and a window in it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.prompts.plain import numbers_of, refuse_unknown

__all__ = ["Origin", "origin_of", "pixel_digest"]


@dataclass(frozen=True, slots=True)
class Origin:
    """The image that an exemplar was cut from.

    Attributes:
        digest: The sha256 of its size and pixels; see pixel_digest.
        window: The crop there: left, top, right, bottom in pixels.
    """

    digest: str
    window: Sequence[float]

    def plain(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {"digest": self.digest, "window": self.window}

    @classmethod
    def of(cls, plain: Any) -> Origin:
        """Return what plain described.

        Raises:
            BadInput: an entry is absent, unknown or of another kind.
        """
        refuse_unknown(plain, {"digest", "window"}, "the origin of an exemplar")
        digest = plain.get("digest")
        if not isinstance(digest, str):
            raise BadInput("the origin of an exemplar has no digest; cut the exemplar from its image again")
        left, top, right, bottom = window = numbers_of(plain.get("window"), 4)
        if not (left < right and top < bottom):
            raise BadInput(f"the window {list(window)} of an exemplar's origin is empty; cut the exemplar again")
        return cls(digest, window)


def pixel_digest(image: NDArray[np.uint8]) -> str:
    """Return the sha256 of the size and the pixels of an image, (H, W, 3) uint8 RGB; no metadata of a file is in it."""
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()


def origin_of(image: NDArray[np.uint8], window: Sequence[float]) -> Origin:
    """Return the origin of what is cut out of an image: left, top, right, bottom in pixels."""
    return Origin(pixel_digest(image), tuple(float(each) for each in window))
