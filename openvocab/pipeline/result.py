"""Result: tags and detections of one image with the models that made them, as a frozen record checked once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.pipeline.detections import Detection, Detections, check_array

if TYPE_CHECKING:
    import supervision
    from PIL.Image import Image as PILImage

__all__ = ["ModelRecord", "Result", "RunRecord", "Tag"]


@dataclass(frozen=True, slots=True)
class Tag:
    """A label of the whole image.

    Attributes:
        label: The label as the caller wrote it.
        score: In 0 to 1.
    """

    label: str
    score: float


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """The model behind a result.

    Attributes:
        spec: SPEC that loads it.
        sha256: Digest of its weights; None where they were not hashed.
        device: Device it ran on.
        dtype: Precision it ran in.
    """

    spec: str
    sha256: str | None
    device: str
    dtype: str


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What someone else needs to get the same numbers.

    Attributes:
        openvocab: Version of openvocab.
        tagger: The tagger; None where none ran.
        detector: The detector; None where none ran.
        segmenter: The segmenter; None where none ran.
        templates: The tagger's prompt templates.
        templates_digest: Digest of the templates.
        detector_template: The detector's prompt template.
        settings: Setting -> value; thresholds are the effective ones.
    """

    openvocab: str
    tagger: ModelRecord | None
    detector: ModelRecord | None
    segmenter: ModelRecord | None
    templates: tuple[str, ...]
    templates_digest: str
    detector_template: str
    settings: dict[str, float | int | str | bool] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, slots=True)
class Result:
    """Everything that was found in one image.

    Attributes:
        source: The path as given, or "array" where an array was given; in a run its kind and place, array-0.
        width: Pixels of the upright image.
        height: Pixels of the upright image.
        tags: Labels of the whole image, best first.
        detections: Boxes and masks, best first.
        run: The models and settings that made it.
        image: (height, width, 3) uint8 RGB, kept so that the result can be drawn.
        notes: Why there is neither a tag nor a detection; empty where there is one.
        labels: The vocabulary, in the caller's order; empty where it is not known.
    """

    source: str
    width: int
    height: int
    tags: tuple[Tag, ...]
    detections: Detections
    run: RunRecord
    image: NDArray[np.uint8]
    notes: tuple[str, ...] = field(default=(), kw_only=True)
    labels: tuple[str, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        """Check that image, masks and size agree, and index the detections by `classes`.

        Raises:
            BadInput: they do not.
        """
        check_array("image", self.image, np.uint8, (self.height, self.width, 3))
        if self.detections.masks is not None:
            size = self.detections.masks.shape[1:]
            if size != (self.height, self.width):
                raise BadInput(
                    f"masks must have shape (any, {self.height}, {self.width}), got (any, {size[0]}, {size[1]})"
                )
        pairs = zip(self.detections.class_ids.tolist(), self.detections.labels, strict=True)
        if not all(0 <= row < len(self.labels) and self.labels[row] == label for row, label in pairs):
            object.__setattr__(self, "detections", self.detections.indexed(self.classes))

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels in the order of class ids: the vocabulary, then what was named by hand."""
        return tuple(dict.fromkeys([*self.labels, *self.detections.labels, *(tag.label for tag in self.tags)]))

    def draw(self) -> PILImage:
        """Return the image with masks, boxes and names on it."""
        from openvocab.pipeline.draw import draw

        return draw(self.image, self.detections)

    def to_supervision(self) -> supervision.Detections:
        """Return the detections as supervision.Detections; class_id is the index of the label in `classes`."""
        return self.detections.to_supervision()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; masks as COCO run-length encoding (size is [height, width])."""
        from dataclasses import asdict

        return {
            "source": self.source,
            "width": self.width,
            "height": self.height,
            "tags": [{"label": tag.label, "score": round(tag.score, 6)} for tag in self.tags],
            "detections": [_plain(each) for each in self.detections],
            "notes": list(self.notes),
            "run": asdict(self.run),
        }

    def save(self, path: str | Path) -> None:
        """Draw the result into an image file; the suffix says the format."""
        self.draw().save(path)


def _plain(one: Detection) -> dict[str, Any]:
    """Return a detection as plain JSON types."""
    plain: dict[str, Any] = {
        "label": one.label,
        "score": round(one.score, 6),
        "detector_score": round(one.detector_score, 6),
        "xyxy": [round(edge, 3) for edge in one.xyxy],
    }
    if one.rle is not None and one.mask_score is not None:
        plain |= {"mask_score": round(one.mask_score, 6), "mask": one.rle}
    return plain
