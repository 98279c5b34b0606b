"""SAM 3 LiteText: boxes and masks are those of the library, and an old library is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

import openvocab
from openvocab.errors import MissingExtra
from openvocab.models.segmenters import sam3
from openvocab.models.segmenters.sam3 import Sam3Detector
from openvocab.pipeline.protocols import MaskDetector
from tests.tiny.sam3 import write

WORDS = ["cat", "dog", "photo of dog"]
SIZES = [(60, 60), (40, 100)]
THRESHOLD = 0.05


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("sam3_lite_text") / "tiny", lite=True)


@pytest.fixture(scope="module")
def detector(folder: str) -> Sam3Detector:
    return Sam3Detector.load(folder, "cpu", "float32")


def _upstream(folder: str, image: Any, label: str) -> tuple[Any, Any, Any]:
    """Scores, boxes and masks of one label by the way of the library's documentation, best first."""
    processor = transformers.Sam3Processor.from_pretrained(folder)
    model = transformers.Sam3LiteTextModel.from_pretrained(folder).eval()
    inputs = processor(images=Image.fromarray(image), text=label, return_tensors="pt")
    sizes = inputs.pop("original_sizes").tolist()
    with torch.no_grad():
        found = processor.post_process_instance_segmentation(model(**inputs), THRESHOLD, 0.5, sizes)[0]
    order = found["scores"].argsort(descending=True, stable=True)
    boxes = found["boxes"][order].numpy().clip(0, [*image.shape[1::-1]] * 2)
    return found["scores"][order].numpy(), boxes, found["masks"][order].bool().numpy()


@pytest.mark.parametrize("size", SIZES, ids=["square", "wide"])
def test_boxes_and_masks_are_those_of_the_library(
    size: tuple[int, int], folder: str, detector: Sam3Detector, make_image: Callable[..., Any]
) -> None:
    assert isinstance(detector, MaskDetector) and type(detector.model) is transformers.Sam3LiteTextModel
    image = make_image(*size, 3)
    boxes, masks = detector.detect_masks([image], detector.encode_labels(WORDS), THRESHOLD)[0]
    assert len(boxes.scores)
    for index, label in enumerate(WORDS):
        scores, xyxy, expected = _upstream(folder, image, label)
        mine = boxes.label_index == index
        np.testing.assert_allclose(boxes.scores[mine], scores, atol=1e-4)
        np.testing.assert_allclose(boxes.xyxy[mine], xyxy, atol=1e-3)
        assert not mine.any() or (masks[mine] != expected).mean() < 1e-3


def test_labels_differ_and_their_order_changes_nothing(detector: Sam3Detector) -> None:
    one, other = (detector.encode_labels(each).embeddings.features for each in (WORDS, WORDS[::-1]))
    torch.testing.assert_close(one, other.flip(0), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(one[0], one[1])


def test_a_library_without_it_is_named(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sam3._CLASSES, "sam3_lite_text", "Sam4Model")
    with pytest.raises(MissingExtra, match="has no Sam4Model; pip install -U transformers"):
        openvocab.load_detector(f"sam3:{folder}", "cpu", "float32")
