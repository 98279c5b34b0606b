"""SAM 3's boxes, scores and masks are those of the library's processor, model and post-processing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Sam3Model, Sam3Processor

import openvocab
from openvocab.errors import BadInput, BadOutput, BadWeights, OpenVocabWarning
from openvocab.models.segmenters.sam3 import Sam3Detector
from openvocab.pipeline.protocols import MaskDetector, Queries
from openvocab.weights.files import sha256_of
from tests.helpers.processors import NanWhereTall
from tests.tiny.sam3 import write, write_as_published

WORDS = ["cat", "dog", "kite", "thing", "photo of dog", "this", "is"]
SIZES = [(60, 60), (40, 100), (100, 40), (5, 3), (1, 1)]
THRESHOLD = 0.05


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(write(tmp_path_factory.mktemp("sam3") / "tiny"))


@pytest.fixture(scope="module")
def detector(folder: Path) -> Sam3Detector:
    return Sam3Detector.load(str(folder), "cpu", "float32")


@pytest.fixture(scope="module")
def images(make_image: Callable[..., Any]) -> list[Any]:
    return [make_image(height, width, seed) for seed, (height, width) in enumerate(SIZES)]


@pytest.fixture(scope="module")
def library(folder: Path) -> tuple[Any, Any]:
    return Sam3Processor.from_pretrained(folder), Sam3Model.from_pretrained(folder).eval()


def _upstream(library: tuple[Any, Any], image: Any, label: str) -> tuple[Any, Any, Any]:
    """Scores, boxes and masks of one label by the way of the library's documentation, best first."""
    processor, model = library
    inputs = processor(images=Image.fromarray(image), text=label, return_tensors="pt")
    sizes = inputs.pop("original_sizes").tolist()
    with torch.no_grad():
        answer = model(**inputs)
    found = processor.post_process_instance_segmentation(answer, THRESHOLD, 0.5, sizes)[0]
    order = found["scores"].argsort(descending=True, stable=True)
    height, width = image.shape[:2]
    boxes = found["boxes"][order].numpy().clip(0, [width, height, width, height])
    return found["scores"][order].numpy(), boxes, found["masks"][order].bool().numpy()


@pytest.mark.parametrize("labels", [1, 4, 7], ids="{} labels a call".format)
@pytest.mark.parametrize("row", range(len(SIZES)), ids=["square", "wide", "tall", "tiny", "one pixel"])
def test_each_label_is_found_as_by_the_library(
    row: int, labels: int, detector: Sam3Detector, library: tuple[Any, Any], images: list[Any]
) -> None:
    asked = replace(detector, labels=labels)
    boxes, masks = asked.detect_masks([images[row]], asked.encode_labels(WORDS), THRESHOLD)[0]
    assert len(boxes.scores) > 0
    assert (masks.shape, masks.dtype.name) == ((len(boxes.scores), *SIZES[row]), "bool")
    for index, label in enumerate(WORDS):
        scores, xyxy, expected = _upstream(library, images[row], label)
        mine = boxes.label_index == index
        np.testing.assert_allclose(boxes.scores[mine], scores, atol=1e-4)
        np.testing.assert_allclose(boxes.xyxy[mine], xyxy, atol=1e-3)
        assert mine.sum() == 0 or (masks[mine] != expected).mean() < 1e-3


