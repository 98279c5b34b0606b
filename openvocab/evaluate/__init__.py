"""Metrics for tags, boxes and masks: arithmetic on arrays, without a model."""

from __future__ import annotations

from openvocab.evaluate.metrics.bootstrap import Estimate
from openvocab.evaluate.metrics.classification import ClassificationMetrics, classification_metrics
from openvocab.evaluate.metrics.detection import AveragePrecision, GroundTruth, Predictions, average_precision
from openvocab.evaluate.metrics.error_types import ErrorCounts, ImageErrors, count_errors, image_errors
from openvocab.evaluate.metrics.multi_label import MultiLabelMetrics, multi_label_metrics
from openvocab.evaluate.metrics.retrieval import RetrievalMetrics, retrieval_metrics
from openvocab.evaluate.metrics.segmentation import MaskMetrics, MeanIoU, mask_metrics, mean_iou, semantic_iou

__all__ = [
    "AveragePrecision",
    "ClassificationMetrics",
    "ErrorCounts",
    "Estimate",
    "GroundTruth",
    "ImageErrors",
    "MaskMetrics",
    "MeanIoU",
    "MultiLabelMetrics",
    "Predictions",
    "RetrievalMetrics",
    "average_precision",
    "classification_metrics",
    "count_errors",
    "image_errors",
    "mask_metrics",
    "mean_iou",
    "multi_label_metrics",
    "retrieval_metrics",
    "semantic_iou",
]
