"""Data sets of images with annotated boxes, and the faults of annotations, counted by kind."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput, OpenVocabWarning, counted
from openvocab.evaluate.data.labeled import map_labels
from openvocab.evaluate.data.queries import QuerySet, names_of, query_set
from openvocab.evaluate.data.safe_read import MAX_COORDINATE
from openvocab.prompts.prompt import Prompt

__all__ = ["AnnotatedImage", "AnnotatedSet", "Faults", "clip_box", "require_objects"]


@dataclass(frozen=True, eq=False, slots=True)
class AnnotatedImage:
    """One image with N annotated objects.

    Attributes:
        path: Path of the image.
        height: Height in pixels, from the annotation or else from the file.
        width: Width in pixels.
        xyxy: (N, 4) float64 left, top, right, bottom in pixels, half-open.
        class_ids: (N,) int64 indices of labels.
        crowd: (N,) bool: a group of objects, or an object marked difficult; neither counts as missed.
        areas: (N,) float64 areas in pixels; None if the annotations have none.
        masks: N masks as COCO run-length encoding, {"size": [height, width], "counts": bytes}; None if the data have
            boxes only.
        checked_labels: (K,) int64 indices of the labels that were annotated in the image; boxes of other labels are
            ignored. None if all were.
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

    Attributes:
        source: The path as given.
        labels: C labels.
        images: The images in a stable order.
        faults: Kind of fault -> number of annotations or images that were left out or changed.
        label_source: Where annotations were read from, for messages.
        own_labels: Whether each image is queried with its checked_labels alone; else with all labels.
        annotators: The same images as other annotators annotated them.
        queries: What models are asked for where it says more than the labels do.
    """

    source: str
    labels: tuple[str, ...]
    images: tuple[AnnotatedImage, ...]
    faults: Mapping[str, int]
    label_source: str = "its annotations"
    own_labels: bool = False
    annotators: tuple[tuple[AnnotatedImage, ...], ...] = ()
    queries: QuerySet | None = None

    def with_labels(
        self, vocabulary: Sequence[str] | QuerySet | None = None, names: Mapping[str, str] | None = None
    ) -> AnnotatedSet:
        """Return the data set with renamed labels and another vocabulary; see LabeledSet.with_labels.

        Raises:
            BadInput: names has a label that the data do not have, or the vocabulary lacks one; the message names it.
        """
        wanted, index_of = map_labels(self.source, self.labels, names_of(vocabulary), names)
        new = np.array(index_of, np.int64)

        def renamed(images: Sequence[AnnotatedImage]) -> tuple[AnnotatedImage, ...]:
            checked = [None if one.checked_labels is None else np.unique(new[one.checked_labels]) for one in images]
            pairs = zip(images, checked, strict=True)
            return tuple(replace(one, class_ids=new[one.class_ids], checked_labels=known) for one, known in pairs)

        others = tuple(map(renamed, self.annotators))
        queries = query_set(vocabulary)
        return replace(self, labels=wanted, images=renamed(self.images), annotators=others, queries=queries)

    def query(self, rows: Sequence[int] | NDArray[np.int64] | None = None) -> Sequence[str] | QuerySet:
        """Return what models are asked for: everything, or the labels with those indices.

        Raises:
            BadInput: some labels of a Prompt are wanted.
        """
        if rows is None:
            return self.queries or self.labels
        labels = [self.labels[row] for row in rows]
        if isinstance(self.queries, Prompt):
            raise BadInput(f"{self.source!r} has its own labels for each image, and a prompt has none; give labels")
        return labels if self.queries is None else self.queries.only(*labels)

    def first(self, count: int | None) -> AnnotatedSet:
        """Return the first images; all for None."""
        return replace(self, images=self.images[:count], annotators=tuple(each[:count] for each in self.annotators))


def require_objects(data: AnnotatedSet) -> AnnotatedSet:
    """Return the data set.

    Raises:
        BadInput: no image has an object that counts, so every metric would be undefined.
    """
    if all(one.crowd.all() for one in data.images):
        message = (
            f"{data.source!r} has no object in its {counted(len(data.images), 'image')}, so nothing can be measured"
        )
        raise BadInput(f"{message}; labels were read from {data.label_source}; check the path and the annotations")
    return data


@dataclass(slots=True)
class Faults:
    """Counts faults of annotations that are left out or changed, for one warning per kind.

    Attributes:
        counts: Kind of fault -> how many.
        first: Kind of fault -> where its first one is.
    """

    counts: dict[str, int] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, where: str) -> None:
        """Count a fault; where is the file, with the line or the id of the annotation."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.first.setdefault(kind, where)

    def warn(self) -> None:
        """Warn of each kind, with its count and where its first one is."""
        for kind, count in self.counts.items():
            warnings.warn(f"{kind}: {count}, the first in {self.first[kind]}", OpenVocabWarning, stacklevel=3)


def clip_box(
    box: Sequence[float], height: int, width: int, where: str, faults: Faults
) -> tuple[float, float, float, float] | None:
    """Return a box clipped to its image; None if nothing is left.

    Args:
        box: Left, top, right, bottom in pixels, half-open.
        height, width: Size of the image in pixels.
        where: Where the box is, for messages.
        faults: Counts what is wrong with the box.

    Raises:
        BadInput: an edge is not finite, or too far away.
    """
    left, top, right, bottom = (float(edge) for edge in box)
    if not np.isfinite([left, top, right, bottom]).all():
        raise BadInput(f"{where} has a box with an edge that is not a number; correct it")
    if max(map(abs, (left, top, right, bottom))) > MAX_COORDINATE:
        raise BadInput(f"{where} has a box with an edge over {MAX_COORDINATE:.0f} pixels away; correct it")
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
