"""Fake stages: a tagger, a detector and a segmenter that need no weights, for testing code that uses openvocab.

    from openvocab import Pipeline
    from openvocab.testing import FakeDetector, FakeSegmenter, FakeTagger

    pipe = Pipeline(FakeTagger(), FakeDetector(), FakeSegmenter())
    result = pipe(image, ["cat", "dog"])

Answers depend on the image's pixels and on the labels alone: the same input gives the same answer in every process.
A stage made with answers gives those instead. Each stage records the size of every call in `calls`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from openvocab.pipeline.protocols import Boxes, ImageArray, Queries, TextEmbeddings
from openvocab.pipeline.result import ModelRecord
from openvocab.pipeline.scores import sigmoid, softmax
from openvocab.prompts.templates import PromptSet, prompt_set

__all__ = ["FakeDetector", "FakeSegmenter", "FakeTagger"]

Floats = NDArray[np.float32]


def _record(name: str) -> ModelRecord:
    return ModelRecord(f"fake:{name}", hashlib.sha256(name.encode()).hexdigest(), "cpu", "float32")


@dataclass(frozen=True)
class FakeTagger:
    """A tagger that scores labels by the mean color of an image.

    Each label has a direction in the space of colors, derived from its spelling. `score` is the sigmoid of the cosine
    between it and the image's mean color, so scores lie between 0.5 and 0.74.

    Attributes:
        label_scores: The score of each label on every image; labels that are not listed get 0. None scores by color.
        independent: Whether scores are independent of each other. False applies a softmax over the vocabulary.
        preparation: The description that decides, with the record, whether cached features are reused.
        record: The model's record.
        calls: The number of images of each call of encode_images, in order.
    """

    label_scores: Mapping[str, float] | None = None
    independent: bool = True
    preparation: str = "mean color"
    record: ModelRecord = _record("tagger")
    calls: list[int] = field(default_factory=list)

    def encode_labels(self, labels: Sequence[str], prompts: PromptSet | None = None) -> TextEmbeddings:
        """Return (C, 4) float32 embeddings, one unit vector per label."""
        digests = (hashlib.blake2b(label.encode("utf-8", "surrogatepass"), digest_size=4).digest() for label in labels)
        rows = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 4).astype(np.float32) + 1
        return TextEmbeddings(tuple(labels), prompts or prompt_set(), _unit(rows))

    def encode_images(self, images: Sequence[ImageArray]) -> Floats:
        """Return (P, 4) float32 unit vectors: the direction of each image's mean color."""
        self.calls.append(len(images))
        rows = [[*image.mean((0, 1)), 10.0] for image in images]
        return _unit(np.array(rows, np.float32).reshape(-1, 4))

    def logits(self, features: Floats, vocabulary: TextEmbeddings) -> Floats:
        """Return (P, C) float32 logits for (P, 4) features: cosines, or the log-odds of label_scores."""
        if self.label_scores is None:
            # not a matrix product, whose rounding depends on the batch size
            return np.asarray(np.einsum("pd,cd->pc", features, vocabulary.embeddings), np.float32)
        scores = self.scores(features, vocabulary)
        with np.errstate(divide="ignore"):
            return np.log(scores) - np.log1p(-scores)

    def scores(self, features: Floats, vocabulary: TextEmbeddings) -> Floats:
        """Return (P, C) float32 scores in 0 to 1 for (P, 4) features."""
        if self.label_scores is not None:
            row = np.array([self.label_scores.get(label, 0.0) for label in vocabulary.labels], np.float32)
            return np.tile(row, (len(features), 1))
        logits = self.logits(features, vocabulary)
        return sigmoid(logits) if self.independent else softmax(logits)

    def score(self, images: Sequence[ImageArray], vocabulary: TextEmbeddings | Sequence[str]) -> Floats:
        """Return (P, C) float32 scores in 0 to 1 of P images for C labels."""
        known = vocabulary if isinstance(vocabulary, TextEmbeddings) else self.encode_labels(vocabulary)
        return self.scores(self.encode_images(images), known)


@dataclass(frozen=True)
class FakeDetector:
    """A detector that finds the first label of the queries in the upper left quarter, scored by brightness.

    Attributes:
        boxes: The detections on every image instead: rows of (label, score, left, top, right, bottom), in pixels.
        record: The model's record.
        calls: The number of images of each call of detect, in order.
    """

    boxes: Sequence[tuple[str, float, float, float, float, float]] | None = None
    record: ModelRecord = _record("detector")
    calls: list[int] = field(default_factory=list)

    def encode_labels(self, labels: Sequence[str], template: str | None = None) -> Queries:
        """Return the labels as queries; the embeddings are their indices."""
        return Queries(tuple(labels), template or "{label}", np.arange(len(labels)))

    def detect(self, images: Sequence[ImageArray], queries: Queries, threshold: float) -> list[Boxes]:
        """Return one Boxes per image: those that score at least the threshold, best first."""
        self.calls.append(len(images))
        return [self._detect(image, queries.labels, threshold) for image in images]

    def _detect(self, image: ImageArray, labels: Sequence[str], threshold: float) -> Boxes:
        height, width = image.shape[:2]
        rows = self.boxes
        if rows is None:
            rows = [(label, image.mean() / 255, 0, 0, width / 2, height / 2) for label in labels[:1]]
        known = sorted((row for row in rows if row[0] in labels and row[1] >= threshold), key=lambda row: -row[1])
        xyxy = np.array([row[2:] for row in known], np.float32).reshape(-1, 4)
        index = np.array([labels.index(row[0]) for row in known], np.int64)
        return Boxes(xyxy, np.array([row[1] for row in known], np.float32), index)


@dataclass(frozen=True)
class FakeSegmenter:
    """A segmenter that fills each box; the mask's score falls from 1 at the image's left edge to 0.5 at the right.

    Attributes:
        record: The model's record.
        encoded: The height and width of each image that was encoded, in order.
        calls: The number of boxes of each call of masks, in order.
    """

    record: ModelRecord = _record("segmenter")
    encoded: list[tuple[int, int]] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)

    def encode(self, image: ImageArray) -> tuple[int, int]:
        """Return the image's height and width."""
        self.encoded.append((image.shape[0], image.shape[1]))
        return self.encoded[-1]

    def masks(self, encoded: tuple[int, int], xyxy: Floats) -> tuple[NDArray[np.bool_], Floats]:
        """Return (N, H, W) masks and (N,) scores for (N, 4) boxes in pixels."""
        self.calls.append(len(xyxy))
        masks = np.zeros((len(xyxy), *encoded), np.bool_)
        for mask, (left, top, right, bottom) in zip(masks, xyxy.astype(int), strict=True):
            mask[top:bottom, left:right] = True
        return masks, np.asarray(1 - xyxy[:, 0] / (2 * encoded[1]), np.float32)


def _unit(rows: Floats) -> Floats:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)