def test_detect_gives_the_same_boxes_without_masks(
    detector: Sam3Detector, images: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = detector.encode_labels(WORDS)
    whole = [boxes for boxes, _ in detector.detect_masks(images, queries, THRESHOLD)]
    monkeypatch.setattr(detector.model.mask_decoder, "forward", None)
    for one, other in zip(detector.detect(images, queries, THRESHOLD), whole, strict=True):
        np.testing.assert_array_equal(one.xyxy, other.xyxy)
        np.testing.assert_array_equal(one.scores, other.scores)
        np.testing.assert_array_equal(one.label_index, other.label_index)


def test_boxes_keep_the_contract(detector: Sam3Detector, images: list[Any]) -> None:
    assert isinstance(detector, MaskDetector)
    for boxes, (height, width) in zip(detector.detect(images, detector.encode_labels(WORDS), 0.0), SIZES, strict=True):
        assert boxes.xyxy.dtype == boxes.scores.dtype == np.float32
        assert boxes.label_index.dtype == np.int64
        assert (np.diff(boxes.scores) <= 0).all()
        assert ((boxes.scores >= 0) & (boxes.scores <= 1)).all()
        assert set(boxes.label_index) <= set(range(len(WORDS)))
        assert (boxes.xyxy >= 0).all()
        assert (boxes.xyxy <= [width, height, width, height]).all()
        assert (boxes.xyxy[:, 2:] > boxes.xyxy[:, :2]).all()


def test_a_label_that_is_not_in_the_image_is_not_found(
    detector: Sam3Detector, images: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = detector.encode_labels(WORDS)
    before = detector.detect(images[:1], queries, THRESHOLD)[0]
    head = detector.model.detr_decoder.presence_head.layer3.bias
    monkeypatch.setattr(head, "data", head.data - 50)  # the presence score of every label falls to nought
    boxes, masks = detector.detect_masks(images[:1], queries, THRESHOLD)[0]
    assert len(before.scores) > 0
    assert (boxes.xyxy.shape, boxes.scores.shape, boxes.label_index.shape) == ((0, 4), (0,), (0,))
    assert (masks.shape, masks.dtype.name) == ((0, *SIZES[0]), "bool")


def test_nothing_in_nothing_out(detector: Sam3Detector, images: list[Any]) -> None:
    queries = detector.encode_labels(WORDS)
    assert detector.detect([], queries, 0.1) == []
    assert detector.detect_masks([], queries, 0.1) == []
    none = Queries((), queries.template, queries.embeddings[[]])
    assert len(detector.detect(images[:1], none, 0.0)[0].scores) == 0


def test_order_and_number_of_labels_change_nothing_else(detector: Sam3Detector, images: list[Any]) -> None:
    queries = detector.encode_labels(WORDS)
    picked = [5, 2, 0]
    few = Queries(tuple(WORDS[row] for row in picked), queries.template, queries.embeddings[picked])
    all_boxes, some = (detector.detect(images[:1], each, 0.0)[0] for each in (queries, few))
    for place, row in enumerate(picked):
        mine, other = some.label_index == place, all_boxes.label_index == row
        np.testing.assert_allclose(some.scores[mine], all_boxes.scores[other], atol=1e-5)
        np.testing.assert_allclose(some.xyxy[mine], all_boxes.xyxy[other], atol=1e-3)


@pytest.mark.parametrize("texts", [1, 3])
def test_labels_are_encoded_alike_in_any_batch(
    texts: int, detector: Sam3Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = detector.encode_labels(WORDS).embeddings
    monkeypatch.setattr(f"{Sam3Detector.__module__}._TEXTS_A_BATCH", texts)
    parts = detector.encode_labels(WORDS).embeddings
    torch.testing.assert_close(parts.features, whole.features, atol=1e-5, rtol=1e-5)
    assert torch.equal(parts.valid, whole.valid)


def test_bfloat16_is_close(folder: Path, detector: Sam3Detector, images: list[Any]) -> None:
    low = Sam3Detector.load(str(folder), "cpu", "bfloat16")
    backbone = low.model.vision_encoder.backbone
    assert {value.dtype for value in backbone.parameters()} == {torch.bfloat16}
    assert backbone.layers[0].rotary_emb.inv_freq.dtype == torch.float32
    queries = detector.encode_labels(WORDS)
    for index in range(len(WORDS)):
        one, other = (each.detect(images[:1], queries, 0.0)[0] for each in (detector, low))
        exact, near = (np.sort(each.scores[each.label_index == index]) for each in (one, other))
        np.testing.assert_allclose(near, exact, atol=0.03)


def test_published_weights_hold_a_tracker_too(tmp_path: Path, detector: Sam3Detector, images: list[Any]) -> None:
    whole = Sam3Detector.load(write_as_published(tmp_path / "video"), "cpu", "float32")
    one, other = (each.detect(images[:1], each.encode_labels(WORDS), 0.0)[0] for each in (whole, detector))
    np.testing.assert_array_equal(one.scores, other.scores)


def test_record_says_which_weights(detector: Sam3Detector, folder: Path) -> None:
    assert detector.record.sha256 == sha256_of(folder / "model.safetensors")
    assert detector.record.spec == f"sam3:{folder}"


def test_a_chain_without_a_segmenter_takes_its_masks(folder: Path, images: list[Any]) -> None:
    pipe: Any = openvocab.load(detector=f"sam3:{folder}", device="cpu", dtype="float32")
    detections = pipe(images[1], WORDS, box_threshold=THRESHOLD).detections
    assert len(detections) > 0
    assert detections.masks is not None and detections.mask_scores is not None
    assert (detections.mask_scores == 1).all()
    np.testing.assert_array_equal(detections.scores, detections.detector_scores)
    boxes, masks = pipe.detector.detect_masks([images[1]], pipe.vocabulary(WORDS).queries, THRESHOLD)[0]
    for row in range(len(detections)):
        same = (boxes.xyxy == detections.xyxy[row]).all(1) & (boxes.scores == detections.scores[row])
        assert WORDS[boxes.label_index[same][0]] == detections.labels[row]
        np.testing.assert_array_equal(masks[same][0], detections.masks[row])
    nothing = pipe(images[1], WORDS, box_threshold=0.999).detections
    assert nothing.masks is not None and nothing.masks.shape == (0, 40, 100)


def test_too_long_label_is_named(detector: Sam3Detector) -> None:
    with pytest.warns(OpenVocabWarning, match="reads 32"):
        detector.encode_labels(["cat", "dog " * 40])


@pytest.mark.parametrize(
    ("labels", "template", "message"),
    [
        pytest.param(["dog " * 40 + "cat", "dog " * 40 + "dog"], None, "same text", id="the same after the cut"),
        pytest.param(["cat"], "a photo", "label", id="template without a place"),
        pytest.param([], None, "no labels", id="no label"),
    ],
)
def test_bad_labels_are_refused(detector: Sam3Detector, labels: list[str], template: str | None, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        detector.encode_labels(labels, template)


def test_image_without_an_answer_is_named(detector: Sam3Detector, images: list[Any]) -> None:
    broken = replace(detector, processor=NanWhereTall(detector.processor))
    with pytest.raises(BadOutput, match="image 2 "):
        broken.detect(images[:3], detector.encode_labels(["cat"]), 0.1)


def _change(key: str, value: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        part = config if key in config else config["detr_decoder_config"]
        part[key] = value
        (folder / "config.json").write_text(json.dumps(config), "utf-8")

    return change


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(shutil.rmtree, "no such folder", id="absent"),
        pytest.param(_change("model_type", "clip"), "of type 'clip'", id="another model"),
        pytest.param(lambda folder: (folder / "model.safetensors").unlink(), "no weights", id="no weights"),
        pytest.param(lambda folder: (folder / "processor_config.json").unlink(), "preprocessing", id="no processor"),
        pytest.param(lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer", id="no tokenizer"),
        pytest.param(_change("num_layers", 3), "lack", id="more layers than the weights have"),
        pytest.param(_change("num_queries", 5), "cannot be loaded", id="other shapes"),
    ],
)
def test_bad_folder_is_refused_in_one_sentence(
    tmp_path: Path, folder: Path, spoil: Callable[[Path], None], message: str
) -> None:
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    spoil(copy)
    with pytest.raises(BadWeights, match=message) as caught:
        Sam3Detector.load(str(copy), "cpu")
    assert "\n" not in str(caught.value)
