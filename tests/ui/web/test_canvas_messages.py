from __future__ import annotations

import base64
from dataclasses import replace
from importlib.resources import files
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

import openvocab

pytest.importorskip("gradio")

from openvocab.ui.web import canvas_messages as messages
from openvocab.ui.web.workspace import Workspace

SCRIPTS = sorted(each.name for each in (files("openvocab.ui.web") / "canvas").iterdir() if each.name.endswith(".js"))


def decoded(address: str) -> Image.Image:
    return Image.open(BytesIO(base64.b64decode(address.partition(",")[2])))


def workspace(height: int, width: int) -> Workspace:
    image = np.random.default_rng(7).integers(0, 256, (height, width, 3), np.uint8)
    return Workspace("scene.png", "", "pocket", openvocab.Encoded(image))


def disc(height: int, width: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    rows, columns = np.ogrid[:height, :width]
    return np.asarray(((rows - height / 2) / height) ** 2 + ((columns - width / 2) / width) ** 2 < 0.1)


@pytest.mark.parametrize("name", ["canvas.html", "canvas.css"])
def test_templates_contain_no_code_for_gradio_to_run(name):
    text = (files("openvocab.ui.web") / "canvas" / name).read_text("utf-8")
    assert not [mark for mark in ("${", "{{", "`", "\\") if mark in text]


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_write_text_only(name):
    text = (files("openvocab.ui.web") / "canvas" / name).read_text("utf-8")
    assert not [
        word for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(") if word in text
    ]


def test_masks_are_run_lengths_of_the_same_pixels():
    masks = np.stack([disc(40, 60), ~disc(40, 60), np.zeros((40, 60), bool)])
    found = messages.mask_values(masks, np.array([0.5, 0.25, 0.125], np.float32))
    for mask, one in zip(masks, found, strict=True):
        assert np.array_equal(openvocab.decode_mask(one["mask"]), mask)
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
def test_large_images_are_downscaled_for_the_page(size, shown):
    message = messages.image_message(workspace(*size))
    assert (message["height"], message["width"]) == size
    assert decoded(message["image"]).size == shown[::-1]
    (mask,) = messages.mask_values(np.ones((1, *size), bool), np.ones(1, np.float32))
    assert mask["mask"]["size"] == list(shown)


def test_small_images_are_sent_without_loss():
    made = workspace(50, 70)
    assert np.array_equal(np.asarray(decoded(messages.image_message(made)["image"])), made.encoded.image)


def test_objects_of_one_label_have_one_color():
    made = workspace(40, 60)
    for name in ("cat", "dog", "cat"):
        made = made.add(disc(40, 60), 0.5, name)
    objects = messages.objects_message(made)["objects"]
    assert tuple(each["color"] for each in objects) == openvocab.colors_of(["cat", "dog", "cat"])
    assert [each["key"] for each in objects] == ["added-1", "added-2", "added-3"]


def test_what_is_in_the_image_and_what_is_not_is_listed_with_its_probability():
    made = workspace(40, 60)
    places = {f"label {number}": number for number in range(40)}
    chances = np.linspace(0, 1, 40, dtype=np.float32)
    raw = replace(made.raw(), presence=openvocab.Presence(places, chances))
    found = messages.objects_message(made, raw)["presence"]
    assert [side["more"] for side in found.values()] == [12, 12]
    assert found["present"]["rows"][0] == {"label": "label 39", "score": 1.0, "color": None}
    assert found["absent"]["rows"][0]["label"] == "label 19"
    assert messages.objects_message(made)["presence"]["present"] == {"rows": [], "more": 0}


def test_messages_and_replies_have_ids():
    assert messages.empty_message()["opens"] != messages.empty_message()["opens"]
    assert messages.reply("1")["serial"] == 0
