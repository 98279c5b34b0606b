"""From a pipeline and annotated images to arrays that are measured: the chain, and its stages put right in turn."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

import openvocab
from openvocab.errors import BadInput
from openvocab.evaluate.data.annotated import Annotated, AnnotatedSet, require_objects
from openvocab.evaluate.detection import Found, Truth
from openvocab.evaluate.scoring import Watch, decoded_ahead
from openvocab.images.items import Item
from openvocab.images.read import Decoded
from openvocab.pipeline.chain import detect, segment, tag
from openvocab.pipeline.detections import Detections
from openvocab.pipeline.masks import encode_mask
from openvocab.pipeline.pipeline import Pipeline
from openvocab.pipeline.protocols import ImageArray, Segmenter, Vocabulary
from openvocab.pipeline.result import RunRecord

__all__ = ["Chained", "run_chain", "run_segmenter"]


@dataclass(frozen=True, eq=False, slots=True)
class Chained:
    """What the chain says of P images, and what is there. Masks are run-length codes.

    names     P paths.
    labels    C labels.
    record    the models, templates and settings.
    truth     P annotations; masks only where the data have them.
    found     P answers of the chain; None where there is no detector.
    told      P answers with the true labels of each image in place of its tags; None without a tagger.
    cut       P answers with the true boxes in place of those found, one for each thing; None without a segmenter or
              without true masks.
    scores    (P, C) float32 scores of tags; None without a tagger.
    asked     (P, C) bool, whether the label was looked for (see Settings.gate); None without a tagger.
    unread    path and reason of each image that could not be read; it is in no figure.
    resized   paths of images of another size than their annotation says; they are in no figure.
    digest    sha256 of all images' bytes, boxes, labels and masks, in order.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    record: RunRecord
    truth: tuple[Truth, ...]
    found: tuple[Found, ...] | None
    told: tuple[Found, ...] | None
    cut: tuple[Found, ...] | None
    scores: NDArray[np.float32] | None
    asked: NDArray[np.bool_] | None
    unread: tuple[tuple[str, str], ...]
    resized: tuple[str, ...]
    digest: str

    @property
    def masked(self) -> bool:
        """Whether there are masks on both sides."""
        found = self.found or self.cut or ()
        return all(one.masks is not None for one in self.truth) and all(one.masks is not None for one in found)


def run_chain(pipe: Pipeline, data: AnnotatedSet, *, watch: Watch = lambda each: each) -> Chained:
    """Run the chain over a set, and again with what a stage gets from the one before it put right.

    Args:
        pipe: it has a detector; without a tagger all labels are looked for.
        watch: wraps the images as they pass, such as in a progress bar.

    Raises:
        BadInput: there is no detector, no image can be measured, or none of those that can has an object.
        BadOutput: a model's answer is not finite.
    """
    if pipe.detector is None:
        raise BadInput("this pipeline has no detector, and the chain needs one; load one with detector=SPEC")
    vocabulary = pipe.vocabulary(data.labels)
    return _run(_Stages(pipe, vocabulary, pipe.segmenter), data, pipe.record(vocabulary), watch)


def run_segmenter(segmenter: Segmenter[Any], data: AnnotatedSet, *, watch: Watch = lambda each: each) -> Chained:
    """Cut out what lies in the true boxes of a set; see run_chain."""
    record = RunRecord(openvocab.__version__, None, None, segmenter.record, (), "", "")
    return _run(_Stages(None, None, segmenter), data, record, watch)


@dataclass(frozen=True, slots=True)
class _Answer:
    """One image: see Chained."""

    name: str
    truth: Truth
    found: Found | None
    told: Found | None
    cut: Found | None
    scores: NDArray[np.float32] | None
    asked: NDArray[np.bool_] | None


