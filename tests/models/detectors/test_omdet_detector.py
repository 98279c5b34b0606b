"""The OmDet-Turbo adapter gives what transformers' processor, full forward and post-processing give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import OmDetTurboForObjectDetection, OmDetTurboProcessor

from openvocab.errors import BadInput, BadOutput, BadWeights, OpenVocabWarning
from openvocab.models.detectors.omdet_detector import OmDetDetector
from openvocab.pipeline.protocols import Queries
from tests.helpers.folders import damaged_copy
from tests.tiny.omdet_turbo import CONTEXT, write

WORDS = [f"thing {row}" for row in range(30)]
SIZES = [(60, 60), (40, 100), (97, 33), (9, 5)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("omdet") / "model")


@pytest.fixture(scope="module")
def detector(folder: str) -> OmDetDetector:
    return OmDetDetector.load(folder, "cpu")


@pytest.fixture(scope="module")
def images(make_image: Callable[..., Any]) -> list[Any]:
    return [make_image(height, width, seed) for seed, (height, width) in enumerate(SIZES)]


def _upstream(folder: str, image: Any, labels: list[str], threshold: float, overlap: float) -> tuple[Any, ...]:
    """Boxes, scores and labels after the library's own suppression."""
    processor = OmDetTurboProcessor.from_pretrained(folder)
    model = OmDetTurboForObjectDetection.from_pretrained(folder).eval()
    task = f"Detect {', '.join(sorted(labels))}."
    # the library's processor does not pad or cut unless it is told so
    words = {"text_kwargs": {"padding": "max_length", "truncation": True, "max_length": CONTEXT}}
    inputs = processor(images=Image.fromarray(image), text=[labels], task=[task], return_tensors="pt", **words)
    with torch.no_grad():
        answer = model(**inputs)
    found = processor.post_process_grounded_object_detection(
        answer, threshold=threshold, nms_threshold=overlap, target_sizes=[image.shape[:2]]
    )[0]
    return found["boxes"].numpy(), found["scores"].numpy(), found["labels"].numpy()


