"""A detector that looks at windows of an image too: boxes in pixels of the image, none cut by a window's edge."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import openvocab
from openvocab import Pipeline, Settings
from openvocab.models.detectors.owl_encoding import OwlEncoding
from openvocab.pipeline.tiles import Tiling, crop, whole_boxes
from tests.tiny import owlv2

LABELS = ["cat", "dog", "tree"]
SIZES = [
    pytest.param((64, 64), id="square"),
    pytest.param((40, 90), id="wide"),
    pytest.param((90, 40), id="tall"),
    pytest.param((9, 9), id="too small for windows"),
]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Any:
    spec = owlv2.write(tmp_path_factory.mktemp("owl") / "model")
    return openvocab.load_detector(f"owlv2:{spec}", "cpu", "float32")


def _sorted(encoded: OwlEncoding) -> Any:
    return encoded.xyxy[np.lexsort(encoded.xyxy.T)]


@pytest.mark.parametrize("size", SIZES)
def test_boxes_are_those_of_the_image_and_of_its_windows(size: tuple[int, int], alone: Any, make_image: Any) -> None:
    image = make_image(*size)
    tiling = Tiling.of(size, 2)
    parts = [whole_boxes(alone.encode(crop(image, each)).xyxy, each, size)[0] for each in tiling.windows]
    encoded = replace(alone, windows=2).encode(image)
    np.testing.assert_allclose(
        _sorted(encoded), _sorted(OwlEncoding(encoded.features, np.concatenate(parts))), atol=1e-3
    )
    expected = [at for at, part in enumerate(parts) for _ in part] if len(parts) > 1 else None
    assert (None if encoded.tiles is None else encoded.tiles.tolist()) == expected
    assert len(encoded.features) == len(encoded.xyxy)


def test_neighbors_and_batches_change_nothing(alone: Any, make_image: Any) -> None:
    images = [make_image(64, 64), make_image(9, 9), make_image(40, 90)]
    for batch in (1, 3, 8):
        together = replace(alone, windows=2, batch=batch).encode_batch(images)
        for image, one in zip(images, together, strict=True):
            np.testing.assert_allclose(one.xyxy, replace(alone, windows=2).encode(image).xyxy, atol=1e-3)


def test_detect_looks_at_windows_and_proposals_do_not(alone: Any, make_image: Any) -> None:
    image, detector = make_image(64, 64), replace(alone, windows=2)
    count, fewer = (len(each.encode(image).xyxy) for each in (detector, alone))
    queries = detector.encode_labels(LABELS)
    assert count > fewer
    assert [len(detector.detect([image], queries, 0.0)[0].scores), len(detector.propose(image)[0])] == [count, fewer]


def test_tiles_take_the_place_of_windows(alone: Any) -> None:
    detector = replace(alone, windows=2)
    kept: list[Any] = [Pipeline(None, detector, None, Settings(tiles=tiles)).detector for tiles in (0, 2)]
    assert [each.windows for each in kept] == [2, 1]


def test_the_embedded_detector_finds_small_objects_in_windows() -> None:
    pipe = openvocab.load("pocket")
    detector: Any = pipe.detector
    shrunk = []
    for scene in openvocab.example_scenes()[:4]:
        image = openvocab.read_image(scene.path)
        small = np.full((512, 512, 3), image.mean((0, 1)).astype(np.uint8), np.uint8)
        small[128:384, 128:384] = image
        shrunk.append(small)
    vocabulary = pipe.vocabulary(openvocab.read_labels("pocket"))
    counts = []
    for windows in (1, 2):
        one = Pipeline(pipe.tagger, replace(detector, windows=windows), pipe.segmenter, pipe.settings)
        counts.append(sum(len(one(image, vocabulary).detections) for image in shrunk))
    assert counts[1] > counts[0]
