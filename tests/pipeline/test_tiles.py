"""Tiles: the windows, the merge at seams, and one answer in every way through the chain."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import openvocab
from openvocab import BadInput, Boxes, Pipeline, Queries, Settings
from openvocab.evaluate.data import load_annotated
from openvocab.evaluate.runs.chain import run_chain
from openvocab.pipeline.chain import tiling_of
from openvocab.pipeline.masks import EncodedMasks
from openvocab.pipeline.protocols import MaskDetector
from openvocab.pipeline.ranking import rank_boxes
from openvocab.pipeline.tiles import Tiling, grid_size, whole_boxes
from openvocab.testing import FakeDetector, FakeSegmenter, FakeTagger
from openvocab.ui.cli.main import main

VALUES = {"ant": 100, "bee": 150, "cow": 200}
"""Label -> the gray value of its object."""


@dataclass(frozen=True)
class GrayDetector(FakeDetector):
    """Finds the pixels of a label's gray value, where they are at least an eighth of the image long."""

    input_side: int = 64

    def _detect(self, image: np.ndarray, labels: Sequence[str], threshold: float) -> Boxes:
        rows = []
        for index, label in enumerate(labels):
            ys, xs = np.nonzero(image[..., 0] == VALUES[label])
            if len(xs) and max(np.ptp(xs), np.ptp(ys)) + 1 >= max(image.shape[:2]) / 8:
                rows.append((xs.min(), ys.min(), xs.max() + 1, ys.max() + 1, index))
        found = np.array(rows, np.float32).reshape(-1, 5)
        return Boxes(found[:, :4], np.full(len(found), 0.9, np.float32), found[:, 4].astype(np.int64))


@dataclass(frozen=True)
class GrayMaskDetector(GrayDetector):
    """Also returns masks: the boxes, filled."""

    def detect_masks(
        self, images: Sequence[np.ndarray], queries: Queries, threshold: float
    ) -> list[tuple[Boxes, np.ndarray]]:
        fill = FakeSegmenter()
        found = self.detect(images, queries, threshold)
        return [
            (boxes, fill.masks(fill.encode(image), boxes.xyxy)[0]) for image, boxes in zip(images, found, strict=True)
        ]


def picture(*objects: tuple[str, int, int, int, int], size: tuple[int, int] = (400, 400)) -> np.ndarray:
    image = np.zeros((*size, 3), np.uint8)
    for label, left, top, right, bottom in objects:
        image[top:bottom, left:right] = VALUES[label]
    return image


def pipeline(**settings: Any) -> Pipeline:
    tagger = FakeTagger(dict.fromkeys(VALUES, 0.9))
    return Pipeline(tagger, GrayDetector(), FakeSegmenter(), Settings(0.5, box_threshold=0.5).changed(**settings))


@pytest.mark.parametrize(
    ("size", "count", "levels"),
    [
        pytest.param((100, 100), 1, [1], id="the image alone"),
        pytest.param((100, 100), 2, [1, 4], id="two by two"),
        pytest.param((200, 200), 5, [1, 4, 9, 25], id="half as many in each coarser grid"),
        pytest.param((100, 400), 4, [1, 2, 4], id="a strip has one row"),
        pytest.param((20, 20), 9, [1], id="no tile under 16 pixels"),
        pytest.param((1, 300), 3, [1, 2, 3], id="one pixel high"),
    ],
)
def test_every_level_covers_the_image(size: tuple[int, int], count: int, levels: list[int]) -> None:
    tiling = Tiling.of(size, count)
    assert [len(level) for level in tiling.levels] == levels
    for level in tiling.levels:
        seen = np.zeros(size, bool)
        for left, top, right, bottom in level:
            assert 0 <= left < right <= size[1] and 0 <= top < bottom <= size[0]
            seen[top:bottom, left:right] = True
        assert seen.all()


@pytest.mark.parametrize("size", [(640, 640), (480, 700), (701, 333)])
@pytest.mark.parametrize("count", [2, 3, 7])
def test_a_box_of_a_fifth_of_a_tile_is_whole_in_one_tile_of_the_grid(size: tuple[int, int], count: int) -> None:
    rng = np.random.default_rng(1)
    grid = Tiling.of(size, count).levels[-1]
    longest = int((grid[0, 2:] - grid[0, :2]).max() / 5)
    for _ in range(200):
        wide, tall = rng.integers(1, longest, 2)
        left, top = rng.integers(0, size[1] - wide), rng.integers(0, size[0] - tall)
        box = np.array([[left, top, left + wide, top + tall]], np.float32)
        holds = (grid[:, :2] <= box[:, :2]).all(1) & (box[:, 2:] <= grid[:, 2:]).all(1)
        kept = [whole_boxes(box - np.tile(each[:2], 2).astype(np.float32), each, size)[1] for each in grid[holds]]
        assert any(map(len, kept))


