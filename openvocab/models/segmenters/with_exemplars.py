"""An exemplar segmenter where a pipeline has its segmenter, alone or beside one for boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.pipeline.exemplars.like import unsegmented
from openvocab.pipeline.protocols import ExemplarSegmenter, ImageArray, PromptSegmenter
from openvocab.pipeline.result import ModelRecord

__all__ = ["ExemplarsAlone", "WithExemplars"]

Floats = NDArray[np.float32]
Masks = NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class ExemplarsAlone:
    """An exemplar segmenter as the segmenter of a pipeline; it segments no boxes.

    Attributes:
        exemplars: Segments what is like exemplars.
    """

    exemplars: ExemplarSegmenter

    @property
    def record(self) -> ModelRecord:
        """That of the exemplar segmenter."""
        return self.exemplars.record

    def segment_like(self, images: Sequence[ImageArray], example: ImageArray, mask: Masks) -> list[Masks]:
        """See ExemplarSegmenter."""
        return self.exemplars.segment_like(images, example, mask)

    def resemblance(self, image: ImageArray, examples: Sequence[tuple[ImageArray, Masks]]) -> Floats:
        """See ExemplarSegmenter."""
        return self.exemplars.resemblance(image, examples)

    def encode(self, image: ImageArray) -> Any:
        """Return nothing: boxes are what an encoding is for."""
        return None

    def masks(self, encoded: Any, xyxy: Floats) -> tuple[Masks, Floats]:
        """Refuse boxes.

        Raises:
            BadInput: always.
        """
        spec = self.record.spec
        raise BadInput(f"{spec} segments what is like exemplars, no boxes; {unsegmented(spec)}")


@dataclass(frozen=True, eq=False, slots=True)
class WithExemplars(ExemplarsAlone):
    """A segmenter for boxes and points, with an exemplar segmenter for exemplars.

    Attributes:
        boxes: Segments boxes and points.
    """

    boxes: PromptSegmenter[Any]

    @property
    def record(self) -> ModelRecord:
        """Both, joined by "+"."""
        one, other = self.boxes.record, self.exemplars.record
        digest = f"{one.sha256}+{other.sha256}" if one.sha256 and other.sha256 else None
        return ModelRecord(f"{one.spec}+{other.spec}", digest, one.device, one.dtype)

    def encode(self, image: ImageArray) -> Any:
        """See PromptSegmenter."""
        return self.boxes.encode(image)

    def masks(self, encoded: Any, xyxy: Floats) -> tuple[Masks, Floats]:
        """See PromptSegmenter."""
        return self.boxes.masks(encoded, xyxy)

    def prompt(
        self,
        encoded: Any,
        points: Floats | None = None,
        point_labels: NDArray[np.int64] | None = None,
        box: Floats | None = None,
    ) -> tuple[Masks, Floats]:
        """See PromptSegmenter."""
        return self.boxes.prompt(encoded, points, point_labels, box)
