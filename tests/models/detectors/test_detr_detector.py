"""The DETR adapter gives what transformers' object-detection pipeline gives for the labels that are asked for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForObjectDetection, pipeline

from openvocab.errors import BadInput, BadOutput, BadWeights
from openvocab.models.detectors.detr_detector import DetrDetector
from tests.tiny.detr import KINDS, LABELS, write_kind

SIZES = [(60, 60), (40, 100), (97, 33), (9, 5)]


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_kind(tmp_path_factory.mktemp("detr") / request.param, request.param)


@pytest.fixture(scope="module")
def detector(folder: str) -> DetrDetector:
    return DetrDetector.load(folder, "cpu")


@pytest.fixture(scope="module")
def images(make_image: Callable[..., Any]) -> list[Any]:
    return [make_image(height, width, seed) for seed, (height, width) in enumerate(SIZES)]


def _upstream(folder: str, image: Any, asked: tuple[str, ...], threshold: float) -> tuple[Any, Any, Any]:
    """Boxes, scores and labels of the library's own post-processing over all classes, clipped, best first."""
    model, processor = AutoModelForObjectDetection.from_pretrained(folder), AutoImageProcessor.from_pretrained(folder)
    with torch.no_grad():
        answer = model.eval()(**processor(images=Image.fromarray(image), return_tensors="pt"))
    height, width = image.shape[:2]
    found = processor.post_process_object_detection(answer, threshold, torch.tensor([[height, width]]))[0]
    boxes, scores = found["boxes"].numpy().clip(0, [width, height] * 2), found["scores"].numpy()
    kept = np.array([LABELS[label] in asked for label in found["labels"]]) & (boxes[:, 2:] > boxes[:, :2]).all(1)
    order = np.argsort(-scores, kind="stable")
    order = order[kept[order]]
    return boxes[order], scores[order], [LABELS[label] for label in found["labels"][order]]