@pytest.mark.parametrize(
    ("size", "side", "smallest", "count"),
    [
        pytest.param((2048, 2048), 256, 24, 14, id="small objects, small input"),
        pytest.param((640, 480), 960, 32, 1, id="the input is larger than the image"),
        pytest.param((640, 480), 640, 32, 1, id="as large"),
        pytest.param((3000, 4000), 960, 32, 6, id="a photograph of twelve megapixels"),
        pytest.param((3000, 4000), 960, 400, 1, id="large objects only"),
    ],
)
def test_auto_makes_the_smallest_object_32_pixels_of_the_input(
    size: tuple[int, int], side: int, smallest: int, count: int
) -> None:
    assert grid_size(size, side, smallest) == count
    left, _, right, _ = Tiling.of(size, count).levels[-1][0]
    assert count == 1 or smallest * side / (right - left) >= 31.9


def test_auto_asks_the_detector_for_its_input() -> None:
    made = tiling_of(pipeline(tiles="auto", min_object=8), picture())
    assert made.levels[-1][0].tolist() == [0, 0, 22, 22]


@pytest.mark.parametrize(
    ("box", "kept"),
    [
        pytest.param((10, 10, 30, 30), True, id="inside"),
        pytest.param((0, 10, 30, 30), True, id="at the left edge, which is the image's"),
        pytest.param((80, 10, 100, 30), False, id="at the right edge, where the next tile begins"),
        pytest.param((10, 90, 30, 99.5), False, id="half a pixel above the lower edge"),
        pytest.param((10, 70, 30, 98), True, id="two pixels above it"),
    ],
)
def test_boxes_that_a_seam_may_cut_are_dropped(box: tuple[float, ...], kept: bool) -> None:
    found, rows = whole_boxes(np.array([box], np.float32), np.array([0, 100, 100, 200]), (400, 400))
    assert len(rows) == kept
    if kept:
        assert found[0].tolist() == [box[0], box[1] + 100, box[2], box[3] + 100]


@pytest.mark.parametrize(
    ("rows", "kept"),
    [
        pytest.param([(0, 0, 40, 40, 0.9, 0, 1), (2, 2, 42, 42, 0.8, 0, 2)], [0], id="one object in two tiles"),
        pytest.param([(0, 0, 40, 20, 0.9, 0, 1), (0, 0, 40, 80, 0.8, 0, 2)], [0], id="a part of it in another tile"),
        pytest.param(
            [(0, 0, 40, 20, 0.9, 0, 1), (0, 0, 40, 80, 0.8, 0, 1)], [0, 1], id="a part of it in the same tile"
        ),
        pytest.param(
            [(0, 0, 40, 20, 0.9, 1, 1), (0, 0, 40, 80, 0.8, 0, 2)], [0, 1], id="an object on one of another label"
        ),
        pytest.param([(0, 0, 40, 40, 0.9, 1, 1), (2, 2, 42, 42, 0.8, 0, 2)], [0], id="one object under two labels"),
        pytest.param(
            [(0, 0, 80, 80, 0.9, 0, 0), (10, 10, 30, 30, 0.8, 0, 5), (11, 10, 31, 30, 0.7, 0, 0)],
            [0, 2],
            id="an object on another of its label, seen together",
        ),
        pytest.param([(0, 0, 40, 40, 0.9, 0, 1), (0, 24, 40, 64, 0.8, 0, 2)], [0], id="loose boxes of one object"),
        pytest.param([(0, 0, 40, 40, 0.9, 0, 1), (0, 24, 40, 64, 0.8, 0, 1)], [0, 1], id="the same from one tile"),
        pytest.param([(0, 0, 40, 40, 0.9, 0, 1), (0, 30, 40, 70, 0.8, 0, 2)], [0, 1], id="two objects that touch"),
        pytest.param([(0, 0, 20, 20, 0.8, 0, 1), (60, 60, 90, 90, 0.9, 0, 2)], [1, 0], id="two objects, best first"),
    ],
)
def test_boxes_of_tiles_are_merged(rows: list[tuple[float, ...]], kept: list[int]) -> None:
    table = np.array(rows, np.float32)
    boxes = Boxes(table[:, :4], table[:, 4], table[:, 5].astype(np.int64), table[:, 6].astype(np.int64))
    assert rank_boxes(boxes, Settings(), 0.5).tolist() == kept


