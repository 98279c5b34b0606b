"""A set of images with boxes around what is in them, and the faults of annotations, counted by kind."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput, OpenVocabWarning
from openvocab.evaluate.data.labeled import map_labels
from openvocab.evaluate.data.safe_read import MAX_COORDINATE

__all__ = ["AnnotatedImage", "AnnotatedSet", "Faults", "clip_box", "require_objects"]


@dataclass(frozen=True, eq=False, slots=True)
class AnnotatedImage:
    """One image with N annotated things.

    path           where the image lies.
    height, width  pixels, as the annotation or else the file says.
    xyxy           (N, 4) float64 left, top, right, bottom in pixels, half-open.
    class_ids    (N,) int64 indices of labels.
    crowd          (N,) bool: a detection of many, or a thing that is marked difficult; neither counts as missed.
    areas          (N,) float64 pixels, where the annotation says them; else None.
    masks          the pixels of each of the N things as COCO's packed runs, {"size": [height, width], "counts": bytes};
                   None where the data have boxes only.
    checked_labels     (K,) int64 indices of the labels that somebody looked for in the image: a box of another one is
                   neither right nor wrong. None where all were looked for.
    """

    path: str
    height: int
    width: int
    xyxy: NDArray[np.float64]
    class_ids: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    areas: NDArray[np.float64] | None = None
    masks: tuple[dict[str, Any], ...] | None = None
    checked_labels: NDArray[np.int64] | None = None


@dataclass(frozen=True, eq=False, slots=True)
class AnnotatedSet:
    """Images with boxes.

    source    the path as given.
    labels    C labels.
    images  in a stable order.
    faults    kind of fault -> how many annotations or images it cost.
    label_source  where the annotations were looked for, as a message says it.
    """

    source: str
    labels: tuple[str, ...]
    images: tuple[AnnotatedImage, ...]
    faults: Mapping[str, int]
    label_source: str = "its annotations"

    def with_labels(
        self, vocabulary: Sequence[str] | None = None, names: Mapping[str, str] | None = None
    ) -> AnnotatedSet:
        """Return the set with its labels under other names and among other labels; see LabeledSet.with_labels.

        Raises:
            BadInput: names has a label that is not in the set, or the vocabulary lacks one; the message says which.
        """
        wanted, place = map_labels(self.source, self.labels, vocabulary, names)
        new = np.array(place, np.int64)
        moved = []
        for one in self.images:
            known = None if one.checked_labels is None else np.unique(new[one.checked_labels])
            moved.append(replace(one, class_ids=new[one.class_ids], checked_labels=known))
        return replace(self, labels=wanted, images=tuple(moved))


def require_objects(data: AnnotatedSet) -> AnnotatedSet:
    """Return the set.

    Raises:
        BadInput: no image has an object that can be found or missed, so that every figure would be empty.
    """
    if all(one.crowd.all() for one in data.images):
        said = f"{data.source!r} has no object in its {len(data.images)} images, so that nothing can be measured"
        raise BadInput(f"{said}; they were looked for in {data.label_source}; check the path and the annotations")
    return data


@dataclass(slots=True)
class Faults:
    """Counts what is wrong with annotations that are left out or mended, to tell it in one warning for each kind."""

    counts: dict[str, int] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, where: str) -> None:
        """Count a fault; where is the file, with its line or the number of the annotation."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.first.setdefault(kind, where)

    def tell(self) -> None:
        """Warn of each kind, with its count and the place of its first."""
        for kind, count in self.counts.items():
            warnings.warn(f"{kind}: {count}, the first in {self.first[kind]}", OpenVocabWarning, stacklevel=3)


def clip_box(
    box: Sequence[float], height: int, width: int, where: str, faults: Faults
) -> tuple[float, float, float, float] | None:
    """Return a box clipped to its image; None where nothing of it is left.

    Args:
        box: left, top, right, bottom in pixels, half-open.
        where: what a fault calls its place.

    Raises:
        BadInput: an edge is not finite, or too far away.
    """
    left, top, right, bottom = (float(edge) for edge in box)
    if not np.isfinite([left, top, right, bottom]).all():
        raise BadInput(f"{where} has a box with an edge that is no number; mend it")
    if max(map(abs, (left, top, right, bottom))) > MAX_COORDINATE:
        raise BadInput(f"{where} has a box with an edge over {MAX_COORDINATE:.0f} pixels away; mend it")
    if right <= left or bottom <= top:
        faults.add("boxes of no width or height, left out", where)
        return None
    clipped = max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height))
    if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
        faults.add("boxes outside their image, left out", where)
        return None
    if max(abs(one - other) for one, other in zip(clipped, (left, top, right, bottom), strict=True)) > 0:
        faults.add("boxes partly outside their image, clipped", where)
    return clipped
