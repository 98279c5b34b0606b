"""Images prepared for the tagger by the threads that decode them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from openvocab.images.read import Decoded
from openvocab.pipeline.protocols import NO_PIXELS, Prepared, PreparingTagger

__all__ = ["Ready", "make_ready"]


@dataclass(frozen=True, eq=False, slots=True)
class Ready:
    """An image as a tagger takes it; decoded has no pixels."""

    decoded: Decoded
    prepared: Prepared


def make_ready(tagger: PreparingTagger, decoded: Decoded) -> Ready | None:
    """Return an image prepared for the tagger, or None where that cannot be done.

    The batch that such an image comes to will meet the error and tell whose it is.
    """
    try:
        return Ready(replace(decoded, pixels=NO_PIXELS), tagger.prepare(decoded.pixels))
    except Exception:
        return None
