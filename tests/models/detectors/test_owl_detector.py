"""The OWL adapters give what transformers' processors, full forward and post-processing give."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from openvocab.errors import BadInput, BadOutput, BadWeights, OpenVocabWarning
from openvocab.models.detectors.owl_detector import OwlDetector, Owlv2Detector, OwlVitDetector
from openvocab.pipeline.protocols import LateFusionDetector
from openvocab.weights.files import sha256_of
from tests.helpers.processors import NanWhereTall

WORDS = [f"thing {row}" for row in range(40)]
SIZES = [(60, 60), (40, 100), (100, 40), (5, 3)]
KINDS = {"owlv2": Owlv2Detector, "owlvit": OwlVitDetector}


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint of one of KINDS, in a folder of that name."""
    return Path(import_module(f"tests.tiny.{request.param}").write(tmp_path_factory.mktemp("owl") / request.param))


@pytest.fixture(scope="module")
def detector(folder: Path) -> OwlDetector:
    return KINDS[folder.name].load(str(folder), "cpu", "float32")


@pytest.fixture(scope="module")
def images(make_image: Callable[..., Any]) -> list[Any]:
    return [make_image(height, width, seed) for seed, (height, width) in enumerate(SIZES)]


def _library(folder: Path) -> tuple[Any, Any]:
    model, processor = (getattr(transformers, name) for name in KINDS[folder.name].classes)
    return model.from_pretrained(folder).eval(), processor.from_pretrained(folder)


def _upstream(folder: Path, image: Any, labels: list[str], threshold: float) -> tuple[Any, Any, Any]:
    """Boxes, scores and labels of transformers, clipped to the image, without empty ones, best first."""
    model, processor = _library(folder)
    texts = [[f"a photo of a {label}" for label in labels]]
    inputs = processor(text=texts, images=Image.fromarray(image), return_tensors="pt")
    with torch.no_grad():
        outputs = model(**inputs)
    size = image.shape[:2]
    found = processor.post_process_grounded_object_detection(outputs, threshold, target_sizes=[size])[0]
    boxes = found["boxes"].numpy().clip(0, [size[1], size[0], size[1], size[0]])
    order = np.argsort(-found["scores"].numpy(), kind="stable")
    order = order[(boxes[order, 2:] > boxes[order, :2]).all(1)]
    return boxes[order], found["scores"].numpy()[order], found["labels"].numpy()[order]


