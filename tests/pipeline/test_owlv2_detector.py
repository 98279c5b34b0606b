"""The OWLv2 adapter gives what transformers' processor, full forward and post-processing give."""

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
from transformers import Owlv2ForObjectDetection, Owlv2Processor

from openvocab.errors import BadInput, BadOutput, BadWeights, OpenVocabWarning
from openvocab.pipeline.owlv2_detector import Owlv2Detector
from openvocab.weights.files import sha256_of

WORDS = [f"thing {row}" for row in range(40)]
SIZES = [(60, 60), (40, 100), (100, 40), (5, 3)]


@pytest.fixture(scope="module")
def detector(owlv2_folder: Path) -> Owlv2Detector:
    return Owlv2Detector.load(str(owlv2_folder), "cpu", "float32")


@pytest.fixture(scope="module")
def pictures(picture: Callable[..., Any]) -> list[Any]:
    return [picture(height, width, seed) for seed, (height, width) in enumerate(SIZES)]


def _upstream(folder: Path, picture: Any, labels: list[str], threshold: float) -> tuple[Any, Any, Any]:
    """Boxes, scores and labels of transformers, clipped to the picture, without empty ones, best first."""
    processor = Owlv2Processor.from_pretrained(folder)
    model = Owlv2ForObjectDetection.from_pretrained(folder).eval()
    texts = [[f"a photo of a {label}" for label in labels]]
    inputs = processor(text=texts, images=Image.fromarray(picture), return_tensors="pt")
    with torch.no_grad():
        outputs = model(**inputs)
    size = picture.shape[:2]
    found = processor.post_process_grounded_object_detection(outputs, threshold, target_sizes=[size])[0]
    boxes = found["boxes"].numpy().clip(0, [size[1], size[0], size[1], size[0]])
    order = np.argsort(-found["scores"].numpy(), kind="stable")
    order = order[(boxes[order, 2:] > boxes[order, :2]).all(1)]
    return boxes[order], found["scores"].numpy()[order], found["labels"].numpy()[order]