@pytest.mark.parametrize("row", range(len(SIZES)))
def test_all_labels_give_the_library_s_boxes(row: int, folder: str, detector: DetrDetector, images: list[Any]) -> None:
    got = detector.detect([images[row]], detector.encode_labels(LABELS), 0.2)[0]
    xyxy, scores, labels = _upstream(folder, images[row], LABELS, 0.2)
    assert len(scores) > 3
    np.testing.assert_allclose(got.xyxy, xyxy, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(got.scores, scores, atol=1e-4)
    assert [LABELS[index] for index in got.label_index] == labels


def test_all_labels_give_what_the_pipeline_gives(folder: str, detector: DetrDetector, images: list[Any]) -> None:
    whole = pipeline("object-detection", model=folder, device="cpu")(Image.fromarray(images[1]), threshold=0.25)
    whole.sort(key=lambda one: -one["score"])
    got = detector.detect([images[1]], detector.encode_labels(LABELS), 0.25)[0]
    height, width = SIZES[1]
    assert len(whole) > 3
    np.testing.assert_allclose(got.scores, [one["score"] for one in whole], atol=1e-4)
    assert [LABELS[index] for index in got.label_index] == [one["label"] for one in whole]
    edges = [[one["box"][edge] for edge in ("xmin", "ymin", "xmax", "ymax")] for one in whole]  # whole numbers
    np.testing.assert_allclose(got.xyxy, np.clip(edges, 0, [width, height] * 2), atol=1.001)


def test_a_label_scores_the_same_whatever_else_is_asked(detector: DetrDetector, images: list[Any]) -> None:
    every = detector.detect(images[:1], detector.encode_labels(LABELS), 0.0)[0]
    label = int(every.label_index[0])
    alone = detector.detect(images[:1], detector.encode_labels([LABELS[label]]), 0.0)[0]
    mine = every.label_index == label
    np.testing.assert_allclose(alone.scores[: mine.sum()], every.scores[mine][: len(alone.scores)], atol=1e-4)


def test_the_asked_labels_share_no_score_with_others(tmp_path: Path, images: list[Any]) -> None:
    detector = DetrDetector.load(write_kind(tmp_path / "detr", "detr"), "cpu")
    got = detector.detect(images[:1], detector.encode_labels(["bird", "cat"]), 0.0)[0]
    with torch.no_grad():
        answer = detector.model(**detector.processor(images=Image.fromarray(images[0]), return_tensors="pt"))
    shares = answer.logits.softmax(-1)[0, :, [LABELS.index("bird"), LABELS.index("cat")]]
    np.testing.assert_allclose(got.scores, shares.max(1).values.sort(descending=True).values, atol=1e-5)


def test_case_and_order_of_labels_change_nothing_else(detector: DetrDetector, images: list[Any]) -> None:
    straight = detector.detect(images[:1], detector.encode_labels(LABELS), 0.0)[0]
    turned = detector.detect(images[:1], detector.encode_labels([name.upper() for name in LABELS[::-1]]), 0.0)[0]
    np.testing.assert_allclose(turned.scores, straight.scores, atol=1e-5)
    np.testing.assert_array_equal(len(LABELS) - 1 - turned.label_index, straight.label_index)


def test_picked_rows_are_the_labels(detector: DetrDetector, images: list[Any]) -> None:
    every, few = detector.encode_labels(LABELS), detector.encode_labels([LABELS[3], LABELS[1]])
    picked = replace(few, embeddings=every.embeddings[[3, 1]])
    one, other = (detector.detect(images[:1], queries, 0.0)[0] for queries in (picked, few))
    np.testing.assert_array_equal(one.scores, other.scores)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        pytest.param(["Bird", "brid"], "'brid' is no class .* the nearest of its 5 is 'bird'", id="near miss"),
        pytest.param(["red dgo"], "the nearest of its 5 is 'Red dog'", id="as the model writes it"),
        pytest.param(["w\u00fcstenfuchs"], "no class of this closed-vocabulary detector", id="far miss"),
        pytest.param([], "no labels", id="none"),
    ],
)
def test_words_that_are_no_class_are_refused(detector: DetrDetector, labels: list[str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        detector.encode_labels(labels)


def test_a_name_that_stands_for_several_classes_is_no_label(detector: DetrDetector) -> None:
    names = {0: "N/A", 1: "cat", 2: "N/A"}
    gaps = replace(detector, model=SimpleNamespace(config=SimpleNamespace(id2label=names)))
    assert gaps.encode_labels(["Cat"]).embeddings.tolist() == [1]
    with pytest.raises(BadInput, match="'N/A' is no class"):
        gaps.encode_labels(["N/A"])


def test_a_backbone_of_timm_comes_from_the_file(tmp_path: Path, images: list[Any]) -> None:
    """Published configurations name one, and say that its pretrained weights be fetched: they are not."""
    folder = write_kind(tmp_path / "detr", "detr", timm="test_resnet")
    path = Path(folder) / "config.json"
    config = json.loads(path.read_text("utf-8"))
    config |= {"backbone_config": None, "backbone": "test_resnet", "use_timm_backbone": True}
    path.write_text(json.dumps(config | {"use_pretrained_backbone": True}), "utf-8")
    detector = DetrDetector.load(folder, "cpu")
    got = detector.detect(images[:1], detector.encode_labels(LABELS), 0.2)[0]
    np.testing.assert_allclose(got.scores, _upstream(folder, images[0], LABELS, 0.2)[1], atol=1e-4)
    assert len(got.scores) > 3


def test_the_model_stays_in_float32_and_says_so(folder: str) -> None:
    detector = DetrDetector.load(folder, "cpu", "bfloat16")
    assert detector.record.dtype == "float32"
    assert next(detector.model.parameters()).dtype == torch.float32


def test_image_without_an_answer_is_named(detector: DetrDetector, images: list[Any]) -> None:
    def broken(images: Image.Image, return_tensors: str) -> Any:
        given = detector.processor(images=images, return_tensors=return_tensors)
        given["pixel_values"] = given["pixel_values"] * (float("nan") if images.height > images.width else 1)
        return given

    with pytest.raises(BadOutput, match="image 2 "):
        replace(detector, processor=_Calling(broken, detector.processor)).detect(
            images[:3], detector.encode_labels(["cat"]), 0.1
        )


class _Calling:
    """A processor that prepares images in another way."""

    def __init__(self, call: Callable[..., Any], rest: Any) -> None:
        self._call, self._rest = call, rest

    def __call__(self, *given: Any, **named: Any) -> Any:
        return self._call(*given, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rest, name)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        pytest.param("config.json", '{"model_type": "clip"}', "of type 'clip'", id="another model"),
        pytest.param("config.json", "{", "no DETR model", id="broken configuration"),
        pytest.param("preprocessor_config.json", "{", "preprocessing of this DETR model", id="broken processor"),
        pytest.param("model.safetensors", "version https://git-lfs.github.com/spec/v1", "LFS", id="LFS pointer"),
    ],
)
def test_bad_folder_is_refused(tmp_path: Path, folder: str, name: str, text: str, message: str) -> None:
    copy = shutil.copytree(folder, tmp_path / "model")
    (copy / name).write_text(text, "utf-8")
    with pytest.raises(BadWeights, match=message) as caught:
        DetrDetector.load(str(copy), "cpu")
    assert "\n" not in str(caught.value)