@pytest.mark.parametrize("count", [1, 3, 30])
@pytest.mark.parametrize("row", range(len(SIZES)))
def test_boxes_are_the_library_s_before_suppression(
    row: int, count: int, folder: str, detector: OmDetDetector, images: list[Any]
) -> None:
    got = detector.detect([images[row]], detector.encode_labels(WORDS[:count]), 0.1)[0]
    xyxy, scores, labels = _upstream(folder, images[row], WORDS[:count], 0.1, 1.0)
    shown = (xyxy[:, 2:] > xyxy[:, :2]).all(1)
    assert len(got.scores) > 3
    np.testing.assert_allclose(got.scores, scores[shown], atol=1e-4)
    np.testing.assert_allclose(got.xyxy, xyxy[shown], rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(got.label_index, labels[shown])


@pytest.mark.parametrize("row", range(len(SIZES)))
def test_what_the_library_keeps_is_among_the_boxes(
    row: int, folder: str, detector: OmDetDetector, images: list[Any]
) -> None:
    got = detector.detect([images[row]], detector.encode_labels(WORDS[:3]), 0.1)[0]
    xyxy, scores, labels = _upstream(folder, images[row], WORDS[:3], 0.1, 0.02)
    assert 0 < len(scores) < len(got.scores), "the suppression must have something to do"
    mine = np.column_stack([got.xyxy, got.scores, got.label_index])
    for one in np.column_stack([xyxy, scores, labels])[(xyxy[:, 2:] > xyxy[:, :2]).all(1)]:
        assert np.abs(mine - one).max(1).min() < 1e-3


def test_the_order_of_labels_changes_nothing_else(detector: OmDetDetector, images: list[Any]) -> None:
    straight = detector.detect(images[:2], detector.encode_labels(WORDS[:5]), 0.0)
    turned = detector.detect(images[:2], detector.encode_labels(WORDS[:5][::-1]), 0.0)
    for one, other in zip(straight, turned, strict=True):
        np.testing.assert_allclose(other.scores, one.scores, atol=1e-5)
        np.testing.assert_array_equal(4 - other.label_index, one.label_index)


@pytest.mark.parametrize(
    "rows", [pytest.param([3, 0], id="some"), pytest.param([2, 4, 0, 1, 3], id="all, in another order")]
)
def test_picked_rows_answer_like_labels_encoded_alone(
    rows: list[int], detector: OmDetDetector, images: list[Any]
) -> None:
    every, names = detector.encode_labels(WORDS[:5]), [WORDS[row] for row in rows]
    picked = Queries(tuple(names), every.template, every.embeddings[rows])
    one, other = (detector.detect(images[:1], queries, 0.0)[0] for queries in (picked, detector.encode_labels(names)))
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
    np.testing.assert_allclose(one.xyxy, other.xyxy, atol=1e-3)
    np.testing.assert_array_equal(one.label_index, other.label_index)


def test_the_task_counts_and_is_kept(detector: OmDetDetector, images: list[Any]) -> None:
    plain, other = detector.encode_labels(["cat", "dog"]), detector.encode_labels(["cat", "dog"], "Is {label} this?")
    assert (plain.template, other.template) == ("Detect {label}.", "Is {label} this?")
    one, two = (detector.detect(images[:1], queries, 0.0)[0] for queries in (plain, other))
    assert not np.allclose(one.scores, two.scores, atol=1e-4)


def test_many_images_are_one_by_one(detector: OmDetDetector, images: list[Any]) -> None:
    queries = detector.encode_labels(WORDS[:3])
    together = detector.detect(images, queries, 0.2)
    assert detector.detect([], queries, 0.2) == []
    for boxes, image in zip(together, images, strict=True):
        np.testing.assert_array_equal(boxes.xyxy, detector.detect([image], queries, 0.2)[0].xyxy)


def test_nothing_over_the_threshold_is_no_row(detector: OmDetDetector, images: list[Any]) -> None:
    none = detector.detect(images[:1], detector.encode_labels(["cat"]), 1.0)[0]
    assert (none.xyxy.shape, none.scores.shape, none.label_index.shape) == ((0, 4), (0,), (0,))


@pytest.mark.parametrize(
    ("labels", "template", "message"),
    [
        pytest.param(["dog " * 50 + "cat", "dog " * 50 + "dog"], None, "same text", id="the same after the cut"),
        pytest.param(["cat"], "Detect all.", "label", id="task without a place"),
        pytest.param([], None, "no labels", id="no label"),
    ],
)
def test_bad_labels_are_refused(detector: OmDetDetector, labels: list[str], template: str | None, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        detector.encode_labels(labels, template)


def test_too_long_label_is_named(detector: OmDetDetector) -> None:
    with pytest.warns(OpenVocabWarning, match=f"reads {CONTEXT}"):
        detector.encode_labels(["cat", "dog " * 50])


def test_the_model_stays_in_float32_and_says_so(folder: str) -> None:
    detector = OmDetDetector.load(folder, "cpu", "bfloat16")
    assert detector.record.dtype == "float32"
    assert next(detector.model.parameters()).dtype == torch.float32


def test_answers_that_are_not_finite_are_named(folder: str, images: list[Any]) -> None:
    detector = OmDetDetector.load(folder, "cpu")
    queries = detector.encode_labels(["cat"])
    with torch.no_grad():
        detector.model.decoder.decoder_bbox_head[-1].layers[-1].bias.fill_(float("nan"))
        detector.model.language_backbone.text_projection.fill_(float("nan"))
    with pytest.raises(BadOutput, match="image 0 "):
        detector.detect(images[:1], queries, 0.1)
    with pytest.raises(BadOutput, match="label 'cat' is not finite"):
        detector.encode_labels(["cat"])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        pytest.param("config.json", '{"model_type": "clip"}', "of type 'clip'", id="another model"),
        pytest.param("config.json", "{", "no OmDet-Turbo model", id="broken configuration"),
        pytest.param("tokenizer.json", None, "tokenizer", id="no tokenizer"),
        pytest.param("model.safetensors", None, "no weights", id="no weights"),
        pytest.param("model.safetensors", "version https://git-lfs.github.com/spec/v1", "LFS", id="LFS pointer"),
    ],
)
def test_bad_folder_is_refused(tmp_path: Path, folder: str, name: str, text: str | None, message: str) -> None:
    copy = damaged_copy(folder, tmp_path / "model", name, text)
    with pytest.raises(BadWeights, match=message) as caught:
        OmDetDetector.load(copy, "cpu")
    assert "\n" not in str(caught.value)
