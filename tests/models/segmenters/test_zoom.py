"""A small box is segmented in an enlarged window of its own, with room around it, and its mask is moved back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from openvocab.models.segmenters.sam_segmenter import SamSegmenter
from openvocab.models.segmenters.zoom import mask_windows, masks_by_window
from tests.tiny.sam import write

SIZES = [
    pytest.param((256, 256), id="square"),
    pytest.param((100, 640), id="wide"),
    pytest.param((3000, 400), id="tall"),
    pytest.param((1, 1), id="one pixel"),
]
SIDE, ZOOM = 256, 2.0


def _boxes(count: int, height: int, width: int) -> NDArray[np.float32]:
    """Return (count, 4) boxes of all lengths, with edges inside the image."""
    rng = np.random.default_rng(count)
    extent = np.array([width, height]) * rng.random((count, 1)) ** 2 * rng.random((count, 2))
    start = rng.random((count, 2)) * (np.array([width, height]) - extent)
    return np.concatenate([start, start + extent], axis=1).astype(np.float32)


@pytest.mark.parametrize("size", SIZES)
class TestWindows:
    def test_holds_its_box_in_the_image(self, size: tuple[int, int]) -> None:
        boxes = _boxes(300, *size)
        windows = mask_windows(boxes, size, SIDE, ZOOM)
        assert (windows[:, :2] >= 0).all()
        assert (windows[:, 2:] <= size[::-1]).all()
        assert (windows[:, :2] <= boxes[:, :2]).all()
        assert (windows[:, 2:] >= boxes[:, 2:]).all()

    def test_has_room_around_its_box(self, size: tuple[int, int]) -> None:
        boxes = _boxes(300, *size)
        windows = mask_windows(boxes, size, SIDE, ZOOM)
        longer = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
        room = np.concatenate([boxes[:, :2] - windows[:, :2], windows[:, 2:] - boxes[:, 2:]], axis=1)
        ends = np.concatenate([windows[:, :2] == 0, windows[:, 2:] == size[::-1]], axis=1)
        assert (ends | (room >= 0.2 * longer[:, None])).all()

    def test_depends_on_its_box_alone(self, size: tuple[int, int]) -> None:
        boxes = _boxes(20, *size)
        alone = np.concatenate([mask_windows(one[None], size, SIDE, ZOOM) for one in boxes])
        assert mask_windows(boxes, size, SIDE, ZOOM).tolist() == alone.tolist()


@pytest.mark.parametrize(
    ("box", "window"),
    [
        pytest.param([10, 10, 200, 60], [0, 0, 256, 256], id="large: the image"),
        pytest.param([0, 0, 256, 256], [0, 0, 256, 256], id="all of it"),
        pytest.param([96, 96, 160, 160], [64, 64, 192, 192], id="a quarter: a half around it"),
        pytest.param([0, 0, 60, 60], [0, 0, 128, 128], id="corner: moved into the image"),
        pytest.param([128, 128, 129, 129], [96, 96, 160, 160], id="one pixel: enlarged four times"),
        pytest.param([7, 7, 7, 7], [0, 0, 64, 64], id="empty"),
    ],
)
def test_window(box: list[float], window: list[int]) -> None:
    assert mask_windows(np.array([box], np.float32), (256, 256), SIDE, ZOOM).tolist() == [window]


def test_boxes_of_one_object_share_a_window() -> None:
    around = np.array([100, 100, 150, 150], np.float32) + np.random.default_rng(0).normal(0, 2, (30, 4)).astype("f4")
    assert len(np.unique(mask_windows(around, (256, 256), SIDE, ZOOM), axis=0)) <= 4


def test_masks_are_moved_back() -> None:
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (90, 120, 3)).astype(np.uint8)
    boxes = np.array([[4, 6, 9, 12], [70, 50, 75, 58], [3, 6, 8, 12], [0, 0, 120, 90]], np.float32)
    windows = np.array([[0, 0, 20, 20], [60, 45, 80, 65], [0, 0, 20, 20], [0, 0, 120, 90]])
    asked: list[tuple[tuple[int, ...], int]] = []

    def filled(window: NDArray[np.uint8], inside: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        asked.append((window.shape, len(inside)))
        masks = np.zeros((len(inside), *window.shape[:2]), np.bool_)
        for mask, (left, top, right, bottom) in zip(masks, inside.astype(int), strict=True):
            mask[top:bottom, left:right] = True
        return masks, inside[:, 2] - inside[:, 0]

    masks, scores = masks_by_window(image, boxes, windows, filled)
    truth = np.zeros((4, 90, 120), np.bool_)
    for mask, (left, top, right, bottom) in zip(truth, boxes.astype(int), strict=True):
        mask[top:bottom, left:right] = True
    assert (masks == truth).all()
    assert scores.tolist() == [5, 5, 5, 120]
    assert sorted(asked) == [((20, 20, 3), 1), ((20, 20, 3), 2), ((90, 120, 3), 1)]


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> SamSegmenter:
    return SamSegmenter.load(write(tmp_path_factory.mktemp("sam") / "tiny"), "cpu", "float32")


class TestSegmenter:
    image = np.random.default_rng(2).integers(0, 256, (120, 160, 3)).astype(np.uint8)
    boxes = np.array([[20, 20, 40, 44], [1, 2, 158, 119], [22, 20, 41, 43]], np.float32)

    def test_sees_the_window_of_a_small_box(self, segmenter: SamSegmenter) -> None:
        near = replace(segmenter, zoom=ZOOM)
        side = segmenter.model.image_encoder.img_size
        left, top, right, bottom = mask_windows(self.boxes, (120, 160), side, ZOOM)[0]
        masks, scores = near.masks(near.encode(self.image), self.boxes)
        window = segmenter.encode(self.image[top:bottom, left:right])
        own, own_scores = segmenter.masks(window, self.boxes[:1] - np.array([left, top, left, top], np.float32))
        assert (right - left, bottom - top) != (160, 120)
        assert (masks[0, top:bottom, left:right] == own[0]).all()
        assert masks[0].sum() == own[0].sum()
        assert scores[0] == pytest.approx(own_scores[0], abs=1e-6)

    def test_sees_the_image_for_a_large_box(self, segmenter: SamSegmenter) -> None:
        near = replace(segmenter, zoom=ZOOM)
        found = near.masks(near.encode(self.image), self.boxes[1:2])
        plain = segmenter.masks(segmenter.encode(self.image), self.boxes[1:2])
        assert (found[0] == plain[0]).all()
        assert found[1].tolist() == plain[1].tolist()

    def test_neighbors_change_nothing(self, segmenter: SamSegmenter) -> None:
        near = replace(segmenter, zoom=ZOOM)
        encoded = near.encode(self.image)
        masks, scores = near.masks(encoded, self.boxes)
        for row in range(3):
            own, score = near.masks(encoded, self.boxes[row : row + 1])
            assert (own[0] == masks[row]).mean() > 0.999
            assert score[0] == pytest.approx(scores[row], abs=1e-5)

    def test_prompts_are_asked_in_the_image(self, segmenter: SamSegmenter) -> None:
        near = replace(segmenter, zoom=ZOOM)
        found = near.prompt(near.encode(self.image), box=self.boxes[0])
        plain = segmenter.prompt(segmenter.encode(self.image), box=self.boxes[0])
        assert (found[0] == plain[0]).all()

    def test_no_box_no_mask(self, segmenter: SamSegmenter) -> None:
        near = replace(segmenter, zoom=ZOOM)
        masks, scores = near.masks(near.encode(self.image), np.zeros((0, 4), np.float32))
        assert masks.shape == (0, 120, 160)
        assert scores.shape == (0,)