@pytest.mark.parametrize("count", [1, 3, 40])
@pytest.mark.parametrize("row", range(len(SIZES)), ids=["square", "wide", "tall", "tiny"])
def test_boxes_are_those_of_the_full_forward(
    row: int, count: int, detector: Owlv2Detector, owlv2_folder: Path, pictures: list[Any]
) -> None:
    got = detector.detect([pictures[row]], detector.encode_labels(WORDS[:count]), 0.2)[0]
    xyxy, scores, labels = _upstream(owlv2_folder, pictures[row], WORDS[:count], 0.2)
    assert len(got.scores) > 0
    np.testing.assert_allclose(got.xyxy, xyxy, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(got.scores, scores, atol=1e-4)
    np.testing.assert_array_equal(got.label_index, labels)


def test_boxes_keep_the_contract(detector: Owlv2Detector, pictures: list[Any]) -> None:
    found = detector.detect(pictures, detector.encode_labels(WORDS), 0.0)
    assert len(found) == len(pictures)
    for boxes, (height, width) in zip(found, SIZES, strict=True):
        assert boxes.xyxy.dtype == boxes.scores.dtype == np.float32
        assert boxes.label_index.dtype == np.int64
        assert (np.diff(boxes.scores) <= 0).all()
        assert ((boxes.label_index >= 0) & (boxes.label_index < len(WORDS))).all()
        assert (boxes.xyxy >= 0).all()
        assert (boxes.xyxy <= [width, height, width, height]).all()
        assert (boxes.xyxy[:, 2:] > boxes.xyxy[:, :2]).all()


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_neighbours_in_a_batch_change_nothing(batch: int, detector: Owlv2Detector, pictures: list[Any]) -> None:
    queries = detector.encode_labels(WORDS[:3])
    together = replace(detector, batch=batch).detect(pictures, queries, 0.2)
    for one, picture in zip(together, pictures, strict=True):
        alone = detector.detect([picture], queries, 0.2)[0]
        np.testing.assert_allclose(one.xyxy, alone.xyxy, atol=1e-3)
        np.testing.assert_allclose(one.scores, alone.scores, atol=1e-4)


def test_order_of_labels_changes_nothing_else(detector: Owlv2Detector, pictures: list[Any]) -> None:
    straight = detector.detect(pictures[:1], detector.encode_labels(WORDS[:5]), 0.2)[0]
    turned = detector.detect(pictures[:1], detector.encode_labels(WORDS[:5][::-1]), 0.2)[0]
    np.testing.assert_allclose(turned.scores, straight.scores, atol=1e-4)
    np.testing.assert_array_equal(4 - turned.label_index, straight.label_index)


@pytest.mark.parametrize("texts", [1, 3, 256])
def test_labels_are_encoded_alike_in_any_batch(
    texts: int, detector: Owlv2Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = detector.encode_labels(WORDS, "{label}")
    monkeypatch.setattr(f"{Owlv2Detector.__module__}._TEXTS_A_BATCH", texts)
    parts = detector.encode_labels(WORDS, "{label}")
    np.testing.assert_allclose(parts.embeddings.numpy(), whole.embeddings.numpy(), atol=1e-5)
    assert (parts.labels, parts.template) == (tuple(WORDS), "{label}")


def test_nothing_in_nothing_out(detector: Owlv2Detector, pictures: list[Any]) -> None:
    queries = detector.encode_labels(["cat"])
    assert detector.detect([], queries, 0.1) == []
    none = detector.detect(pictures[:1], queries, 1.0)[0]
    assert (none.xyxy.shape, none.scores.shape, none.label_index.shape) == ((0, 4), (0,), (0,))


def test_bfloat16_is_close(detector: Owlv2Detector, pictures: list[Any]) -> None:
    low = replace(detector, record=replace(detector.record, dtype="bfloat16"))
    queries = detector.encode_labels(["cat", "dog"])
    exact, near = (each.detect(pictures[:1], queries, 0.0)[0] for each in (detector, low))
    assert abs(float(exact.scores.mean()) - float(near.scores.mean())) < 0.05


def test_record_says_which_weights(detector: Owlv2Detector, owlv2_folder: Path) -> None:
    assert detector.record.sha256 == sha256_of(owlv2_folder / "model.safetensors")
    assert detector.record.spec == f"owlv2:{owlv2_folder}"


def test_too_long_label_is_named(detector: Owlv2Detector) -> None:
    with pytest.warns(OpenVocabWarning, match="reads 16"):
        detector.encode_labels(["cat", "dog " * 20])


@pytest.mark.parametrize(
    ("labels", "template", "message"),
    [
        pytest.param(["dog " * 20 + "cat", "dog " * 20 + "dog"], None, "same text", id="the same after the cut"),
        pytest.param(["cat"], "a photo", "label", id="template without a place"),
        pytest.param([], None, "no labels", id="no label"),
    ],
)
def test_bad_labels_are_refused(detector: Owlv2Detector, labels: list[str], template: str | None, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        detector.encode_labels(labels, template)


def test_picture_without_an_answer_is_named(detector: Owlv2Detector, pictures: list[Any]) -> None:
    class Broken:
        """Fails for pictures that are higher than wide."""

        tokenizer = detector.processor.tokenizer

        def image_processor(self, images: Image.Image, return_tensors: str) -> Any:
            given = detector.processor.image_processor(images=images, return_tensors=return_tensors)
            given["pixel_values"] = given["pixel_values"] * (float("nan") if images.height > images.width else 1)
            return given

    broken = replace(detector, processor=Broken())
    with pytest.raises(BadOutput, match="picture 2 "):
        broken.detect(pictures[:3], detector.encode_labels(["cat"]), 0.1)


def _drop(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _write(name: str, text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_text(text, "utf-8")

    return write


def _set(key: str, value: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        part = config if key in config else config["vision_config"]
        part[key] = value
        (folder / "config.json").write_text(json.dumps(config), "utf-8")

    return change


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(shutil.rmtree, "no such folder", id="absent"),
        pytest.param(_drop("config.json"), "no OWLv2 model", id="no configuration"),
        pytest.param(_write("config.json", "{"), "no OWLv2 model", id="broken configuration"),
        pytest.param(_set("model_type", "clip"), "of type 'clip'", id="another model"),
        pytest.param(_drop("model.safetensors"), "no weights", id="no weights"),
        pytest.param(
            _write("model.safetensors", "version https://git-lfs.github.com/spec/v1"), "LFS", id="LFS pointer"
        ),
        pytest.param(_drop("tokenizer.json"), "the tokenizer knows", id="no tokenizer"),
        pytest.param(_set("num_hidden_layers", 3), "lack", id="more layers than the weights have"),
        pytest.param(_set("patch_size", 4), "cannot be loaded", id="other shapes"),
    ],
)
def test_bad_folder_is_refused_in_one_sentence(
    tmp_path: Path, owlv2_folder: Path, spoil: Callable[[Path], None], message: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(owlv2_folder, folder)
    spoil(folder)
    with pytest.raises(BadWeights, match=message) as caught:
        Owlv2Detector.load(str(folder), "cpu")
    assert "\n" not in str(caught.value)


def test_name_that_cannot_be_fetched_is_refused() -> None:
    with pytest.raises(BadWeights, match="org/absent: config.json is not in the cache"):
        Owlv2Detector.load("org/absent", "cpu")
