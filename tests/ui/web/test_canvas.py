from __future__ import annotations

import base64
from importlib.resources import files
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

import openvocab

pytest.importorskip("gradio")

from openvocab.ui.web import canvas as board
from openvocab.ui.web.desk import Desk


def decoded(address: str) -> Image.Image:
    return Image.open(BytesIO(base64.b64decode(address.partition(",")[2])))


def desk(height: int, width: int) -> Desk:
    image = np.random.default_rng(7).integers(0, 256, (height, width, 3), np.uint8)
    return Desk("scene.png", "pocket", openvocab.Encoded(image))


def disc(height: int, width: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    rows, columns = np.ogrid[:height, :width]
    return np.asarray(((rows - height / 2) / height) ** 2 + ((columns - width / 2) / width) ** 2 < 0.1)


@pytest.mark.parametrize("name", ["canvas.html", "canvas.css"])
def test_templates_hold_nothing_that_gradio_would_run(name):
    text = files("openvocab.ui.web").joinpath(name).read_text("utf-8")
    assert not [mark for mark in ("${", "{{", "`", "\\") if mark in text]


@pytest.mark.parametrize("name", ["canvas.js", "canvas_view.js"])
def test_scripts_write_no_markup(name):
    text = files("openvocab.ui.web").joinpath(name).read_text("utf-8")
    assert not [
        word for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(") if word in text
    ]


def test_masks_are_one_bit_images_of_the_same_pixels():
    masks = np.stack([disc(40, 60), ~disc(40, 60), np.zeros((40, 60), bool)])
    found = board.candidates(masks, np.array([0.5, 0.25, 0.125], np.float32))
    for mask, one in zip(masks, found, strict=True):
        assert np.array_equal(np.asarray(decoded(one["png"]).convert("RGBA"))[..., 3] > 0, mask)
    assert [one["score"] for one in found] == [0.5, 0.25, 0.125]
    assert found[1]["box"] == (0, 0, 60, 40) and found[2]["box"] is None


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        pytest.param((200, 300), (200, 300), id="small"),
        pytest.param((2560, 640), (1280, 320), id="tall"),
        pytest.param((3, 2600), (1, 1280), id="a strip"),
    ],
)
def test_what_is_large_is_sent_at_the_size_of_the_page(size, shown):
    message = board.opening(desk(*size))
    assert (message["height"], message["width"]) == size
    assert decoded(message["image"]).size == shown[::-1]
    (mask,) = board.candidates(np.ones((1, *size), bool), np.ones(1, np.float32))
    assert decoded(mask["png"]).size == shown[::-1]


def test_small_images_are_sent_without_loss():
    made = desk(50, 70)
    assert np.array_equal(np.asarray(decoded(board.opening(made)["image"])), made.encoded.image)


def test_objects_of_one_name_have_one_color():
    made = desk(40, 60)
    for name in ("cat", "dog", "cat"):
        made = made.added(disc(40, 60), 0.5, name)
    things = board.things(made)
    assert tuple(thing["color"] for thing in things) == openvocab.colors_of(["cat", "dog", "cat"])
    assert [thing["number"] for thing in things] == [1, 2, 3]


def test_each_opening_is_told_from_the_last():
    assert board.closed()["opens"] != board.closed()["opens"]
    assert board.answer("1")["serial"] == 0
