from __future__ import annotations

import io
import struct
import zlib
from base64 import b64decode
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio")

import openvocab
from openvocab import Detections, Result, RunRecord
from openvocab.errors import BadInput, ImageError
from openvocab.ui.web.images import data_url, draw_for_page, file_name, image_files, image_input, read_upload, thumbnail

RECORD = RunRecord("0", None, None, None, ("{label}",), "", "", {})


def huge_png():
    """81 megapixels in 10 KB."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 9000, 9000, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1126 * 9000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        pytest.param(huge_png(), "too_large", id="81 megapixels"),
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b"<svg onload=alert(1)>", "not_an_image", id="svg"),
    ],
)
def test_errors_name_the_file_without_its_path(tmp_path, data, kind):
    path = tmp_path / "one's.png"
    path.write_bytes(data)
    with pytest.raises(ImageError, match="one's.png") as raised:
        read_upload(str(path), 40_000_000)
    assert raised.value.kind == kind
    assert str(tmp_path) not in str(raised.value)


def test_an_image_is_read_as_the_library_reads_it():
    scene = openvocab.example_scenes()[0]
    np.testing.assert_array_equal(read_upload(str(scene.path), 10**6), openvocab.read_image(scene.path))
    assert file_name(str(scene.path)) == "scene-1.png"


@pytest.mark.parametrize("path", [None, ""])
def test_no_image_is_an_error(path):
    with pytest.raises(BadInput, match="there is no image"):
        read_upload(path, 10)


def _preprocess(component: Any) -> Any:
    return component.preprocess


def test_components_return_paths_without_decoding(tmp_path):
    path = tmp_path / "huge.png"
    path.write_bytes(huge_png())
    one, several = map(_preprocess, (image_input(), image_files()))
    payload = SimpleNamespace(path=str(path), url=None)
    assert one(payload) == str(path)
    assert several(SimpleNamespace(root=[payload, payload])) == [str(path)] * 2
    assert (one(None), several(None)) == (None, [])
    with pytest.raises(BadInput, match="uploaded file"):
        one(SimpleNamespace(path=None, url="data:image/png;base64,AAAA"))


def result_of(height, width):
    image = np.full((height, width, 3), 200, np.uint8)
    masks = np.zeros((1, height, width), bool)
    masks[0, : height // 2, : width // 2] = True
    box = np.array([[0, 0, width // 2, height // 2]], np.float32)
    one = np.ones(1, np.float32)
    return Result("a.png", width, height, (), Detections(box, one, ("cat",), one, one, masks), RECORD, image)


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        pytest.param((768, 800), (800, 768), id="as it is"),
        pytest.param((3000, 2000), (853, 1280), id="scaled down"),
        pytest.param((1, 4000), (1280, 1), id="a line"),
    ],
)
def test_large_results_are_downscaled(size, shown):
    assert draw_for_page(result_of(*size)).size == shown


def test_downscaling_keeps_detections_in_place():
    small = np.asarray(draw_for_page(replace(result_of(2560, 2560), source="b")))
    inside, outside = small[320, 320], small[1000, 1000]
    assert abs(outside.astype(int) - 200).max() <= 1
    assert abs(inside.astype(int) - 200).max() > 10


def test_data_urls_contain_a_jpeg():
    image = Image.new("RGB", (640, 320), "red")
    url = thumbnail(image, 160)
    head, data = url.split(",")
    assert head == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(b64decode(data))).size == (160, 80)
    assert len(data_url(image, 20)) < len(data_url(image, 95))
