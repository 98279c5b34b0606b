"""Quick preprocessing equals open_clip's to two gray levels, and stands back where it would not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from openvocab.models.taggers.clip_pixels import _always_width_first, clip_pixels

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
LANDSCAPE = [
    (48, 64),
    (64, 64),
    (108, 192),
    (30, 90),
    (31, 33),
    (1, 1),
    (2, 31),
    (32, 32),
    (33, 47),
    (32, 35),
    (300, 400),
]
ROUNDED_UP = [(48, 64), (64, 64), (30, 90), (1, 1), (2, 31), (32, 32), (300, 400)]
GRAY_LEVELS, MEAN_GRAY_LEVELS = 2, 0.05


def _recipe(**changes: Any) -> dict[str, Any]:
    given = {"size": 32, "mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"}
    return {**vars(PreprocessCfg(**{**given, **changes}))}


def _noise(height: int, width: int) -> NDArray[np.uint8]:
    """The hardest image for rounding: every pixel at random."""
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), np.uint8)


def _difference(image: NDArray[np.uint8], recipe: dict[str, Any]) -> NDArray[np.float64]:
    """Absolute differences to upstream in gray levels."""
    got = clip_pixels(image, recipe)
    assert got is not None
    assert got.dtype == torch.float32
    upstream = image_transform_v2(PreprocessCfg(**recipe), is_train=False)(Image.fromarray(image))
    assert got.shape == upstream.shape
    levels = (got - upstream).abs() * torch.tensor(recipe["std"]).view(3, 1, 1) * 255
    return np.asarray(levels.numpy(), np.float64)


@pytest.mark.parametrize(
    ("mode", "size"),
    [
        pytest.param(mode, size, id=f"{mode} {size[0]}x{size[1]}")
        for mode in ("shortest", "squash", "longest")
        for size in (LANDSCAPE if mode != "longest" else ROUNDED_UP)
    ],
)
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_pixels_are_those_of_upstream(interpolation: str, mode: str, size: tuple[int, int]) -> None:
    difference = _difference(_noise(*size), _recipe(resize_mode=mode, interpolation=interpolation))
    assert difference.max() <= GRAY_LEVELS + 1e-2
    assert difference.mean() <= MEAN_GRAY_LEVELS


@pytest.mark.parametrize("size", [(64, 48), (90, 30)], ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize("mode", ["longest", "squash"])
def test_portraits_that_grow_are_resized_too(mode: str, size: tuple[int, int]) -> None:
    difference = _difference(_noise(*size), _recipe(resize_mode=mode, size=96))
    assert difference.max() <= GRAY_LEVELS + 1e-2


@pytest.mark.parametrize(
    ("size", "changes"),
    [
        pytest.param((48, 64), {"interpolation": "random"}, id="another filter"),
        pytest.param((48, 64), {"fill_color": 7}, id="another filling"),
        pytest.param((48, 64), {"size": (32, 24)}, id="no square, by the shortest side"),
        pytest.param((1, 700), {"resize_mode": "longest"}, id="nothing left of the height"),
    ],
)
def test_other_recipes_are_left_to_upstream(size: tuple[int, int], changes: dict[str, Any]) -> None:
    assert clip_pixels(_noise(*size), _recipe(**changes)) is None


PORTRAITS = [
    pytest.param((64, 48), {"resize_mode": "squash"}, id="a squashed portrait"),
    pytest.param((33, 47), {"resize_mode": "longest"}, id="a height that is rounded down"),
    pytest.param((90, 61), {}, id="a portrait"),
]


@pytest.mark.parametrize(("size", "changes"), PORTRAITS)
def test_portraits_go_to_the_library_where_pillow_may_take_the_height_first(
    size: tuple[int, int], changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{clip_pixels.__module__}._always_width_first", lambda: False)
    assert clip_pixels(_noise(*size), _recipe(**changes)) is None


@pytest.mark.parametrize(("size", "changes"), PORTRAITS)
def test_portraits_are_those_of_upstream(size: tuple[int, int], changes: dict[str, Any]) -> None:
    if not _always_width_first():
        pytest.skip("this release of Pillow resizes the height of a portrait first")
    difference = _difference(_noise(*size), _recipe(**changes))
    assert difference.max() <= GRAY_LEVELS + 1e-2
    assert difference.mean() <= MEAN_GRAY_LEVELS


def test_another_order_of_passes_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Image.Image.resize

    def height_first(self: Image.Image, size: tuple[int, int], *more: Any) -> Image.Image:
        return own(own(self, (self.width, size[1]), *more), size, *more)

    monkeypatch.setattr(Image.Image, "resize", height_first)
    assert not _always_width_first.__wrapped__()


def test_other_shapes_of_target() -> None:
    recipe = _recipe(size=(24, 40), resize_mode="squash")
    assert _difference(_noise(48, 100), recipe).max() <= GRAY_LEVELS + 1e-2