@dataclass(frozen=True, slots=True)
class _Stages:
    """What runs: a pipeline with a detector and its vocabulary, or a segmenter alone."""

    pipe: Pipeline | None
    vocabulary: Vocabulary | None
    segmenter: Segmenter[Any] | None

    @property
    def batch(self) -> int:
        return self.pipe.settings.batch_size if self.pipe else 1

    def answers(self, some: Sequence[tuple[Annotated, ImageArray]], labels: Sequence[str]) -> Iterator[_Answer]:
        """Answer some images, which the tagger sees at once."""
        scores: list[Any] = [None] * len(some)
        if self.pipe and self.vocabulary and self.pipe.tagger:
            scores = list(self.pipe.tag_scores([pixels for _, pixels in some], self.vocabulary))
        for (one, pixels), row in zip(some, scores, strict=True):
            yield self._answer(one, pixels, labels, row)

    def _answer(
        self, one: Annotated, pixels: ImageArray, labels: Sequence[str], scores: NDArray[np.float32] | None
    ) -> _Answer:
        encoded = self.segmenter.encode(pixels) if self.segmenter else None
        cut = self._cut(one, encoded) if self.segmenter and one.masks is not None else None
        if self.pipe is None or self.vocabulary is None:
            return _Answer(one.path, _truth(one), None, None, cut, None, None)
        if scores is None:
            found = self._detections(self.pipe, self.vocabulary, pixels, None, encoded)
            return _Answer(one.path, _truth(one), _found(found, labels, one.looked_for), None, cut, None, None)
        rows = tag(self.pipe, scores, self.vocabulary.labels).wanted
        present = np.unique(one.label_index)
        found = self._detections(self.pipe, self.vocabulary, pixels, rows, encoded)
        told = found  # where the true labels were looked for, the answer is the same
        if not np.array_equal(np.sort(rows), present):
            told = self._detections(self.pipe, self.vocabulary, pixels, present, encoded)
        asked = np.isin(np.arange(len(labels)), rows)
        own, oracle = (_found(each, labels, one.looked_for) for each in (found, told))
        return _Answer(one.path, _truth(one), own, oracle, cut, scores, asked)

    def _detections(
        self, pipe: Pipeline, vocabulary: Vocabulary, pixels: ImageArray, rows: NDArray[np.intp] | None, encoded: Any
    ) -> Detections:
        """Return the detections of those labels, or of all, with masks where there is a segmenter."""
        wanted = None if rows is None else [vocabulary.labels[row] for row in rows]
        return segment(pipe, pixels, detect(pipe, [pixels], vocabulary, wanted)[0], encoded)

    def _cut(self, one: Annotated, encoded: Any) -> Found:
        """Return masks from the true boxes."""
        if not len(one.xyxy) or self.segmenter is None:
            return Found(one.xyxy, np.zeros(0, np.float32), one.label_index, ())
        masks, sure = self.segmenter.masks(encoded, one.xyxy.astype(np.float32))
        return Found(one.xyxy, sure, one.label_index, _codes(masks))


def _run(stages: _Stages, data: AnnotatedSet, record: RunRecord, watch: Watch) -> Chained:
    seen: list[_Answer] = []
    unread, resized, digest = list[tuple[str, str]](), list[str](), hashlib.sha256()
    measured = list[Annotated]()
    passing = iter(watch(_decoded(data.images, stages.batch)))
    while some := list(islice(passing, stages.batch)):
        unread += [(one.path, str(made)) for one, made in some if isinstance(made, Exception)]
        good = [(one, made) for one, made in some if isinstance(made, Decoded)]
        for one, made in good:
            digest.update(f"{made.sha256} {_plain(one, data.labels)}\n".encode())
        same = [(one, made.pixels) for one, made in good if (made.height, made.width) == (one.height, one.width)]
        resized += [one.path for one, made in good if (made.height, made.width) != (one.height, one.width)]
        seen += stages.answers(same, data.labels)
        measured += [one for one, _ in same]
    if not seen:
        why = unread[0][1] if unread else "none has the size that its annotation says" if resized else "it lists none"
        raise BadInput(f"no image of {data.source!r} can be measured: {why}")
    require_objects(replace(data, images=tuple(measured)))
    return Chained(
        tuple(each.name for each in seen),
        data.labels,
        record,
        tuple(each.truth for each in seen),
        _every([each.found for each in seen]),
        _every([each.told for each in seen]),
        _every([each.cut for each in seen]),
        None if seen[0].scores is None else np.stack([each.scores for each in seen if each.scores is not None]),
        None if seen[0].asked is None else np.stack([each.asked for each in seen if each.asked is not None]),
        tuple(unread),
        tuple(resized),
        digest.hexdigest(),
    )


def _every(some: Sequence[Found | None]) -> tuple[Found, ...] | None:
    """Return all, or None where one is lacking."""
    made = tuple(each for each in some if each is not None)
    return made if len(made) == len(some) else None


def _decoded(images: Sequence[Annotated], batch: int) -> Iterator[tuple[Annotated, Decoded | Exception]]:
    items = (Item(one.path, one.path, listed=True) for one in images)
    for one, (_, made) in zip(images, decoded_ahead(items, batch), strict=True):
        yield one, made


def _plain(one: Annotated, labels: Sequence[str]) -> list[object]:
    codes = [each["counts"] for each in one.masks or ()]
    return [one.xyxy.tolist(), [labels[row] for row in one.label_index], one.crowd.tolist(), codes]


def _truth(one: Annotated) -> Truth:
    return Truth(one.height, one.width, one.xyxy, one.label_index, one.crowd, one.masks, one.areas)


def _found(detections: Detections, labels: Sequence[str], looked_for: NDArray[np.int64] | None) -> Found:
    """Return the detections of an image, those of labels that nobody looked for in it left out."""
    place = {label: row for row, label in enumerate(labels)}
    index = np.array([place[label] for label in detections.labels], np.int64)
    kept = np.ones(len(index), bool) if looked_for is None else np.isin(index, looked_for)
    masks = None if detections.masks is None else _codes(np.asarray(detections.masks)[kept])
    return Found(detections.xyxy[kept], detections.scores[kept], index[kept], masks)


def _codes(masks: NDArray[np.bool_]) -> tuple[dict[str, Any], ...]:
    """Return (N, H, W) masks as run-length codes."""
    return tuple(map(encode_mask, masks))
