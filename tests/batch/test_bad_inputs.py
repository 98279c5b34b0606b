"""Inputs that are damaged, odd or hostile, through a whole run."""

from __future__ import annotations

import csv
import ctypes
import gc
import itertools
import os
import socket
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import openvocab
from tests.helpers.stages import LABELS, chain, save_images, tagging


def encoded(kind: str, size: int = 40) -> bytes:
    """An image of some detail in a format."""
    data, rng = BytesIO(), np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (size, size, 3), np.uint8)).save(data, kind)
    return data.getvalue()


def kinds(run: Path) -> dict[str, str | None]:
    """Name of each input -> what was wrong with it."""
    return {Path(row.id).name: row.error_kind for row in openvocab.read_run(run)}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_truncated_file_never_gives_half_an_image(tmp_path: Path, kind: str) -> None:
    data, folder = encoded(kind), tmp_path / "p"
    folder.mkdir()
    for share in range(10):
        (folder / f"{share}.img.png").write_bytes(data[: len(data) * share // 10])
    (folder / "whole.png").write_bytes(data)
    tagging().run_to(tmp_path / "run", folder, LABELS)
    found = kinds(tmp_path / "run")
    assert found.pop("whole.png") is None
    assert found.pop("0.img.png") == "empty"
    assert set(found.values()) <= {"truncated", "corrupt"}


def test_a_wrong_checksum_is_corrupt(tmp_path: Path) -> None:
    data = bytearray(encoded("PNG"))
    at = data.index(b"IHDR") + 4 + 13  # its CRC
    data[at] ^= 0xFF
    (tmp_path / "a.png").write_bytes(data)
    tagging().run_to(tmp_path / "run", tmp_path / "a.png", LABELS)
    assert kinds(tmp_path / "run") == {"a.png": "corrupt"}


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        pytest.param(lambda path: path.write_bytes(b""), "empty", id="zero bytes"),
        pytest.param(lambda path: path.write_bytes(b"<!DOCTYPE html><p>404"), "not_an_image", id="HTML"),
        pytest.param(lambda path: path.write_bytes(b"a few words"), "not_an_image", id="text"),
        pytest.param(os.mkfifo, "not_a_file", id="pipe"),
        pytest.param(_socket, "not_a_file", id="socket"),
        pytest.param(lambda path: path.symlink_to("/dev/zero"), "not_a_file", id="device"),
        pytest.param(lambda path: path.symlink_to("gone"), "missing", id="dangling link"),
        pytest.param(lambda path: path.symlink_to(path.name), "missing", id="looping link"),
    ],
)
def test_an_input_that_is_no_image_is_one_row_and_special_files_are_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], object], kind: str
) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    folder = Path("p")
    save_images(folder, 2)
    make(folder / "00001-odd.png")
    opened: list[Any] = []
    real = os.open

    def recorded(path: Any, *more: Any, **named: Any) -> int:
        opened.append(path)
        return real(path, *more, **named)

    monkeypatch.setattr(os, "open", recorded)
    summary = tagging().run_to("run", folder, LABELS)
    assert (str(folder / "00001-odd.png") in opened) == (kind in ("empty", "not_an_image"))
    assert (summary.ok, summary.errors) == (2, {kind: 1})


def in_mode(mode: str) -> bytes:
    """The same soft image in a mode."""
    across = np.linspace(0, 255, 32, dtype=np.uint8)
    gray = np.broadcast_to(across, (32, 32))
    data = BytesIO()
    if mode == "I;16":
        Image.fromarray(gray.astype(np.uint16) * 257).save(data, "PNG")
    elif mode == "F":
        Image.fromarray(gray.astype(np.float32) / 255).save(data, "TIFF")
    elif mode == "P+tRNS":
        Image.fromarray(gray).convert("P").save(data, "PNG", transparency=255)
    elif mode == "1":
        Image.fromarray(gray).convert("1").save(data, "PNG")
    else:
        made = Image.fromarray(gray).convert("RGB").convert("RGB" if mode == "LA" else mode)
        made.convert(mode).save(data, "TIFF" if mode in ("CMYK", "LAB", "YCbCr") else "PNG")
    return data.getvalue()


@pytest.mark.parametrize(
    ("mode", "near"),
    [
        *(pytest.param(mode, 0.01, id=mode) for mode in ("L", "LA", "RGBA", "P", "P+tRNS", "I;16", "F")),
        *(pytest.param(mode, 0.03, id=mode) for mode in ("CMYK", "LAB", "1")),
    ],
)
def test_every_color_mode_gives_the_same_tags(tmp_path: Path, mode: str, near: float) -> None:
    plain, other = in_mode("RGB"), in_mode(mode)
    found = []
    for name, data in (("plain", plain), ("other", other)):
        (tmp_path / name).write_bytes(data)
        (result,) = tagging().run(tmp_path / name, LABELS)
        found.append({tag.label: tag.score for tag in result.tags})
    assert found[1] == pytest.approx(found[0], abs=near)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        pytest.param(encoded("JPEG"), None, id="JPEG called PNG"),
        pytest.param(encoded("WEBP"), None, id="WEBP called PNG"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not_an_image", id="EPS called PNG"),
        pytest.param(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not_an_image", id="SVG called PNG"),
    ],
)
def test_content_decides_the_format_and_not_the_suffix(tmp_path: Path, data: bytes, kind: str | None) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.png").write_bytes(data)
    tagging().run_to(tmp_path / "run", tmp_path / "p", LABELS)
    assert kinds(tmp_path / "run") == {"a.png": kind}


@pytest.mark.parametrize("label", ['=HYPERLINK("x")', "+1", "-1", "@SUM(A1)", "\tx"])
def test_no_cell_of_a_csv_file_is_a_formula(tmp_path: Path, label: str) -> None:
    save_images(tmp_path / "p", 1)
    names = [label.strip(), "b", "c"] if label.startswith("\t") else [label, "b", "c"]
    chain().run_to(tmp_path / "run", tmp_path / "p", names)
    openvocab.export(openvocab.read_run(tmp_path / "run"), tmp_path / "a.csv", "csv")
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@", "\t", "\r", "-1"))]
    assert openvocab.read_run(tmp_path / "run").labels[0] == names[0]


def resident() -> float:
    """Resident memory of this process in MB, after what is free was given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    """The long form is benchmarks/memory.py; images of 200 KB that were kept would be 240 MB here."""
    save_images(tmp_path / "p", 1, size=256)
    for number in range(1, 1_200):
        (tmp_path / "p" / f"{number:05}.png").hardlink_to(tmp_path / "p" / "00000.png")
    seen: list[float] = []
    counted = itertools.count(1)

    def note(answer: Any, skipped: int) -> None:
        if next(counted) in (400, 1_200):
            seen.append(resident())

    tagging().run_to(tmp_path / "run", tmp_path / "p", LABELS, on_answer=note, part_rows=100)
    assert len(seen) == 2 and seen[1] - seen[0] < 32


def test_a_file_that_vanishes_is_one_row(tmp_path: Path) -> None:
    paths = save_images(tmp_path / "p", 60)

    def remove(answer: Any, skipped: int) -> None:
        if answer.item.id == str(paths[0]):
            for path in paths[50:]:
                path.unlink()

    summary = tagging(batch_size=1).run_to(tmp_path / "run", tmp_path / "p", LABELS, on_answer=remove, workers=1)
    found = kinds(tmp_path / "run")
    assert (summary.rows, len(found)) == (60, 60)
    assert set(found.values()) <= {None, "vanished"} and "vanished" in found.values()
