"""The chain over an annotated set: perfect stages make no error, and each error is attributed to its stage."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from openvocab import BadInput, ModelRecord, Pipeline, Settings
from openvocab.evaluate.data import AnnotatedImage, AnnotatedSet
from openvocab.evaluate.measure import measure_chain, measure_segmenter
from openvocab.evaluate.runs.chain import run_chain, run_segmenter
from openvocab.pipeline.protocols import Boxes, Queries, TextEmbeddings
from openvocab.testing import FakeSegmenter

LABELS = ("a", "b", "c")
BOXES = np.array([[2, 2, 14, 14], [18, 16, 30, 31]], np.float64)
RECORD = ModelRecord("oracle", "0" * 64, "cpu", "float32")


@dataclass(frozen=True)
class Tags:
    """Scores 1 for the labels whose indices are the first pixel's red and green, and 0 for the others."""

    independent: bool = True
    preparation: str = ""
    record: ModelRecord = RECORD

    def encode_labels(self, labels: Any, prompts: Any = None) -> TextEmbeddings:
        return TextEmbeddings(tuple(labels), prompts, np.eye(len(labels), dtype=np.float32))

    def encode_images(self, images: Any) -> Any:
        return np.stack([np.isin(np.arange(3), one[0, 0, :2]) for one in images]).astype(np.float32)

    def logits(self, features: Any, vocabulary: Any) -> Any:
        return features @ vocabulary.embeddings.T

    scores = logits

    def score(self, images: Any, vocabulary: Any) -> Any:
        return self.scores(self.encode_images(images), vocabulary)


class SureTags(Tags):
    """Tags whose log-odds are 10 or -10; a crop of a box has no label, since its first pixel is another one."""

    def logits(self, features: Any, vocabulary: Any) -> Any:
        return 20 * super().logits(features, vocabulary) - 10


@dataclass(frozen=True)
class Finder:
    """Detects the first object as a and the second as b, if they are queried."""

    record: ModelRecord = RECORD

    def encode_labels(self, labels: Any, template: str | None = None) -> Queries:
        return Queries(tuple(labels), template or "{label}", np.arange(len(labels)))

    def detect(self, images: Any, queries: Queries, threshold: float) -> list[Boxes]:
        rows = [row for row, label in enumerate("ab") if label in queries.labels]
        index = np.array([queries.labels.index("ab"[row]) for row in rows], np.int64)
        scores = np.linspace(0.9, 0.8, len(rows), dtype=np.float32)
        return [Boxes(BOXES[rows].astype(np.float32), scores, index) for _ in images]


@dataclass(frozen=True)
class Half(FakeSegmenter):
    """Fills the upper third of each box."""

    def masks(self, encoded: Any, xyxy: Any) -> Any:
        return super().masks(encoded, np.stack([*xyxy.T[:3], xyxy[:, 1] + (xyxy[:, 3] - xyxy[:, 1]) / 3], axis=1))


def annotated(folder: Path, tags: list[tuple[int, int]], *, masked: bool = True) -> AnnotatedSet:
    """Images of 32 x 32 with an a and a b, the tags of which are written into the first pixel."""
    filled = np.zeros((2, 32, 32), np.uint8)
    for mask, (left, top, right, bottom) in zip(filled, BOXES.astype(int), strict=True):
        mask[top:bottom, left:right] = 1
    codes = tuple(coco_mask.encode(np.asfortranarray(mask)) for mask in filled) if masked else None
    made = []
    for number, pair in enumerate(tags):
        pixels = np.full((32, 32, 3), 90, np.uint8)
        pixels[0, 0, :2] = pair
        Image.fromarray(pixels).save(folder / f"{number}.png")
        path, index, crowd = str(folder / f"{number}.png"), np.array([0, 1]), np.zeros(2, bool)
        made.append(AnnotatedImage(path, 32, 32, BOXES, index, crowd, None, codes))
    return AnnotatedSet(str(folder), LABELS, tuple(made), {})


def pipe(**stages: Any) -> Pipeline:
    own = {"tagger": Tags(), "detector": Finder(), "segmenter": FakeSegmenter(), **stages}
    return Pipeline(own["tagger"], own["detector"], own["segmenter"], Settings(tag_threshold=0.5, gate="threshold"))


def test_perfect_stages_make_no_error(tmp_path):
    made: Any = run_chain(pipe(), annotated(tmp_path, [(0, 1)] * 3))
    metrics: Any = measure_chain(made, resamples=3)
    assert metrics.chain.errors.f1.value == metrics.tags == 1
    assert metrics.chain.boxes.ap == metrics.chain.masks.ap == pytest.approx(1)
    assert metrics.true_box_masks.mean_iou.value == metrics.true_box_masks.share.value == 1
    assert made.masked and made.predictions is not None and made.with_true_labels is not None
    assert made.record.tagger == RECORD and made.record.settings["tag_threshold"] == 0.5


@pytest.mark.parametrize(
    ("tags", "objects", "with_true_labels"),
    [
        pytest.param((0, 0), {"detected": 1, "not tagged": 1}, 1.0, id="b is not tagged"),
        pytest.param((2, 2), {"not tagged": 2}, 1.0, id="another tag"),
        pytest.param((9, 9), {"not tagged": 2}, 1.0, id="no tag"),
    ],
)
def test_errors_of_the_tagger_are_attributed_to_it(tags, objects, with_true_labels, tmp_path):
    metrics: Any = measure_chain(run_chain(pipe(), annotated(tmp_path, [tags])), resamples=2)
    assert {name: count for name, count in metrics.chain.errors.objects.items() if count} == objects
    assert metrics.with_true_labels.errors.f1.value == with_true_labels


