"""Model calls over several images: how many at a time, and which of them the detector sees together."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from openvocab.pipeline.candidates import Candidates
from openvocab.pipeline.chain import look
from openvocab.pipeline.gate import Choice
from openvocab.pipeline.protocols import ImageArray, LateFusionDetector, Segmenter, Vocabulary
from openvocab.pipeline.stages import Stages

__all__ = ["BatchSegmenter", "encode_for_masks", "look_together", "query_groups"]

E = TypeVar("E")


@runtime_checkable
class BatchSegmenter(Segmenter[E], Protocol[E]):
    """A segmenter that encodes several images at a time."""

    def encode_batch(self, images: Sequence[ImageArray]) -> list[E]:
        """Return what encode returns for each image."""
        ...


def query_groups(stages: Stages, choices: Sequence[Choice | None]) -> list[list[int]]:
    """Return the indices of the images that the detector sees together; None, or no wanted label: it is not called.

    A late-fusion detector scores all labels, whichever are wanted. Another one is asked for the wanted labels: images
    that want the same set go together, in whatever order they want it. Groups stand in the order of their first images.
    """
    late, groups = isinstance(stages.detector, LateFusionDetector), dict[Hashable, list[int]]()
    for row, choice in enumerate(choices if stages.detector is not None else ()):
        if choice is not None and len(choice.wanted):
            groups.setdefault(late or np.sort(choice.wanted).tobytes(), []).append(row)
    return list(groups.values())


def look_together(
    stages: Stages, images: Sequence[ImageArray], vocabulary: Vocabulary, choices: Sequence[Choice]
) -> list[Candidates | None]:
    """Return the boxes of each image that may be detections, in as few calls as possible; None where it wants no label.

    Raises:
        BadOutput: the model's answer is not finite.
    """
    found: list[Candidates | None] = [None] * len(images)
    for rows in query_groups(stages, choices):
        seen = look(stages, [images[row] for row in rows], vocabulary, choices[rows[0]].wanted)
        for row, one in zip(rows, seen, strict=True):
            found[row] = one
    return found


def encode_for_masks(segmenter: Segmenter[Any], images: Sequence[ImageArray]) -> list[Any]:
    """Return the segmenter's encoding of each image, several at a time where the segmenter can."""
    if isinstance(segmenter, BatchSegmenter):
        return segmenter.encode_batch(images)
    return [segmenter.encode(image) for image in images]
