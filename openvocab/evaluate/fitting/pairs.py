"""Scored pairs of image and label: what thresholds and calibration are fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from openvocab.evaluate.metrics.detection import GroundTruth
from openvocab.evaluate.metrics.error_types import DETECTION_ERRORS, image_errors
from openvocab.pipeline.calibration import StageFit
from openvocab.pipeline.detections import Detections

__all__ = ["ASKED", "Pairs", "box_pairs", "f1_of", "reported", "tag_pairs"]

ASKED = "asked"
"""The entry of Detections.data with the class id that a box was detected with, where verification may give another."""


@dataclass(frozen=True, eq=False, slots=True)
class Pairs:
    """N scored answers for P images and C labels.

    Attributes:
        labels: C labels.
        image: (N,) int64, the image of each.
        label: (N,) int64 index of labels.
        score: (N,) float32, the model's own score.
        hit: (N,) bool, whether the answer is right.
        wanted: (P,) int64, how many right answers each image has; one without a pair is always missed.
    """

    labels: tuple[str, ...]
    image: NDArray[np.int64]
    label: NDArray[np.int64]
    score: NDArray[np.float32]
    hit: NDArray[np.bool_]
    wanted: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.score)

    def take(self, rows: NDArray[np.bool_]) -> Pairs:
        """Return the pairs of a (N,) mask, with all images."""
        columns = {name: getattr(self, name)[rows] for name in ("image", "label", "score", "hit")}
        return replace(self, **columns)

    def of_images(self, images: NDArray[np.int64]) -> Pairs:
        """Return the pairs of some images, which are counted anew in the order given; one may be given twice."""
        order = np.argsort(self.image, kind="stable")
        starts = np.searchsorted(self.image[order], [images, images + 1])
        sizes = starts[1] - starts[0]
        inside = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        rows = order[np.repeat(starts[0], sizes) + inside]
        places = np.repeat(np.arange(len(images)), sizes)
        return Pairs(self.labels, places, self.label[rows], self.score[rows], self.hit[rows], self.wanted[images])


def tag_pairs(
    labels: tuple[str, ...],
    scores: NDArray[np.float32],
    truth: NDArray[np.bool_],
    checked: NDArray[np.bool_] | None = None,
) -> Pairs:
    """Return the pairs of a tagger.

    Args:
        labels: C labels.
        scores: (P, C) the tagger's scores.
        truth: (P, C) whether the image has the label.
        checked: (P, C) whether that is known; None: of all.
    """
    known = np.ones(truth.shape, np.bool_) if checked is None else checked
    image, label = np.nonzero(known)
    return Pairs(labels, image, label, scores[known], truth[known], (truth & known).sum(axis=1))


def box_pairs(labels: tuple[str, ...], found: Sequence[Detections], truth: Sequence[GroundTruth]) -> Pairs:
    """Return the pairs of a detector: its boxes, each right if it is matched to an object; see metrics.error_types.

    Boxes on a crowd are left out, since they are neither right nor wrong. A box that verification relabeled is right by
    its new label, and counts for the one that it was detected with, whose threshold it must pass.

    Args:
        labels: C labels.
        found: The detections of P images over a low threshold, with class_ids into labels.
        truth: P annotations.
    """
    parts, correct = [], DETECTION_ERRORS.index("correct")
    for at, (one, errors) in enumerate(zip(found, image_errors(truth, found, labels), strict=True)):
        rows = np.flatnonzero(errors.detections >= 0)
        hits = errors.detections[rows] == correct
        asked = np.asarray(one.data.get(ASKED, one.class_ids), np.int64)
        parts.append((np.full(len(rows), at), asked[rows], one.detector_scores[rows], hits))
    image, label, score, hit = (np.concatenate(each) for each in zip(*parts, strict=True))
    wanted = [len(true.xyxy) - (0 if true.crowd is None else int(true.crowd.sum())) for true in truth]
    return Pairs(labels, image, label, score, hit, np.array(wanted, np.int64))


def reported(pairs: Pairs, fit: StageFit | None, threshold: float) -> NDArray[np.bool_]:
    """Return the (N,) answers over the threshold of their label; without a fit, over that threshold."""
    if fit is None:
        return np.asarray(pairs.score >= threshold)
    scores = fit.scores(pairs.score, pairs.labels, pairs.label)
    return np.asarray(scores >= fit.thresholds(pairs.labels, threshold)[pairs.label])


def f1_of(pairs: Pairs, kept: NDArray[np.bool_]) -> float:
    """Return F1 over all answers: 2 hits / (answers + wanted)."""
    total = int(kept.sum()) + int(pairs.wanted.sum())
    return 2 * int(pairs.hit[kept].sum()) / total if total else 0.0