OBJECTS = (("ant", 190, 195, 205, 208), ("bee", 20, 30, 40, 45), ("cow", 100, 220, 300, 390))


@pytest.mark.parametrize("tiles", [5, "auto"])
def test_small_objects_are_found_whole_and_once(tiles: Any) -> None:
    image, labels = picture(*OBJECTS), list(VALUES)
    assert pipeline()(image, labels).detections.labels == ("cow",)
    found = pipeline(tiles=tiles, min_object=13)(image, labels).detections
    assert {label: tuple(box) for label, box in zip(found.labels, found.xyxy.astype(int).tolist(), strict=True)} == {
        label: tuple(box) for label, *box in OBJECTS
    }
    assert isinstance(found.masks, EncodedMasks)
    for detection in found:
        left, top, right, bottom = map(int, detection.xyxy)
        assert detection.mask is not None and detection.mask.sum() == (right - left) * (bottom - top)
        assert detection.mask[top:bottom, left:right].all()


def test_masks_of_a_detector_come_from_the_tile_that_holds_the_object() -> None:
    made = Pipeline(None, GrayMaskDetector(), None, Settings(box_threshold=0.5, tiles=5))
    assert isinstance(made.detector, MaskDetector)
    found = made(picture(*OBJECTS), list(VALUES)).detections
    assert sorted(found.labels) == sorted(VALUES)
    assert {each.label: int(np.sum(each.mask)) for each in found if each.mask is not None} == {
        label: (right - left) * (bottom - top) for label, left, top, right, bottom in OBJECTS
    }


@pytest.mark.parametrize(
    ("box", "window"),
    [
        pytest.param((100, 220, 300, 390), (0, 0, 400, 400), id="a large object: the image"),
        pytest.param((20, 30, 40, 45), (0, 0, 100, 100), id="a small one: the tile that holds it"),
        pytest.param((0, 150, 60, 160), (0, 96, 161, 257), id="a longer one: a tile of a coarser grid"),
    ],
)
def test_the_window_of_a_mask_holds_its_box(box: tuple[int, ...], window: tuple[int, ...]) -> None:
    (found,) = Tiling.of((400, 400), 5).mask_windows(np.array([box], np.float32))
    assert (found[:2] <= box[:2]).all() and (found[2:] >= box[2:]).all()
    assert (found[2:] - found[:2]).max() <= 8 * max(box[2] - box[0], box[3] - box[1]) or window[2] == 400


def test_a_box_that_no_tile_holds_gets_a_window_of_its_own() -> None:
    tiling = Tiling.of((400, 400), 5)
    rng = np.random.default_rng(2)
    for left, top, wide, tall in rng.integers(1, [300, 300, 90, 90], (300, 4)):
        box = np.array([left, top, left + wide, top + tall], np.float32)
        (window,) = tiling.mask_windows(box[None])
        assert (window[:2] <= box[:2]).all() and (window[2:] >= box[2:]).all()
        assert (window >= 0).all() and (window[2:] <= 400).all()


def test_however_many_tiles_a_model_gets_a_batch_of_them() -> None:
    made = pipeline(tiles=9, batch_size=4)
    assert isinstance(made.detector, GrayDetector) and isinstance(made.tagger, FakeTagger)
    made(picture(*OBJECTS), list(VALUES))
    views = len(Tiling.of((400, 400), 9).windows)
    assert sum(made.detector.calls) == sum(made.tagger.calls) == views
    assert max(made.detector.calls) == max(made.tagger.calls) == 4


def test_a_label_scores_its_best_over_image_and_tiles() -> None:
    image = picture(("cow", 300, 300, 400, 400))
    made = Pipeline(FakeTagger(), None, None, Settings(0.0))
    vocabulary = made.vocabulary(["ant", "bee"])
    alone, tiled = (made.tag_scores([image], vocabulary, tiles=count)[0] for count in (0, 4))
    windows = Tiling.of((400, 400), 4).windows
    crops = [image[top:bottom, left:right] for left, top, right, bottom in windows]
    np.testing.assert_array_equal(tiled, made.tag_scores(crops, vocabulary).max(axis=0))
    assert (tiled >= alone).all() and (tiled > alone).any()


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """An image and its objects as a COCO data set."""
    Image.fromarray(picture(*OBJECTS)).save(tmp_path / "image.png")
    rows = [
        {"id": at, "image_id": 1, "category_id": at, "bbox": [x, y, r - x, b - y], "area": 9, "iscrowd": 0}
        for at, (_, x, y, r, b) in enumerate(OBJECTS, 1)
    ]
    names = [{"id": at, "name": label} for at, (label, *_) in enumerate(OBJECTS, 1)]
    images = [{"id": 1, "file_name": "image.png", "height": 400, "width": 400}]
    path = tmp_path / "coco.json"
    path.write_text(json.dumps({"images": images, "annotations": rows, "categories": names}), "utf-8")
    return path


