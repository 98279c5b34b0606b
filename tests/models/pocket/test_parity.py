"""The embedded models answer as the libraries do that they were trained with, on the same files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import Owlv2Processor

import openvocab
from openvocab.models.detectors.owl_detector import Owlv2Detector
from openvocab.models.segmenters.sam_segmenter import SamSegmenter
from openvocab.models.taggers.clip_tagger import OpenClipTagger
from openvocab.pipeline.result import ModelRecord
from openvocab.weights.files import read_state
from openvocab.weights.manifest import checkpoint
from training import architecture

LABELS = tuple(openvocab.read_labels("pocket"))
SENTENCES = [
    *("tent", "This is a photo of a light bulb", "wow!", "caf\u00e9 &amp; na\u00efve", "  a \t b ", "\u72ac", ""),
    *("x " * 50, "it's 5 o'clock", "\u00e2\u20ac\u0153quoted\u00e2\u20ac\u009d", "<|endoftext|> more"),
]
SIZES = [
    pytest.param((256, 256), id="the model's size"),
    pytest.param((500, 333), id="tall"),
    pytest.param((90, 200), id="small"),
    pytest.param((1, 1), id="one pixel"),
]
CLOSE = 1e-4


@dataclass(frozen=True, eq=False, slots=True)
class _Fine(SamSegmenter):
    """SamSegmenter over the library's classes, whose encoder also returns fine features."""

    def _features(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.model.image_encoder(pixels)
        return features


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def taggers(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    architecture.register()
    folder = checkpoint("pocket-tagger").path.parent
    theirs = OpenClipTagger.load(f"local-dir:{folder}", "cpu", request.param)
    return theirs, openvocab.load_tagger("pocket", "cpu", request.param)


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def detectors(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    folder = checkpoint("pocket-detector").path.parent
    model: Any = architecture.PocketOwlv2.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
    record = ModelRecord("theirs", None, "cpu", request.param)
    theirs = Owlv2Detector.of(model.eval(), Owlv2Processor.from_pretrained(folder), record)
    ours: Any = openvocab.load_detector("pocket", "cpu", request.param)
    return theirs, replace(ours, windows=1)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(("float32", 0.0), id="float32"),
        pytest.param(("float32", 2.0), id="float32 with windows"),
        pytest.param(("bfloat16", 2.0), id="bfloat16 with windows"),
    ],
)
def segmenters(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    dtype, zoom = request.param
    ours: Any = openvocab.load_segmenter("pocket", "cpu", dtype)
    model = architecture.build_sam()
    state = read_state(checkpoint("pocket-segmenter").path)
    model.load_state_dict({name: value.float() for name, value in state.items()})
    return _Fine(model.eval(), ModelRecord("theirs", None, "cpu", dtype), zoom=zoom), replace(ours, zoom=zoom)


def images(make_image: Callable[..., Any], size: tuple[int, int]) -> list[Any]:
    scenes = [openvocab.read_image(scene.path) for scene in openvocab.example_scenes()[:2]]
    return [make_image(*size), *scenes]


def close_to(pair: tuple[Any, Any]) -> float:
    return CLOSE if pair[0].record.dtype == "float32" else 0.03


def test_the_tagger_reads_the_same_tokens(taggers: tuple[Any, Any]) -> None:
    theirs, ours = taggers
    assert [ours._measure(text) for text in SENTENCES] == [theirs._measure(text) for text in SENTENCES]


LEAST = 0.02
"""A box that scores less may be cut to nothing at the edge of the image by one of two roundings, and is left out."""


@pytest.mark.parametrize("size", SIZES)
def test_the_tagger_gives_the_same_scores(
    taggers: tuple[Any, Any], make_image: Callable[..., Any], size: tuple[int, int]
) -> None:
    given = images(make_image, size)
    (theirs, texts), (ours, words) = ((each, each.encode_labels(LABELS)) for each in taggers)
    np.testing.assert_allclose(words.embeddings, texts.embeddings, atol=close_to(taggers))
    np.testing.assert_allclose(ours.encode_images(given), theirs.encode_images(given), atol=close_to(taggers))
    np.testing.assert_allclose(ours.score(given, words), theirs.score(given, texts), atol=close_to(taggers))


@pytest.mark.parametrize("size", SIZES)
def test_the_detector_gives_the_same_boxes_and_scores(
    detectors: tuple[Any, Any], make_image: Callable[..., Any], size: tuple[int, int]
) -> None:
    for image in images(make_image, size):
        found = [each.score_boxes(each.encode(image), each.encode_labels(LABELS)) for each in detectors]
        for one, other in (found, found[::-1]):
            (xyxy, scores), (boxes, values) = one, other
            rows = np.flatnonzero(scores.max(axis=1) >= LEAST)
            near = np.abs(boxes[None] - xyxy[rows][:, None]).max(axis=2).argmin(axis=1)
            side = max(image.shape[:2])
            np.testing.assert_allclose(boxes[near] / side, xyxy[rows] / side, atol=close_to(detectors))
            np.testing.assert_allclose(values[near], scores[rows], atol=2 * close_to(detectors))


def test_the_detector_gives_the_same_proposals_and_exemplars(
    detectors: tuple[Any, Any], make_image: Callable[..., Any]
) -> None:
    image = images(make_image, (60, 60))[1]
    for one, other in zip(*(each.propose(image) for each in detectors), strict=True):
        np.testing.assert_allclose(one, other, atol=200 * close_to(detectors), rtol=close_to(detectors))
    for boxes in (None, np.array([[20, 20, 120, 120]], np.float32)):
        one, other = (each.encode_exemplars([image], ["it"], boxes).embeddings for each in detectors)
        assert torch.cosine_similarity(one, other).min() > 1 - close_to(detectors)


@pytest.mark.parametrize("size", SIZES)
def test_the_segmenter_gives_the_same_masks(
    segmenters: tuple[Any, Any], make_image: Callable[..., Any], size: tuple[int, int]
) -> None:
    for image in images(make_image, size):
        encoded = [each.encode(image) for each in segmenters]
        apart = (encoded[1].features - encoded[0].features).abs().max() / encoded[0].features.abs().max()
        assert apart < close_to(segmenters)
        for (masks, scores), (ours, values) in zip(*map(answers, segmenters, encoded), strict=True):
            np.testing.assert_allclose(values, scores, atol=close_to(segmenters))
            assert (masks != ours).mean() < (1e-3 if close_to(segmenters) == CLOSE else 1e-2)


def answers(segmenter: Any, encoded: Any) -> list[tuple[Any, Any]]:
    """Masks and scores of boxes, of points, and of both."""
    height, width = encoded.original_size
    boxes = np.array([[0, 0, width, height], [0, 0, (width + 1) // 2, (height + 1) // 2]], np.float32)
    points, kinds = np.array([[width / 2, height / 2], [0, 0]], np.float32), np.array([1, 0])
    asked = segmenter.prompt(encoded, points, kinds), segmenter.prompt(encoded, points, kinds, boxes[1])
    return [segmenter.masks(encoded, boxes), *asked]


HEAVY = ("torchvision", "transformers", "open_clip", "segment_anything", "timm", "torch._dynamo", "scipy", "sklearn")
CODE = """
import sys, openvocab
scene = openvocab.example_scenes()[0]
{work}
print([name for name in {heavy} if name in sys.modules])
"""


@pytest.mark.parametrize(
    "work",
    [
        pytest.param("list(openvocab.load('pocket').run([scene.path], scene.labels))", id="the chain"),
        pytest.param(
            "from openvocab.ui.cli.main import main; main(['tag', str(scene.path), '--labels', 'tent'])",
            id="the command",
        ),
    ],
)
def test_the_embedded_models_import_no_model_library(work: str) -> None:
    code = CODE.format(work=work, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