@pytest.mark.parametrize("tags", [pytest.param((0, 1), id="the true labels"), pytest.param((0, 0), id="others")])
def test_with_true_labels_nothing_is_verified(tags, tmp_path):
    verified = pipe(tagger=SureTags()).changed(verify=9)
    made: Any = run_chain(verified, annotated(tmp_path, [tags]))
    assert [len(one) for one in (*made.predictions, *made.with_true_labels)] == [0, 2]


@pytest.mark.parametrize("gate", ["best", "none"])
def test_a_label_that_is_queried_without_being_a_tag_is_not_untagged(gate, tmp_path):
    own = replace(pipe(), settings=Settings(tag_threshold=0.5, gate=gate))
    made: Any = run_chain(own, annotated(tmp_path, [(0, 0), (9, 9)]))
    metrics: Any = measure_chain(made, resamples=2)
    assert made.queried.all() and metrics.chain.errors.objects["detected"] == 4


def test_errors_of_the_segmenter_are_attributed_to_it(tmp_path):
    metrics: Any = measure_chain(run_chain(pipe(segmenter=Half()), annotated(tmp_path, [(0, 1)])), resamples=2)
    assert metrics.chain.errors.objects["mask"] == metrics.chain.errors.detections["mask"] == 2
    assert metrics.true_box_masks.share.value == 0 and metrics.true_box_masks.mean_iou.value == pytest.approx(
        0.33, abs=0.02
    )


def test_without_masks_boxes_alone_are_measured(tmp_path):
    made: Any = run_chain(pipe(segmenter=Half()), annotated(tmp_path, [(0, 1)], masked=False))
    metrics: Any = measure_chain(made, resamples=2)
    assert not made.masked and metrics.chain.errors.f1.value == 1
    assert metrics.chain.masks is metrics.true_box_masks is metrics.true_box_masks_ap is None
    with pytest.raises(BadInput, match="boxes and no masks"):
        measure_segmenter(made)


def test_without_a_tagger_all_labels_are_queried(tmp_path):
    made: Any = run_chain(pipe(tagger=None), annotated(tmp_path, [(9, 9)]))
    metrics: Any = measure_chain(made, resamples=2)
    assert made.with_true_labels is made.scores is made.queried is metrics.with_true_labels is metrics.tags is None
    assert metrics.chain.errors.f1.value == 1


def test_a_segmenter_alone(tmp_path):
    made: Any = run_segmenter(Half(), annotated(tmp_path, [(0, 1), (0, 1)]))
    metrics: Any = measure_segmenter(made, resamples=2)
    assert made.predictions is metrics.detector_masks is metrics.detector_semantic is None
    assert metrics.true_box_masks.objects == 4 and metrics.true_box_masks.share.value == 0
    with pytest.raises(BadInput, match="no detections to measure"):
        measure_chain(made)


def test_nothing_depends_on_the_batch(tmp_path):
    data = annotated(tmp_path, [(0, 1), (0, 0), (9, 9), (1, 2)])
    sizes = [replace(pipe(), settings=Settings(tag_threshold=0.5, batch_size=size)) for size in (1, 3)]
    made: list[Any] = [run_chain(each, data) for each in sizes]
    one, other = made
    assert one.digest == other.digest
    for first, second in zip(one.predictions, other.predictions, strict=True):
        np.testing.assert_array_equal(first.class_ids, second.class_ids)
        assert first.masks == second.masks


def test_images_that_cannot_be_measured_are_left_out_and_listed(tmp_path):
    data = annotated(tmp_path, [(0, 1)] * 3)
    (tmp_path / "1.png").write_bytes(b"no image")
    Image.new("RGB", (8, 8)).save(tmp_path / "2.png")
    made: Any = run_chain(pipe(), data)
    assert made.names == (str(tmp_path / "0.png"),)
    assert [name for name, _ in made.unread] == [str(tmp_path / "1.png")]
    assert made.resized == (str(tmp_path / "2.png"),)
    with pytest.raises(BadInput, match="none has the annotated size"):
        run_chain(pipe(), replace(data, images=data.images[2:]))
    with pytest.raises(BadInput, match="can be measured: .*1.png"):
        run_chain(pipe(), replace(data, images=data.images[1:2]))


def test_an_image_without_an_object(tmp_path):
    data = annotated(tmp_path, [(9, 9), (0, 1)])
    empty = replace(
        data.images[0], xyxy=np.zeros((0, 4)), class_ids=np.zeros(0, int), crowd=np.zeros(0, bool), masks=()
    )
    made: Any = run_chain(pipe(), replace(data, images=(empty, data.images[1])))
    metrics: Any = measure_chain(made, resamples=2)
    assert sum(metrics.chain.errors.objects.values()) == 2 and metrics.chain.errors.f1.value == 1
    with pytest.raises(BadInput, match="has no object in its 1 image"):
        run_chain(pipe(), replace(data, images=(empty,)))


def test_the_chain_needs_a_detector(tmp_path):
    with pytest.raises(BadInput, match="has no detector, and the chain needs one"):
        run_chain(Pipeline(Tags(), None, None, Settings()), annotated(tmp_path, [(0, 1)]))
