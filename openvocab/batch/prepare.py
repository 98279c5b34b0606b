"""Preprocessing for the tagger in the threads that decode images."""

from __future__ import annotations

from dataclasses import dataclass, replace

from openvocab.images.read import Decoded
from openvocab.pipeline.protocols import NO_PIXELS, Prepared, PreparingTagger

__all__ = ["PreparedImage", "prepare_image"]


@dataclass(frozen=True, eq=False, slots=True)
class PreparedImage:
    """An image as the tagger's model takes it; decoded has no pixels."""

    decoded: Decoded
    prepared: Prepared


def prepare_image(tagger: PreparingTagger, decoded: Decoded) -> PreparedImage | None:
    """Return an image prepared for the tagger, or None if that fails; its batch then reports the error."""
    try:
        return PreparedImage(replace(decoded, pixels=NO_PIXELS), tagger.prepare(decoded.pixels))
    except Exception:
        return None
