"""The answer for one image: a frozen record, checked once, where it is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.pipeline.masks import encode_mask, mask_box
from openvocab.pipeline.quiet import quiet_supervision

if TYPE_CHECKING:
    import supervision
    from PIL.Image import Image as PILImage

__all__ = ["ModelRecord", "Regions", "Result", "RunRecord", "Tag"]


def _shape(name: str, array: NDArray[Any], dtype: type[np.generic], shape: tuple[int | None, ...]) -> None:
    """Raise BadInput unless array has that dtype and shape (None fits any length)."""
    fits = len(array.shape) == len(shape) and all(
        want is None or want == got for want, got in zip(shape, array.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if want is None else str(want) for want in shape)
        raise BadInput(f"{name} must have shape ({wanted}), got {array.shape}")
    if array.dtype != dtype:
        raise BadInput(f"{name} must be {np.dtype(dtype).name}, got {array.dtype.name}")


def _scores(name: str, array: NDArray[Any], count: int) -> None:
    _shape(name, array, np.float32, (count,))
    if not np.all((array >= 0) & (array <= 1)):
        raise BadInput(f"{name} must lie in 0 to 1 and be finite")


@dataclass(frozen=True, slots=True)
class Tag:
    """A label that the image as a whole was given, with its score in 0 to 1."""

    label: str
    score: float


@dataclass(frozen=True, eq=False, slots=True)
class Regions:
    """N labeled regions of one image, best score first.

    xyxy             (N, 4) float32: left, top, right, bottom in pixels of the upright image, half-open,
                     so that a box one pixel wide has right - left == 1.
    scores           (N,) float32 in 0 to 1, what the regions are ranked by: the detector's score, times the
                     segmenter's once there are masks.
    labels           N strings, exactly as the caller wrote them.
    detector_scores  (N,) float32 in 0 to 1.
    mask_scores      (N,) float32 in 0 to 1, the segmenter's own estimate of the mask's IoU; None before it ran.
    masks            (N, H, W) bool at the image's own size; None before the segmenter ran.
    """

    xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: tuple[str, ...]
    detector_scores: NDArray[np.float32]
    mask_scores: NDArray[np.float32] | None = None
    masks: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        """Check shapes, dtypes and ranges.

        Raises:
            BadInput: an array has another shape or dtype, a score is outside 0 to 1, or a box is not finite.
        """
        count = len(self.labels)
        _shape("xyxy", self.xyxy, np.float32, (count, 4))
        if not np.all(np.isfinite(self.xyxy)):
            raise BadInput("xyxy must be finite")
        _scores("scores", self.scores, count)
        _scores("detector_scores", self.detector_scores, count)
        if (self.masks is None) != (self.mask_scores is None):
            raise BadInput("masks and mask_scores come together or not at all")
        if self.masks is not None and self.mask_scores is not None:
            _shape("masks", self.masks, np.bool_, (count, None, None))
            _scores("mask_scores", self.mask_scores, count)

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def none(cls, masks_of: tuple[int, int] | None = None) -> Regions:
        """No region at all; with masks_of=(height, width) the mask arrays are there, with no row."""
        empty = np.zeros(0, np.float32)
        masks = None if masks_of is None else np.zeros((0, *masks_of), np.bool_)
        return cls(np.zeros((0, 4), np.float32), empty, (), empty, None if masks is None else empty, masks)

    def take(self, rows: Sequence[int] | NDArray[np.intp]) -> Regions:
        """Return those rows, in that order."""
        index = np.asarray(rows, np.intp)
        return Regions(
            self.xyxy[index],
            self.scores[index],
            tuple(self.labels[row] for row in index),
            self.detector_scores[index],
            None if self.mask_scores is None else self.mask_scores[index],
            None if self.masks is None else self.masks[index],
        )

    def without(self, row: int) -> Regions:
        """Return all rows but one.

        Raises:
            BadInput: there is no such row.
        """
        if not 0 <= row < len(self):
            raise BadInput(f"there is no region {row}; there are {len(self)}, counted from 0")
        return self.take([each for each in range(len(self)) if each != row])

    def with_mask(self, mask: NDArray[np.bool_], label: str, score: float) -> Regions:
        """Return these regions and, as the last row, one that a person named; its box is the mask's own.

        Args:
            mask: (H, W) bool at the image's size.
            label: what it is.
            score: of the mask, in 0 to 1; the label's is 1.

        Raises:
            BadInput: the mask marks nothing or has another size than the others, the label is blank, the score is
                outside 0 to 1, or these regions have no masks.
        """
        _shape("mask", mask, np.bool_, (None, None))
        box = mask_box(mask)
        if box is None:
            raise BadInput("the mask marks nothing; mark the thing that is named")
        if not label.strip():
            raise BadInput("the region has no label; name it")
        if len(self) and self.masks is None:
            raise BadInput("these regions have no masks; cut them out first, with Pipeline.cut_out")
        before = Regions.none(mask.shape) if self.masks is None or not len(self) else self
        if before.masks is None or before.mask_scores is None or before.masks.shape[1:] != mask.shape:
            raise BadInput(f"the mask must have the size of the others, got {mask.shape}")
        sure, one = np.array([score], np.float32), np.ones(1, np.float32)
        return Regions(
            np.concatenate([before.xyxy, np.array([box], np.float32)]),
            np.concatenate([before.scores, sure]),
            (*before.labels, label),
            np.concatenate([before.detector_scores, one]),
            np.concatenate([before.mask_scores, sure]),
            np.concatenate([before.masks, mask[None]]),
        )


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """Which model made a result: its SPEC, the sha256 of its weights (None while unread), device and dtype."""

    spec: str
    sha256: str | None
    device: str
    dtype: str


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What someone else needs to get the same numbers. A stage that did not run is None."""

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

    source         the path as given, or "array" where an array was given; in a run its kind and place, array-0.
    width, height  pixels of the upright image.
    tags           labels of the whole image, best first.
    regions        boxes and masks, best first.
    run            the models and settings that made it.
    image        (height, width, 3) uint8 RGB, kept so that the result can be drawn.
    notes          why there is neither a tag nor a region; empty where there is one.
    labels         the vocabulary, in the caller's order; empty where it is not known.
    """

    source: str
    width: int
    height: int
    tags: tuple[Tag, ...]
    regions: Regions
    run: RunRecord
    image: NDArray[np.uint8]
    notes: tuple[str, ...] = field(default=(), kw_only=True)
    labels: tuple[str, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        """Check that image, masks and size agree.

        Raises:
            BadInput: they do not.
        """
        _shape("image", self.image, np.uint8, (self.height, self.width, 3))
        if self.regions.masks is not None:
            _shape("masks", self.regions.masks, np.bool_, (len(self.regions), self.height, self.width))

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels in the order of class ids: the vocabulary, then what was named by hand."""
        return tuple(dict.fromkeys([*self.labels, *self.regions.labels, *(tag.label for tag in self.tags)]))

    def draw(self) -> PILImage:
        """Return the image with masks, boxes and names on it."""
        from openvocab.pipeline.draw import draw

        return draw(self.image, self.regions)

    def to_supervision(self) -> supervision.Detections:
        """Return the regions as supervision.Detections; class_id is a label's place in the vocabulary, see classes."""
        quiet_supervision()
        import supervision

        regions = self.regions
        places = {label: place for place, label in enumerate(self.classes)}
        return supervision.Detections(
            xyxy=regions.xyxy,
            mask=regions.masks,
            confidence=regions.scores,
            class_id=np.array([places[label] for label in regions.labels], int),
            data={"class_name": np.array(regions.labels, dtype=str)},
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; masks as COCO run-length encoding (size is [height, width])."""
        from dataclasses import asdict

        return {
            "source": self.source,
            "width": self.width,
            "height": self.height,
            "tags": [{"label": tag.label, "score": round(tag.score, 6)} for tag in self.tags],
            "regions": [self._region(row) for row in range(len(self.regions))],
            "notes": list(self.notes),
            "run": asdict(self.run),
        }

    def _region(self, row: int) -> dict[str, Any]:
        regions = self.regions
        plain: dict[str, Any] = {
            "label": regions.labels[row],
            "score": round(float(regions.scores[row]), 6),
            "detector_score": round(float(regions.detector_scores[row]), 6),
            "xyxy": [round(float(edge), 3) for edge in regions.xyxy[row]],
        }
        if regions.masks is not None and regions.mask_scores is not None:
            code = encode_mask(regions.masks[row])
            plain["mask_score"] = round(float(regions.mask_scores[row]), 6)
            plain["mask"] = {"size": list(code["size"]), "counts": code["counts"].decode()}
        return plain

    def save(self, path: str | Path) -> None:
        """Draw the result into an image file; the suffix says the format."""
        self.draw().save(path)
