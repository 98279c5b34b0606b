"""The presence of labels in annotated images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openvocab.evaluate.data.annotated import AnnotatedImage, AnnotatedSet
from openvocab.evaluate.metrics.presence import PresencePairs
from openvocab.evaluate.runs.detector import AnnotatedReader
from openvocab.evaluate.runs.images import Progress, no_progress
from openvocab.pipeline.pipeline import Pipeline
from openvocab.pipeline.protocols import ImageArray, Vocabulary
from openvocab.pipeline.result import RunRecord

__all__ = ["PresenceRun", "run_presence"]


@dataclass(frozen=True, eq=False, slots=True)
class PresenceRun:
    """The presence of labels in P images.

    Attributes:
        names: P paths.
        labels: C labels.
        record: The models, templates and settings.
        pairs: The pairs of image and label whose truth is known.
        unread: Path and error of each image that could not be read; it is in no metric.
        digest: sha256 over all images' bytes, boxes and labels, in order; it identifies the data.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    record: RunRecord
    pairs: PresencePairs
    unread: tuple[tuple[str, str], ...]
    digest: str


def run_presence(pipe: Pipeline, data: AnnotatedSet, *, progress: Progress = no_progress) -> PresenceRun:
    """Return the presence of the labels in each image.

    A label that was not annotated in an image is not a pair, and neither is one that has a crowd there and no object,
    because whether it is present is not known.

    Args:
        pipe: A pipeline.
        data: The data set.
        progress: Wraps the images, for example in a progress bar.

    Raises:
        BadInput: No image could be read.
        BadOutput: A model's output is not finite.
    """
    pipe = Pipeline(pipe.tagger, pipe.detector, None, pipe.settings)  # masks say nothing of presence
    reader = AnnotatedReader(data, pipe.settings.batch_size)
    whole = None if data.own_labels else pipe.vocabulary(data.query())
    names, parts, record = list[str](), list[PresencePairs](), None
    for readable in reader.batches(progress):
        for one, made in readable:
            rows = _rows(one, len(data.labels))
            if not len(rows):
                continue
            asked = rows if whole is None else np.arange(len(data.labels))
            vocabulary = whole or pipe.vocabulary(data.query(asked))
            record = record or pipe.record(vocabulary)
            probabilities = _probabilities(pipe, made.pixels, vocabulary)[np.isin(asked, rows)]
            image_ids = np.full(len(rows), len(names), np.int64)
            parts.append(PresencePairs(probabilities, np.isin(rows, one.class_ids), image_ids, rows))
            names.append(one.path)
    if record is None:
        raise reader.nothing_measured()
    fields = ("probabilities", "present", "image_ids", "label_ids")
    pairs = PresencePairs(*(np.concatenate([getattr(each, name) for each in parts]) for name in fields))
    return PresenceRun(tuple(names), data.labels, record, pairs, tuple(reader.unread), reader.digest.hexdigest())


def _rows(one: AnnotatedImage, labels: int) -> NDArray[np.int64]:
    """Return the indices of the labels whose presence is known, ascending."""
    rows = np.arange(labels) if one.checked_labels is None else np.unique(one.checked_labels)
    sure, crowds = np.unique(one.class_ids[~one.crowd]), np.unique(one.class_ids[one.crowd])
    return rows[~np.isin(rows, np.setdiff1d(crowds, sure))]


def _probabilities(pipe: Pipeline, pixels: ImageArray, vocabulary: Vocabulary) -> NDArray[np.float64]:
    """Return the (C,) presence of the labels; where the pipeline states none, the best score of tag and boxes."""
    result = pipe(pixels, vocabulary)
    if len(result.presence):
        return result.presence.probabilities.astype(np.float64)
    made = dict.fromkeys(vocabulary.labels, 0.0)
    scored = [*((tag.label, tag.score) for tag in result.tags)]
    scored += zip(result.detections.labels, result.detections.scores.tolist(), strict=True)
    for label, score in scored:
        made[label] = max(made[label], score)
    return np.array([*made.values()], np.float64)
