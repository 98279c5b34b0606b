"""1,203 labels, as many as LVIS has, through the OWLv2 adapter: every label is found where the truth says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from openvocab.models.detectors.owl_detector import Owlv2Detector
from openvocab.pipeline.protocols import Queries
from tests.tiny.owlv2 import write

COUNT = 1203
LABELS = [f"thing {row}" for row in range(COUNT)]
PLACES = 36


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Owlv2Detector:
    return Owlv2Detector.load(write(tmp_path_factory.mktemp("owlv2") / "model"), "cpu", "float32")


@pytest.fixture(scope="module")
def queries(detector: Owlv2Detector) -> Queries:
    return detector.encode_labels(LABELS, "{label}")


@pytest.mark.parametrize("first", range(0, COUNT, 200))
def test_every_place_has_the_label_that_it_shows(first: int, detector: Owlv2Detector, queries: Queries) -> None:
    """The head's class embeddings are set to those of known labels; the library's arithmetic does the rest."""
    truth = (np.arange(PLACES) * 31 + first) % COUNT
    shown = queries.embeddings[truth]
    image = np.random.default_rng(first).integers(0, 256, (48, 48, 3), np.uint8)
    with detector.model.class_head.dense0.register_forward_hook(lambda *_: shown[None]), torch.no_grad():
        boxes = detector.detect([image], queries, 0.0)[0]
        shares = detector.model.box_predictor(*_features(detector, image))[0].numpy() * 48
    corners = np.concatenate([shares[:, :2] - shares[:, 2:] / 2, shares[:, :2] + shares[:, 2:] / 2], 1).clip(0, 48)
    assert len(boxes.scores) == PLACES
    for xyxy, label in zip(boxes.xyxy, boxes.label_index, strict=True):
        assert label == truth[np.abs(corners - xyxy).max(1).argmin()]


def _features(detector: Owlv2Detector, image: Any) -> tuple[Any, Any]:
    given = detector.processor.image_processor(images=Image.fromarray(image), return_tensors="pt")
    grid = detector.model.image_embedder(pixel_values=given.pixel_values)[0]
    return grid.flatten(1, 2), grid


def test_labels_are_encoded_apart(queries: Queries) -> None:
    likeness = queries.embeddings @ queries.embeddings.T
    assert queries.labels == tuple(LABELS)
    assert likeness.argmax(1).tolist() == list(range(COUNT))


def test_many_labels_can_be_picked_from(detector: Owlv2Detector, queries: Queries) -> None:
    rows = [1202, 7, 600]
    alone = detector.encode_labels([LABELS[row] for row in rows], "{label}")
    np.testing.assert_allclose(queries.embeddings[rows], alone.embeddings, atol=1e-5)