def test_every_way_through_the_chain_gives_the_same_answer(coco: Path) -> None:
    made, path = pipeline(tiles=5, windows=2), coco.parent / "image.png"
    wanted = made(path, list(VALUES))
    assert len(wanted.detections) == 3 and wanted.run.settings["tiles"] == 5
    (streamed,) = made.run(path, list(VALUES))
    made.run_to(coco.parent / "run", path, list(VALUES), cache=coco.parent / "cache")
    (row,) = openvocab.read_run(coco.parent / "run")
    made.run_to(coco.parent / "again", path, list(VALUES), cache=coco.parent / "cache")
    (cached,) = openvocab.read_run(coco.parent / "again")
    (evaluated,) = run_chain(made, load_annotated(str(coco), "coco")).predictions or ()
    stages = made.segment(picture(*OBJECTS), made.detect(picture(*OBJECTS), made.vocabulary(list(VALUES))))
    for tags in (streamed.tags, row.tags, cached.tags):
        assert tags == wanted.tags
    for found in (streamed.detections, row.detections, cached.detections, evaluated, stages):
        assert found is not None and found.labels == wanted.detections.labels
        np.testing.assert_array_equal(found.xyxy, wanted.detections.xyxy)
        np.testing.assert_array_equal(found.scores, wanted.detections.scores)
        assert found.masks is not None and wanted.detections.masks is not None
        np.testing.assert_array_equal(np.asarray(found.masks), np.asarray(wanted.detections.masks))


def test_the_cache_keeps_features_of_other_tiles_apart(tmp_path: Path) -> None:
    Image.fromarray(picture(("cow", 300, 300, 400, 400))).save(tmp_path / "image.png")
    made = Pipeline(FakeTagger(), None, None, Settings(0.0))
    for count in (0, 4):
        (result,) = made.run(tmp_path / "image.png", ["ant", "bee"], cache=tmp_path / "cache", tiles=count)
        assert result.tags == made(tmp_path / "image.png", ["ant", "bee"], tiles=count).tags


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"tiles": -1}, "tiles must be 'auto' or a whole number", id="negative"),
        pytest.param({"tiles": "many"}, "tiles must be 'auto' or a whole number", id="a word"),
        pytest.param({"min_object": 0}, "min_object must be a whole number of at least 1", id="objects of no pixel"),
    ],
)
def test_tiles_that_do_not_fit_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        pipeline()(picture(), ["ant"], **values)


def test_what_cannot_be_tiled_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="explore .* takes no tiles"):
        pipeline(tiles=2).explore(picture(), list(VALUES)).__next__()
    with pytest.raises(BadInput, match="the models saw no tiles"):
        list(pipeline().explore(picture(), list(VALUES)))[-1].result(tiles=2)
    blind = replace(pipeline(tiles="auto"), detector=FakeDetector())
    with pytest.raises(BadInput, match="needs the input size of fake:detector"):
        blind(picture(), list(VALUES))
    Image.fromarray(picture()).save(tmp_path / "image.png")
    tagger = replace(pipeline(tiles=2), detector=None, segmenter=None)
    with pytest.raises(BadInput, match="decode_size makes images smaller"):
        tagger.run_to(tmp_path / "run", tmp_path / "image.png", ["ant"], decode_size=100)


def test_the_embedded_models_find_small_objects_by_tiles_on_the_command_line(tmp_path: Path) -> None:
    scene = openvocab.example_scenes()[0]
    tiny = np.array(Image.open(scene.path).convert("RGB").resize((128, 128), Image.Resampling.LANCZOS))
    large = np.full((512, 512, 3), tiny.reshape(-1, 3).mean(0).astype(np.uint8))
    large[200:328, 170:298] = tiny
    Image.fromarray(large).save(tmp_path / "large.png")
    found = []
    for name, options in (("without", []), ("with", ["--tiles", "auto", "--min-object", "24"])):
        given = ["--labels", ", ".join(scene.labels), "--out", str(tmp_path / name), "--no-images"]
        assert main(["annotate", str(tmp_path / "large.png"), *given, *options]) == 0
        (row,) = openvocab.read_run(tmp_path / name)
        found.append(set(row.detections.labels if row.detections is not None else ()))
    assert len(found[1]) > len(found[0]) and found[1] == set(scene.labels)
