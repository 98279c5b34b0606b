"""Detections: the boxes, labels, scores and masks of one image, as one collection that every layer uses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput, counted
from openvocab.pipeline.masks import EncodedMasks, Masks, Rows, decode_mask, mask_box, mask_json, row_indices
from openvocab.pipeline.quiet import quiet_supervision

if TYPE_CHECKING:
    import supervision

__all__ = ["Detection", "Detections", "check_array", "check_scores", "label_ids", "shortest"]

_BY_FIRST_SIGHT = np.zeros(0, np.int64)


def check_array(name: str, array: NDArray[Any], dtype: type[np.generic], shape: tuple[int | None, ...]) -> None:
    """Check dtype and shape; None in the shape fits any length.

    Raises:
        BadInput: the array has another dtype or shape.
    """
    fits = len(array.shape) == len(shape) and all(
        want is None or want == got for want, got in zip(shape, array.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if want is None else str(want) for want in shape)
        raise BadInput(f"{name} must have shape ({wanted}), got {array.shape}")
    if array.dtype != dtype:
        raise BadInput(f"{name} must be {np.dtype(dtype).name}, got {array.dtype.name}")


def check_scores(name: str, scores: NDArray[Any], count: int) -> None:
    """Check (count,) float32 scores in 0 to 1.

    Raises:
        BadInput: another shape or dtype, or a score outside 0 to 1 or not finite.
    """
    check_array(name, scores, np.float32, (count,))
    if not np.all((scores >= 0) & (scores <= 1)):
        raise BadInput(f"{name} must lie in 0 to 1 and be finite")


def shortest(value: Any) -> float:
    """Return a float32 as the Python float with the fewest digits that rounds to the same float32."""
    return float(str(np.float32(value)))


@dataclass(frozen=True, eq=False, slots=True)
class Detection:
    """One detected object, as indexing or iterating over Detections gives it.

    Attributes:
        label: The label as the caller wrote it.
        class_id: Index of the label in the result's vocabulary.
        score: What detections are ranked by, in 0 to 1.
        detector_score: The detector's score in 0 to 1.
        mask_score: The segmenter's estimate of the mask's IoU in 0 to 1; None without a mask.
        xyxy: Left, top, right, bottom in pixels of the upright image, half-open.
        segmentation: The mask as (H, W) bool or as COCO run-length encoding; None without a mask.
        track_id: Identity across frames; None where nothing tracks.
        data: This detection's value of each entry of Detections.data.
    """

    label: str
    class_id: int
    score: float
    detector_score: float
    mask_score: float | None
    xyxy: tuple[float, float, float, float]
    segmentation: NDArray[np.bool_] | dict[str, Any] | None = None
    track_id: int | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def xywh(self) -> tuple[float, float, float, float]:
        """Left, top, width and height in pixels, rounded to a millionth of a pixel."""
        left, top, right, bottom = self.xyxy
        return left, top, round(right - left, 6), round(bottom - top, 6)

    @property
    def mask(self) -> NDArray[np.bool_] | None:
        """The (H, W) mask; None without one."""
        return decode_mask(self.segmentation) if isinstance(self.segmentation, dict) else self.segmentation

    @property
    def rle(self) -> dict[str, Any] | None:
        """The mask as COCO writes it in JSON, {"size": [H, W], "counts": str}; None without one."""
        if self.segmentation is None or isinstance(self.segmentation, dict):
            return self.segmentation
        return mask_json(self.segmentation)


@dataclass(frozen=True, eq=False, slots=True)
class Detections:
    """N labeled detections of one image, best score first.

    `d[0]` is one Detection, `d[rows]` with indices, a slice or a (N,) bool array is another Detections, iterating
    yields Detection by Detection, `==` compares by value and `a + b` concatenates.

    Attributes:
        xyxy: (N, 4) float32: left, top, right, bottom in pixels of the upright image, half-open,
            so that a box one pixel wide has right - left == 1.
        scores: (N,) float32 in 0 to 1, what detections are ranked by: the detector's score, times the
            segmenter's once there are masks.
        labels: N strings, exactly as the caller wrote them.
        detector_scores: (N,) float32 in 0 to 1.
        mask_scores: (N,) float32 in 0 to 1, the segmenter's own estimate of the mask's IoU; None without masks.
        masks: (N, H, W) bool at the image's own size, or EncodedMasks; None without masks.
        class_ids: (N,) int64 indices into the result's vocabulary; the order of first appearance where not given.
        track_ids: (N,) int64 identities across frames; None where nothing tracks.
        data: More arrays or sequences of length N by name.
    """

    xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: tuple[str, ...]
    detector_scores: NDArray[np.float32]
    mask_scores: NDArray[np.float32] | None = None
    masks: Masks | None = None
    class_ids: NDArray[np.int64] = field(default_factory=lambda: _BY_FIRST_SIGHT, kw_only=True)
    track_ids: NDArray[np.int64] | None = field(default=None, kw_only=True)
    data: Mapping[str, Any] = field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        """Check shapes, dtypes and ranges.

        Raises:
            BadInput: an array has another shape or dtype, a score is outside 0 to 1, or a box is not finite.
        """
        count = len(self.labels)
        check_array("xyxy", self.xyxy, np.float32, (count, 4))
        if not np.all(np.isfinite(self.xyxy)):
            raise BadInput("xyxy must be finite")
        check_scores("scores", self.scores, count)
        check_scores("detector_scores", self.detector_scores, count)
        if (self.masks is None) != (self.mask_scores is None):
            raise BadInput("masks and mask_scores come together or not at all")
        if self.masks is not None and self.mask_scores is not None:
            if isinstance(self.masks, EncodedMasks):
                check_array("masks", np.broadcast_to(np.False_, self.masks.shape), np.bool_, (count, None, None))
            else:
                check_array("masks", self.masks, np.bool_, (count, None, None))
            check_scores("mask_scores", self.mask_scores, count)
        if self.class_ids is _BY_FIRST_SIGHT:
            object.__setattr__(self, "class_ids", label_ids(self.labels, tuple(dict.fromkeys(self.labels))))
        check_array("class_ids", self.class_ids, np.int64, (count,))
        if self.track_ids is not None:
            check_array("track_ids", self.track_ids, np.int64, (count,))
        for name, values in self.data.items():
            if len(values) != count:
                raise BadInput(f"data[{name!r}] must have one value a detection, {count}, got {len(values)}")

    def __len__(self) -> int:
        return len(self.labels)

    @overload
    def __getitem__(self, rows: int | np.integer[Any]) -> Detection: ...
    @overload
    def __getitem__(self, rows: Rows) -> Detections: ...
    def __getitem__(self, rows: int | np.integer[Any] | Rows) -> Detection | Detections:
        """Return one Detection, or the Detections of several rows in that order.

        Raises:
            IndexError: there is no such row.
        """
        if isinstance(rows, int | np.integer):
            return self._one(range(len(self))[int(rows)])
        return self.take(row_indices(rows, len(self)))

    def __iter__(self) -> Iterator[Detection]:
        return (self._one(row) for row in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Detections):
            return NotImplemented
        names = ("xyxy", "scores", "detector_scores", "mask_scores", "class_ids", "track_ids")
        return (
            self.labels == other.labels
            and all(_equal(getattr(self, name), getattr(other, name)) for name in names)
            and _equal(self.masks, other.masks)
            and self.data.keys() == other.data.keys()
            and all(_equal(self.data[name], other.data[name]) for name in self.data)
        )

    __hash__ = None  # type: ignore[assignment]  # equal by value, and arrays have no hash

    def __add__(self, other: Detections) -> Detections:
        """Return these detections followed by the others, each with what it had.

        Raises:
            BadInput: one side has masks, track ids or an entry of data and the other has not.
        """
        return _concatenated(self, other)

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{label} {score:.2f}" for label, score in zip(self.labels[:4], self.scores.tolist(), strict=False)
        )
        more = f", +{len(self) - 4}" if len(self) > 4 else ""
        return f"Detections({len(self)}{', masks' if self.masks is not None else ''}: {shown}{more})"

    @classmethod
    def none(cls, masks_of: tuple[int, int] | None = None) -> Detections:
        """Return no detection at all; with masks_of=(height, width), empty mask arrays instead of None."""
        empty = np.zeros(0, np.float32)
        masks = None if masks_of is None else np.zeros((0, *masks_of), np.bool_)
        return cls(np.zeros((0, 4), np.float32), empty, (), empty, None if masks is None else empty, masks)

    def take(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> Detections:
        """Return those rows, in that order."""
        index = np.asarray(rows, np.intp)
        return Detections(
            self.xyxy[index],
            self.scores[index],
            tuple(self.labels[row] for row in index),
            self.detector_scores[index],
            None if self.mask_scores is None else self.mask_scores[index],
            None if self.masks is None else self.masks[index],
            class_ids=self.class_ids[index],
            track_ids=None if self.track_ids is None else self.track_ids[index],
            data={name: _rows_of(values, index) for name, values in self.data.items()},
        )

    def encoded(self) -> Detections:
        """Return the same with run-length encoded masks, which take a thousandth of the memory."""
        if self.masks is None or isinstance(self.masks, EncodedMasks):
            return self
        return replace(self, masks=EncodedMasks.encode(self.masks))

    def indexed(self, classes: Sequence[str] | Mapping[str, int]) -> Detections:
        """Return the same with class ids that are indices into classes, or the values of a mapping from labels.

        Raises:
            BadInput: a label is not among the classes.
        """
        return replace(self, class_ids=label_ids(self.labels, classes))

    def to_supervision(self) -> supervision.Detections:
        """Return supervision.Detections with the same class ids; the labels are data["class_name"]."""
        quiet_supervision()
        import supervision

        return supervision.Detections(
            xyxy=self.xyxy.copy(),
            mask=None if self.masks is None else np.asarray(self.masks),
            confidence=self.scores.copy(),
            class_id=self.class_ids.astype(int),
            data={"class_name": np.array(self.labels, dtype=str)},
        )

    def without(self, row: int) -> Detections:
        """Return all rows but one.

        Raises:
            BadInput: there is no such row.
        """
        if not 0 <= row < len(self):
            raise BadInput(f"there is no detection {row}; there are {len(self)}, counted from 0")
        return self.take([each for each in range(len(self)) if each != row])

    def with_mask(self, mask: NDArray[np.bool_], label: str, score: float) -> Detections:
        """Append a detection that a person labeled; its box is the mask's own, and its entries of data are blank.

        Args:
            mask: (H, W) bool at the image's size.
            label: The label.
            score: The mask's score in 0 to 1; the detector score is 1.

        Raises:
            BadInput: the mask is empty or has another size than the others, the label is blank, the score is
                outside 0 to 1, or these detections have no masks.
        """
        check_array("mask", mask, np.bool_, (None, None))
        box = mask_box(mask)
        if box is None:
            raise BadInput("the mask is empty; mark the object that is labeled")
        if not label.strip():
            raise BadInput("the detection has no label; name it")
        if len(self) and self.masks is None:
            raise BadInput("these detections have no masks; segment them first, with Pipeline.segment")
        if len(self) and self.masks is not None and self.masks.shape[1:] != mask.shape:
            raise BadInput(f"the mask must have the size of the others, got {mask.shape}")
        scores = np.array([score], np.float32)
        one = Detections(np.array([box], np.float32), scores, (label,), np.ones(1, np.float32), scores, mask[None])
        if not len(self):
            return one
        known = dict(zip(self.labels, self.class_ids.tolist(), strict=True))
        class_id = known.get(label, int(self.class_ids.max()) + 1)
        blank = {name: (type(values[0])(),) for name, values in self.data.items()}
        return self + replace(one, class_ids=np.array([class_id], np.int64), data=blank)

    def _one(self, row: int) -> Detection:
        left, top, right, bottom = (shortest(edge) for edge in self.xyxy[row])
        masks = self.masks
        return Detection(
            self.labels[row],
            int(self.class_ids[row]),
            shortest(self.scores[row]),
            shortest(self.detector_scores[row]),
            None if self.mask_scores is None else shortest(self.mask_scores[row]),
            (left, top, right, bottom),
            masks.rle(row) if isinstance(masks, EncodedMasks) else None if masks is None else masks[row],
            None if self.track_ids is None else int(self.track_ids[row]),
            {name: values[row] for name, values in self.data.items()},
        )


def label_ids(labels: Sequence[str], classes: Sequence[str] | Mapping[str, int]) -> NDArray[np.int64]:
    """Return the (N,) indices of labels in classes, or their values in a mapping.

    Raises:
        BadInput: a label is not among the classes.
    """
    places = classes if isinstance(classes, Mapping) else {label: place for place, label in enumerate(classes)}
    for label in labels:
        if label not in places:
            raise BadInput(f"the label {label!r} is not among the {counted(len(places), 'class', 'classes')}; add it")
    return np.array([places[label] for label in labels], np.int64)


def _rows_of(values: Any, index: NDArray[np.intp]) -> Any:
    return values[index] if isinstance(values, np.ndarray) else type(values)(values[row] for row in index)


def _equal(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return one is other
    if isinstance(one, EncodedMasks) and isinstance(other, EncodedMasks):
        return one == other
    return np.array_equal(np.asarray(one), np.asarray(other))


def _concatenated(one: Detections, other: Detections) -> Detections:
    pairs = {"masks": (one.masks, other.masks), "track_ids": (one.track_ids, other.track_ids)}
    for name, (first, second) in pairs.items():
        if (first is None) != (second is None):
            raise BadInput(f"only one side has {name}; give both or neither")
    if one.data.keys() != other.data.keys():
        raise BadInput(f"data has {sorted(one.data)} on one side and {sorted(other.data)} on the other")

    def joined(name: str) -> Any:
        first, second = getattr(one, name), getattr(other, name)
        return None if first is None else np.concatenate([np.asarray(first), np.asarray(second)])

    masks = joined("masks")
    if isinstance(one.masks, EncodedMasks):
        masks = EncodedMasks.encode(masks)
    return Detections(
        joined("xyxy"),
        joined("scores"),
        (*one.labels, *other.labels),
        joined("detector_scores"),
        joined("mask_scores"),
        masks,
        class_ids=joined("class_ids"),
        track_ids=joined("track_ids"),
        data={name: _chained(one.data[name], other.data[name]) for name in one.data},
    )


def _chained(first: Any, second: Any) -> Any:
    """Return the values of both, of the kind of the first."""
    if isinstance(first, np.ndarray):
        return np.concatenate([first, second])
    return type(first)([*first, *np.asarray(second).tolist()])