@pytest.mark.parametrize("count", [1, 3, 40])
@pytest.mark.parametrize("row", range(len(SIZES)), ids=["square", "wide", "tall", "tiny"])
def test_boxes_are_those_of_the_full_forward(
    row: int, count: int, detector: OwlDetector, folder: Path, images: list[Any]
) -> None:
    got = detector.detect([images[row]], detector.encode_labels(WORDS[:count]), 0.2)[0]
    xyxy, scores, labels = _upstream(folder, images[row], WORDS[:count], 0.2)
    assert len(got.scores) > 0
    np.testing.assert_allclose(got.xyxy, xyxy, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(got.scores, scores, atol=1e-4)
    np.testing.assert_array_equal(got.label_index, labels)


@pytest.mark.parametrize("row", [0, 1])
def test_one_label_is_what_the_pipeline_gives(row: int, detector: OwlDetector, folder: Path, images: list[Any]) -> None:
    labels = WORDS[:3]
    run = transformers.pipeline("zero-shot-object-detection", model=str(folder), device="cpu")
    texts = [f"a photo of a {label}" for label in labels]
    theirs = run(Image.fromarray(images[row]), candidate_labels=texts, threshold=0.3)
    height, width = SIZES[row]
    for label, text in zip(labels, texts, strict=True):
        got = detector.detect([images[row]], detector.encode_labels([label]), 0.3)[0]
        edges = [
            [one["box"][edge] for edge in ("xmin", "ymin", "xmax", "ymax")] for one in theirs if one["label"] == text
        ]
        scores = [one["score"] for one in theirs if one["label"] == text]
        rows = [np.abs(np.array(scores) - score).argmin() for score in got.scores]  # it keeps boxes beside the image
        assert len(got.scores) > 0
        np.testing.assert_allclose(got.scores, np.array(scores)[rows], atol=1e-4)
        whole = np.clip(np.array(edges)[rows], 0, [width, height] * 2)  # cut down to whole numbers
        np.testing.assert_allclose(got.xyxy, whole, atol=1.001)


@pytest.mark.parametrize("row", range(len(SIZES)), ids=["square", "wide", "tall", "tiny"])
@pytest.mark.parametrize("count", [1, 40])
def test_scores_of_the_places_are_those_of_the_full_forward(
    row: int, count: int, detector: OwlDetector, folder: Path, images: list[Any]
) -> None:
    assert isinstance(detector, LateFusionDetector)
    encoded = detector.encode(images[row])
    xyxy, scores = detector.score_boxes(encoded, detector.encode_labels(WORDS[:count]))
    assert (xyxy.dtype.name, scores.dtype.name, scores.shape) == ("float32", "float32", (len(xyxy), count))
    expected, best, labels = _upstream(folder, images[row], WORDS[:count], 0.0)
    order = np.argsort(-scores.max(1), kind="stable")
    np.testing.assert_allclose(xyxy[order], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(scores.max(1)[order], best, atol=1e-4)
    np.testing.assert_array_equal(scores.argmax(1)[order], labels)


def test_places_that_are_not_finite_are_refused(detector: OwlDetector, images: list[Any]) -> None:
    broken = replace(detector, processor=NanWhereTall(detector.processor))
    with pytest.raises(BadOutput, match="encoding of image 0 is not finite"):
        broken.encode(images[2])
    encoded, queries = detector.encode(images[0]), detector.encode_labels(WORDS[:2])
    with pytest.raises(BadOutput, match="scores for the image are not finite"):
        detector.score_boxes(replace(encoded, features=encoded.features * float("nan")), queries)


def test_boxes_keep_the_contract(detector: OwlDetector, images: list[Any]) -> None:
    found = detector.detect(images, detector.encode_labels(WORDS), 0.0)
    assert len(found) == len(images)
    for boxes, (height, width) in zip(found, SIZES, strict=True):
        assert boxes.xyxy.dtype == boxes.scores.dtype == np.float32
        assert boxes.label_index.dtype == np.int64
        assert (np.diff(boxes.scores) <= 0).all()
        assert ((boxes.label_index >= 0) & (boxes.label_index < len(WORDS))).all()
        assert (boxes.xyxy >= 0).all()
        assert (boxes.xyxy <= [width, height, width, height]).all()
        assert (boxes.xyxy[:, 2:] > boxes.xyxy[:, :2]).all()


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_neighbors_in_a_batch_change_nothing(batch: int, detector: OwlDetector, images: list[Any]) -> None:
    queries = detector.encode_labels(WORDS[:3])
    together = replace(detector, batch=batch).detect(images, queries, 0.2)
    for one, image in zip(together, images, strict=True):
        alone = detector.detect([image], queries, 0.2)[0]
        np.testing.assert_allclose(one.xyxy, alone.xyxy, atol=1e-3)
        np.testing.assert_allclose(one.scores, alone.scores, atol=1e-4)


def test_order_of_labels_changes_nothing_else(detector: OwlDetector, images: list[Any]) -> None:
    straight = detector.detect(images[:1], detector.encode_labels(WORDS[:5]), 0.2)[0]
    turned = detector.detect(images[:1], detector.encode_labels(WORDS[:5][::-1]), 0.2)[0]
    np.testing.assert_allclose(turned.scores, straight.scores, atol=1e-4)
    np.testing.assert_array_equal(4 - turned.label_index, straight.label_index)


@pytest.mark.parametrize("texts", [1, 3, 256])
def test_labels_are_encoded_alike_in_any_batch(
    texts: int, detector: OwlDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [*WORDS[:20], "cat", "a cat of this kite"]  # of several lengths
    whole = detector.encode_labels(names, "{label}")
    monkeypatch.setattr(f"{OwlDetector.__module__}._TEXTS_A_BATCH", texts)
    parts = detector.encode_labels(names, "{label}")
    np.testing.assert_allclose(parts.embeddings.numpy(), whole.embeddings.numpy(), atol=1e-5)
    assert (parts.labels, parts.template) == (tuple(names), "{label}")


def test_nothing_in_nothing_out(detector: OwlDetector, images: list[Any]) -> None:
    queries = detector.encode_labels(["cat"])
    assert detector.detect([], queries, 0.1) == []
    none = detector.detect(images[:1], queries, 1.0)[0]
    assert (none.xyxy.shape, none.scores.shape, none.label_index.shape) == ((0, 4), (0,), (0,))


def test_bfloat16_is_close(detector: OwlDetector, folder: Path, images: list[Any]) -> None:
    """Weights of the tower's products are in bfloat16 and no others; scores stay within 0.03, boxes within 2 %."""
    low = KINDS[folder.name].load(str(folder), "cpu", "bfloat16")
    kinds = {name: value.dtype for name, value in low.model.named_parameters()}
    assert {name for name, kind in kinds.items() if kind == torch.bfloat16} == {
        name for name in kinds if "vision_model" in name and any(part in name for part in ("proj", "fc", "patch_emb"))
    }
    queries = detector.encode_labels(["cat", "dog"])
    assert torch.equal(low.encode_labels(["cat", "dog"]).embeddings, queries.embeddings)
    for image in images:
        exact, near = (each.detect([image], queries, 0.0)[0] for each in (detector, low))
        np.testing.assert_allclose(np.sort(near.scores)[-5:], np.sort(exact.scores)[-5:], atol=0.03)
        nearest = np.abs(near.xyxy[:, None] - exact.xyxy[None]).max(2).min(1)
        assert nearest.max() < 0.02 * max(image.shape)


def test_record_says_which_weights(detector: OwlDetector, folder: Path) -> None:
    assert detector.record.sha256 == sha256_of(folder / "model.safetensors")
    assert detector.record.spec == f"{folder.name}:{folder}"


def test_too_long_label_is_named(detector: OwlDetector) -> None:
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
def test_bad_labels_are_refused(detector: OwlDetector, labels: list[str], template: str | None, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        detector.encode_labels(labels, template)


def test_image_without_an_answer_is_named(detector: OwlDetector, images: list[Any]) -> None:
    broken = replace(detector, processor=NanWhereTall(detector.processor))
    with pytest.raises(BadOutput, match="image 2 "):
        broken.detect(images[:3], detector.encode_labels(["cat"]), 0.1)
    with pytest.raises(BadOutput, match="'dog'"):
        broken.encode_exemplars(images[1:3], ["cat", "dog"])


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
        pytest.param(_drop("config.json"), "no OWL.* model", id="no configuration"),
        pytest.param(_write("config.json", "{"), "no OWL.* model", id="broken configuration"),
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
    tmp_path: Path, folder: Path, spoil: Callable[[Path], None], message: str
) -> None:
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    spoil(copy)
    with pytest.raises(BadWeights, match=message) as caught:
        KINDS[folder.name].load(str(copy), "cpu")
    assert "\n" not in str(caught.value)


def test_one_kind_is_not_the_other(folder: Path) -> None:
    other = next(kind for name, kind in KINDS.items() if name != folder.name)
    with pytest.raises(BadWeights, match=f"but one of type '{folder.name}'"):
        other.load(str(folder), "cpu")


def test_name_that_cannot_be_fetched_is_refused() -> None:
    with pytest.raises(BadWeights, match="org/absent: config.json is not in the cache"):
        Owlv2Detector.load("org/absent", "cpu")
