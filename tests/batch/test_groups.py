"""Images that want the same labels are seen together, and no answer depends on that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import openvocab
from openvocab import Pipeline, Result, Settings
from openvocab.models.taggers.dual_encoder import DualEncoder
from openvocab.pipeline.protocols import Boxes, Queries
from openvocab.testing import FakeDetector, FakeSegmenter, FakeTagger

LABELS = ("dark", "light", "red", "green", "blue")
COUNT = 23


@dataclass(frozen=True)
class Seeing(FakeDetector):
    """Finds every label that it is asked for, at a place and with a score of the label's and the image's own."""

    batch: int = 8
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def detect(self, images: Sequence[np.ndarray], queries: Queries, threshold: float) -> list[Boxes]:
        self.calls.append(len(images))
        self.asked.append(queries.labels)
        return [self._boxes(image, queries.labels) for image in images]

    def _boxes(self, image: np.ndarray, labels: Sequence[str]) -> Boxes:
        places = [LABELS.index(label) for label in labels]
        xyxy = [[3 * place, place, 3 * place + 2, place + 2] for place in places]
        scores = [(image.mean() + 40 * place) / 512 for place in places]
        return Boxes(np.array(xyxy, np.float32), np.array(scores, np.float32), np.arange(len(labels)))


@dataclass(frozen=True)
class Together(FakeSegmenter):
    """Encodes several images at a time, and records how many."""

    batch: int = 1
    together: list[int] = field(default_factory=list)

    def encode_batch(self, images: Sequence[np.ndarray]) -> list[tuple[int, int]]:
        self.together.append(len(images))
        return [self.encode(image) for image in images]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made, colors = tmp_path_factory.mktemp("images"), np.random.default_rng(0).integers(0, 256, (COUNT, 3))
    for number, color in enumerate(colors.tolist()):
        Image.new("RGB", (20 + number % 3, 16), tuple(color)).save(made / f"{number:02}.png")
    return made


def pipeline(**settings: Any) -> Pipeline:
    given = {"tag_threshold": 0.0, "box_threshold": 0.0, "gate": "threshold", **settings}
    return Pipeline(FakeTagger(), Seeing(), Together(), Settings().changed(**given))


def plain(result: Result) -> list[Any]:
    found = result.detections
    return [result.tags, found.labels, found.xyxy.tolist(), found.scores.tolist(), np.asarray(found.masks).tolist()]


SPLITS = [
    pytest.param({}, 1, id="the same labels in another order"),
    pytest.param({"max_tags": 2}, 10, id="other labels"),
    pytest.param({"gate": "none"}, 1, id="all labels"),
    pytest.param({"gate": "best", "max_tags": 4}, 5, id="the best labels"),
]


@pytest.mark.parametrize(("settings", "most"), SPLITS)
def test_the_detector_sees_images_of_one_set_of_labels_together(
    folder: Path, settings: dict[str, Any], most: int
) -> None:
    pipe = pipeline(**settings)
    results = list(pipe.run(folder, LABELS, batch_size=COUNT, detector_batch_size=COUNT))
    assert isinstance(pipe.detector, Seeing)
    sets = [frozenset(labels) for labels in pipe.detector.asked]
    assert len(sets) == len(set(sets)) <= most
    assert sum(pipe.detector.calls) == COUNT
    alone = pipeline(**settings)
    assert [plain(one) for one in results] == [plain(alone(path, LABELS)) for path in sorted(folder.iterdir())]


@pytest.mark.parametrize("sizes", [(1, 1, 1), (4, 3, 2), (7, 16, 5), (COUNT, COUNT, COUNT)])
@pytest.mark.parametrize(("settings", "most"), SPLITS)
def test_no_answer_depends_on_the_sizes_of_batches(
    folder: Path, settings: dict[str, Any], most: int, sizes: tuple[int, int, int]
) -> None:
    names = ("batch_size", "detector_batch_size", "segmenter_batch_size")
    pipe = pipeline(**settings)
    found = list(pipe.run(folder, LABELS, **dict(zip(names, sizes, strict=True))))  # type: ignore[arg-type]
    assert [plain(one) for one in found] == [plain(one) for one in pipe.run(folder, LABELS)]


@pytest.mark.parametrize("order", [slice(None, None, -1), slice(None, None, 2)])
def test_no_answer_depends_on_neighbors(folder: Path, order: slice) -> None:
    paths, pipe = sorted(folder.iterdir()), pipeline(max_tags=2)
    known = {result.source: plain(result) for result in pipe.run(paths, LABELS)}
    for result in pipe.run(paths[order], LABELS):
        assert plain(result) == known[result.source]


def test_stages_take_the_sizes_that_are_asked_for(folder: Path) -> None:
    pipe = pipeline(detector_batch_size=5, segmenter_batch_size=4)
    list(pipe.run(folder, LABELS))
    assert isinstance(pipe.detector, Seeing)
    assert isinstance(pipe.segmenter, Together)
    assert pipe.detector.calls == [5, 5, 5, 5, 3]
    assert max(pipe.segmenter.together) <= 4
    assert len(pipe.segmenter.together) == 6


def test_a_batch_size_over_the_default_reaches_the_model(
    folder: Path, clip_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, own = list[int](), DualEncoder._encode_batch

    def counted(self: DualEncoder, images: Sequence[Any]) -> Any:
        sizes.append(len(images))
        return own(self, images)

    monkeypatch.setattr(DualEncoder, "_encode_batch", counted)
    pipe = openvocab.load(tagger=f"open_clip:local-dir:{clip_folders['softmax']}", dtype="float32", batch_size=128)
    images = [np.asarray(Image.open(path)) for path in sorted(folder.iterdir())] * 6
    list(pipe.run(images[:130], ["cat", "dog"]))
    assert sizes == [128, 2]


def test_a_failing_image_of_a_batch_of_the_segmenter_fails_alone(folder: Path) -> None:
    class Broken(Together):
        def encode(self, image: np.ndarray) -> tuple[int, int]:
            if image.shape[1] == 21:
                raise ValueError("too wide")
            return super().encode(image)

    pipe, failed = replace(pipeline(segmenter_batch_size=6), segmenter=Broken()), list[str]()
    results = list(pipe.run(folder, LABELS, on_error=lambda path, _: failed.append(path.name)))
    assert failed == [f"{number:02}.png" for number in range(COUNT) if number % 3 == 1]
    assert len(results) == COUNT - len(failed)
