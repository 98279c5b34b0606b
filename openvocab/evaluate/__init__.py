"""Figures that say how good an answer is: arithmetic on arrays, without a model."""

from __future__ import annotations

from openvocab.evaluate.bootstrap import Estimate
from openvocab.evaluate.classification import Classification, classify
from openvocab.evaluate.detection import AveragePrecision, Found, MeanIoU, Truth, average_precision, mean_iou
from openvocab.evaluate.multi_label import MultiLabel, classify_multi_label
from openvocab.evaluate.retrieval import Retrieval, retrieve

__all__ = [
    "AveragePrecision",
    "Classification",
    "Estimate",
    "Found",
    "MeanIoU",
    "MultiLabel",
    "Retrieval",
    "Truth",
    "average_precision",
    "classify",
    "classify_multi_label",
    "mean_iou",
    "retrieve",
]
