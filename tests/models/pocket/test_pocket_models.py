"""The embedded models through the public API, on the example scenes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import openvocab
from openvocab import BadWeights, Pipeline
from openvocab.weights import manifest

LABELS = ("apple", "dog", "car", "guitar", "bomb", "tree", "koala", "pineapple", "telephone", "laptop")


@pytest.fixture(scope="module")
def pipe() -> Pipeline:
    return openvocab.load("pocket", dtype="float32")


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    return [openvocab.read_image(scene.path) for scene in openvocab.example_scenes()]


def test_eight_scenes_ship_with_exact_truth() -> None:
    scenes = openvocab.example_scenes()
    assert len(scenes) == 8
    for scene in scenes:
        assert set(scene.labels) <= set(openvocab.read_labels("pocket"))
        for mask, box in zip(scene.masks(), scene.xyxy, strict=True):
            rows, columns = np.nonzero(mask)
            assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_the_weights_are_small() -> None:
    assert sum(preset.size_bytes for preset in openvocab.presets() if preset.name == "pocket") < 25e6


@pytest.mark.parametrize("name", ["pocket-tagger", "pocket-detector", "pocket-segmenter"])
def test_a_changed_byte_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = manifest.checkpoint(name)
    broken = bytearray(kept.path.read_bytes())
    broken[len(broken) // 2] ^= 1
    copy = tmp_path / kept.path.name
    copy.write_bytes(broken)
    record = manifest.Checkpoint(kept.name, copy, kept.size, kept.sha256, kept.license)
    with pytest.raises(BadWeights, match="sha256"):
        record.verified()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda rows: rows[::-1], id="labels reversed"),
        pytest.param(lambda rows: rows[3:] + rows[:3], id="labels turned"),
    ],
)
def test_the_order_of_labels_changes_no_score(
    pipe: Pipeline, images: list[np.ndarray], change: Callable[[Any], Any]
) -> None:
    moved = change(LABELS)
    first = pipe.tag_scores(images[:2], pipe.vocabulary(LABELS))
    second = pipe.tag_scores(images[:2], pipe.vocabulary(moved))
    np.testing.assert_allclose(first, second[:, [moved.index(label) for label in LABELS]], atol=1e-4)
    one, other = (pipe.detect(images[0], pipe.vocabulary(labels)) for labels in (LABELS, moved))
    assert one.labels == other.labels
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)
    np.testing.assert_allclose(one.xyxy, other.xyxy, atol=1e-2)


@pytest.mark.parametrize("size", [1, 3, 8])
def test_batch_size_and_neighbors_change_no_score(pipe: Pipeline, images: list[np.ndarray], size: int) -> None:
    vocabulary = pipe.vocabulary(LABELS)
    together = pipe.tag_scores(images, vocabulary, batch_size=size)
    alone = pipe.tag_scores(images[4:5], vocabulary, batch_size=size)
    np.testing.assert_allclose(together[4:5], alone, atol=1e-4)


def test_every_detection_has_a_label_that_was_given(pipe: Pipeline, images: list[np.ndarray]) -> None:
    for image in images[:4]:
        result = pipe(image, LABELS, tag_threshold=0.0, box_threshold=0.01)
        assert set(result.detections.labels) <= set(LABELS)
        assert {tag.label for tag in result.tags} <= set(LABELS)
        assert result.detections.masks is not None
        assert result.detections.masks.shape[1:] == image.shape[:2]


def test_the_record_names_the_weights(pipe: Pipeline, images: list[np.ndarray]) -> None:
    run = pipe(images[0], LABELS).run
    for stage, record in (("tagger", run.tagger), ("detector", run.detector), ("segmenter", run.segmenter)):
        assert record is not None
        assert (record.spec, record.sha256) == (f"pocket-{stage}", manifest.checkpoint(f"pocket-{stage}").sha256)


def test_an_image_may_have_any_shape(pipe: Pipeline) -> None:
    vocabulary = pipe.vocabulary(LABELS)
    for height, width in ((1, 1), (3, 400), (300, 7), (500, 333)):
        image = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
        result = pipe(image, vocabulary, tag_threshold=0.0, box_threshold=0.0)
        assert (result.height, result.width) == (height, width)
        assert (result.detections.xyxy[:, 2:] <= [width, height]).all()


def test_bfloat16_stays_close(images: list[np.ndarray], pipe: Pipeline) -> None:
    half = openvocab.load("pocket", dtype="bfloat16")
    exact, near = (each.tag_scores(images, each.vocabulary(LABELS)) for each in (pipe, half))
    assert np.abs(exact - near).max() < 0.05
