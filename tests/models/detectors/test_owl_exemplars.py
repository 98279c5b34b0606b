"""Example images as queries of OWL-ViT and OWLv2: the library's choice without a box, the best box with one."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from torchvision.ops import box_iou

from openvocab.errors import BadInput
from openvocab.models.detectors.owl_detector import OwlDetector, Owlv2Detector, OwlVitDetector, join_queries

SIZES = [(60, 60), (40, 100), (100, 40)]
KINDS = {"owlv2": Owlv2Detector, "owlvit": OwlVitDetector}
NAMES = ["one", "two", "three"]


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(import_module(f"tests.tiny.{request.param}").write(tmp_path_factory.mktemp("owl") / request.param))


@pytest.fixture(scope="module")
def detector(folder: Path) -> OwlDetector:
    return KINDS[folder.name].load(str(folder), "cpu", "float32")


@pytest.fixture(scope="module")
def library(folder: Path) -> tuple[Any, Any]:
    model, processor = (getattr(transformers, name) for name in KINDS[folder.name].classes)
    return model.from_pretrained(folder).eval(), processor.from_pretrained(folder)


@pytest.fixture(scope="module")
def images(make_image: Callable[..., Any]) -> list[Any]:
    return [make_image(height, width, seed) for seed, (height, width) in enumerate(SIZES)]


def _pixels(processor: Any, image: Any) -> Any:
    return processor.image_processor(images=Image.fromarray(image), return_tensors="pt").pixel_values


@pytest.mark.parametrize("row", range(len(SIZES)))
def test_without_a_box_scores_are_those_of_image_guided_detection(
    row: int, detector: OwlDetector, library: tuple[Any, Any], images: list[Any]
) -> None:
    model, processor = library
    queries = detector.encode_exemplars([images[row]], ["it"])
    with torch.no_grad():
        answer = model.image_guided_detection(
            pixel_values=_pixels(processor, images[0]), query_pixel_values=_pixels(processor, images[row])
        )
    kept = detector.detect([images[0]], queries, 0.0)[0]
    scores, boxes = answer.logits[0, :, 0].sigmoid().numpy(), answer.target_pred_boxes[0].numpy() * 60
    corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1).clip(0, 60)
    order = np.argsort(-scores, kind="stable")
    order = order[(corners[order, 2:] > corners[order, :2]).all(1)]
    np.testing.assert_allclose(kept.scores, scores[order], atol=1e-4)
    np.testing.assert_allclose(kept.xyxy, corners[order], atol=1e-3)


def test_rows_are_the_library_s_query_embeddings(
    detector: OwlDetector, library: tuple[Any, Any], images: list[Any]
) -> None:
    model, processor = library
    got = detector.encode_exemplars(images, NAMES)
    assert (got.labels, got.template, got.embeddings.dtype) == (tuple(NAMES), "", torch.float32)
    for row, image in zip(got.embeddings, images, strict=True):
        with torch.no_grad():
            grid = model.image_embedder(pixel_values=_pixels(processor, image))[0]
            wanted = model.embed_image_query(grid.flatten(1, 2), grid)[0].flatten()
        np.testing.assert_allclose(row, wanted / wanted.norm(), atol=1e-4)


@pytest.mark.parametrize("place", [0, 7, 20, 35])
@pytest.mark.parametrize("row", range(len(SIZES)))
def test_with_a_box_the_row_is_that_of_the_best_predicted_box(
    row: int, place: int, detector: OwlDetector, library: tuple[Any, Any], images: list[Any]
) -> None:
    model, processor = library
    height, width = SIZES[row]
    with torch.no_grad():
        grid = model.image_embedder(pixel_values=_pixels(processor, images[row]))[0]
        classes = model.class_predictor(grid.flatten(1, 2))[1][0]
        center, size = model.box_predictor(grid.flatten(1, 2), grid)[0].split(2, 1)
    square = [max(height, width)] * 4 if isinstance(detector, Owlv2Detector) else [width, height] * 2
    boxes = torch.cat([center - size / 2, center + size / 2], 1) * torch.tensor(square)
    clipped = boxes.clamp(min=0).minimum(torch.tensor([width, height] * 2))
    seen = clipped[(clipped[:, 2:] > clipped[:, :2]).all(1)]  # some lie beside the image
    asked = seen[place % len(seen)]
    best = int(box_iou(boxes, asked[None])[:, 0].argmax())
    got = detector.encode_exemplars([images[row]], ["it"], asked[None].numpy())
    np.testing.assert_allclose(got.embeddings[0], classes[best] / classes[best].norm(), atol=1e-4)


def test_words_and_images_are_asked_together(detector: OwlDetector, images: list[Any]) -> None:
    words, shown = detector.encode_labels(["cat", "dog"]), detector.encode_exemplars(images[:2], ["this", "that"])
    both = join_queries(words, shown)
    assert (both.labels, both.template) == (("cat", "dog", "this", "that"), words.template)
    alone = [detector.detect(images[2:], one, 0.0)[0] for one in (words, shown)]
    got = detector.detect(images[2:], both, 0.0)[0]
    assert got.scores[0] == pytest.approx(max(boxes.scores[0] for boxes in alone), abs=1e-5)
    assert len(got.scores) == len(alone[0].scores)


def test_an_example_does_not_depend_on_the_others(detector: OwlDetector, images: list[Any]) -> None:
    together = detector.encode_exemplars(images, NAMES).embeddings
    for name, image, row in zip(NAMES, images, together, strict=True):
        np.testing.assert_allclose(detector.encode_exemplars([image], [name]).embeddings[0], row, atol=1e-5)


@pytest.mark.parametrize(
    ("labels", "xyxy", "message"),
    [
        pytest.param(["a"], None, "2 example images for 1 label", id="too few labels"),
        pytest.param(["a", "A"], None, "the same", id="twins"),
        pytest.param(["a", "b"], [[0, 0, 9, 9]], "must have shape .2, 4.", id="too few boxes"),
        pytest.param(["a", "b"], [[0, 0, 9, 9], [3, 3, 3, 9]], "box 1 .* no pixel", id="empty box"),
        pytest.param(["a", "b"], [[70, 0, 90, 9], [3, 3, 6, 9]], "box 0 .* no pixel", id="beside the image"),
        pytest.param(["a", "b"], [[0, 0, 9, 9], [3, 3, float("nan"), 9]], "box 1 .* no pixel", id="no number"),
    ],
)
def test_examples_that_cannot_be_used_are_refused(
    detector: OwlDetector, images: list[Any], labels: list[str], xyxy: Any, message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        detector.encode_exemplars(images[:2], labels, None if xyxy is None else np.array(xyxy, np.float32))


def test_joined_labels_must_differ(detector: OwlDetector) -> None:
    with pytest.raises(BadInput, match="are the same"):
        join_queries(detector.encode_labels(["cat"]), detector.encode_labels(["Cat"]))
