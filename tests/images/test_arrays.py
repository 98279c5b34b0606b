"""Tensors and open files as images: the same array as from a file, or one sentence."""

from __future__ import annotations

from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from openvocab.errors import BadInput, ImageError
from openvocab.images.read import read_image

PIXELS = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
CHANNELS_FIRST = torch.from_numpy(PIXELS.copy()).permute(2, 0, 1)


def png() -> bytes:
    with BytesIO() as file:
        Image.fromarray(PIXELS).save(file, "PNG")
        return file.getvalue()


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(CHANNELS_FIRST, id="uint8"),
        pytest.param(CHANNELS_FIRST / 255, id="float32"),
        pytest.param((CHANNELS_FIRST / 255).double(), id="float64"),
        pytest.param((CHANNELS_FIRST / 255).requires_grad_(), id="with a gradient"),
        pytest.param(BytesIO(png()), id="open bytes"),
    ],
)
def test_tensors_and_open_files_are_images(source: Any) -> None:
    image = read_image(source)
    np.testing.assert_array_equal(image, PIXELS)
    image[:] = 0
    np.testing.assert_array_equal(CHANNELS_FIRST.permute(1, 2, 0), PIXELS)  # the tensor is the caller's


def test_a_gray_tensor_and_a_file_on_disk_are_images(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_image(CHANNELS_FIRST[:1]), np.repeat(PIXELS[:, :, :1], 3, axis=2))
    (tmp_path / "a.png").write_bytes(png())
    with open(tmp_path / "a.png", "rb") as file:
        np.testing.assert_array_equal(read_image(file), PIXELS)


def closed() -> BytesIO:
    file = BytesIO(png())
    file.close()
    return file


@pytest.mark.parametrize(
    ("source", "kind", "says"),
    [
        pytest.param(CHANNELS_FIRST[None], BadInput, r"\(3, H, W\), got \(1, 3, 4, 5\); give images one", id="batch"),
        pytest.param(CHANNELS_FIRST.permute(1, 2, 0), BadInput, r"got \(4, 5, 3\); put .*permute", id="channels last"),
        pytest.param(CHANNELS_FIRST.float(), BadInput, "must lie in 0 to 1; undo its normalization", id="0 to 255"),
        pytest.param(CHANNELS_FIRST / 0.0, BadInput, "must lie in 0 to 1", id="NaN"),
        pytest.param(CHANNELS_FIRST.long(), BadInput, "uint8 or float in 0 to 1, got torch.int64", id="integers"),
        pytest.param(CHANNELS_FIRST[:, :0], BadInput, "holds no pixels", id="empty"),
        pytest.param(StringIO("x"), BadInput, "must give bytes, got str; open it with mode 'rb'", id="text file"),
        pytest.param(BytesIO(b"x"), ImageError, "the file given", id="no image"),
        pytest.param(closed(), ImageError, "the file given cannot be read .*closed.*; open it again", id="closed"),
    ],
)
def test_what_is_no_image_is_refused_in_a_sentence(source: Any, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        read_image(source)
