"""Figures that say how good an answer is: arithmetic on arrays, without a model."""

from __future__ import annotations

from openvocab.evaluate.bootstrap import Estimate
from openvocab.evaluate.chain import ChainFigures, Fates, chain_figures, fates
from openvocab.evaluate.classification import Classification, classify
from openvocab.evaluate.detection import AveragePrecision, Found, MeanIoU, Truth, average_precision, mean_iou
from openvocab.evaluate.multi_label import MultiLabel, classify_multi_label
from openvocab.evaluate.retrieval import Retrieval, retrieve
from openvocab.evaluate.segmentation import Cut, cut_figures, semantic_iou

__all__ = [
    "AveragePrecision",
    "ChainFigures",
    "Classification",
    "Cut",
    "Estimate",
    "Fates",
    "Found",
    "MeanIoU",
    "MultiLabel",
    "Retrieval",
    "Truth",
    "average_precision",
    "chain_figures",
    "classify",
    "classify_multi_label",
    "cut_figures",
    "fates",
    "mean_iou",
    "retrieve",
    "semantic_iou",
]
