"""Images of several frames or pages: one input each, where that is asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import openvocab
from openvocab import BadInput
from openvocab.images.decode import decode_item
from openvocab.images.items import Item
from openvocab.images.read import MAX_PIXELS
from tests.helpers.stages import LABELS, tagging

GREENS = (10, 90, 170)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of three frames each, an image of one, and one that is broken."""
    made = tmp_path / "p"
    made.mkdir()
    frames = [Image.new("RGB", (8, 8), (0, green, 0)) for green in GREENS]
    for suffix in ("gif", "png", "tiff", "webp"):
        how: dict[str, Any] = {"lossless": True} if suffix == "webp" else {}
        frames[0].save(made / f"a.{suffix}", save_all=True, append_images=frames[1:], **how)
    frames[0].save(made / "b.jpg")
    (made / "c.gif").write_bytes(b"GIF89a")
    return made


def ids(run: Path) -> list[str]:
    return [Path(row.id).name for row in openvocab.read_run(run)]


@pytest.mark.parametrize(
    ("frames", "numbers"),
    [pytest.param("all", (0, 1, 2), id="all"), pytest.param(2, (0, 1), id="two"), pytest.param(1, (0,), id="one")],
)
def test_each_frame_is_a_row(folder: Path, tmp_path: Path, frames: Any, numbers: tuple[int, ...]) -> None:
    run = tmp_path / "run"
    wanted = [f"a.{suffix}#frame={at}" for suffix in ("gif", "png", "tiff", "webp") for at in numbers]
    summary = tagging().run_to(run, folder, LABELS, frames=frames, part_rows=3)
    assert ids(run) == [*wanted, "b.jpg", "c.gif"]
    assert (summary.ok, sum(summary.errors.values())) == (len(wanted) + 1, 1)
    assert tagging().run_to(run, folder, LABELS, frames=frames).skipped == len(wanted) + 2
    with pytest.raises(BadInput, match="frames: "):
        tagging().run_to(run, folder, LABELS)


@pytest.mark.parametrize("suffix", ["gif", "png", "tiff", "webp"])
@pytest.mark.parametrize("frame", [0, 1, 2])
def test_a_frame_has_its_own_pixels(folder: Path, suffix: str, frame: int) -> None:
    found = decode_item(Item("x", str(folder / f"a.{suffix}"), frame=frame), MAX_PIXELS, None)
    np.testing.assert_allclose(found.pixels, np.full((8, 8, 3), (0, GREENS[frame], 0)), atol=2)
    assert (found.width, found.height, found.frames) == (8, 8, 3)
    if frame == 0:
        np.testing.assert_array_equal(found.pixels, decode_item(Item("x", str(folder / f"a.{suffix}"))).pixels)


def test_pages_may_differ_in_size(tmp_path: Path) -> None:
    pages = [Image.new("L", (8, 8)), Image.new("L", (5, 11), 255)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    tagging().run_to(tmp_path / "run", tmp_path / "a.tif", LABELS, frames="all")
    assert [(row.width, row.height) for row in openvocab.read_run(tmp_path / "run")] == [(8, 8), (5, 11)]


def test_frames_are_told_apart_in_the_cache(folder: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"frames": "all", "cache": tmp_path / "cache"}
    tagging().run_to(tmp_path / "first", folder / "a.gif", LABELS, **options)
    again = tagging()
    again.run_to(tmp_path / "again", folder / "a.gif", LABELS, **options)
    tags = [[row.tags for row in openvocab.read_run(tmp_path / name)] for name in ("first", "again")]
    assert tags[0] == tags[1] and len({str(each) for each in tags[0]}) == 3
    assert again.tagger.calls == []  # type: ignore[union-attr]


def test_a_loop_over_frames(folder: Path) -> None:
    found = list(tagging().run(folder / "a.gif", LABELS, frames="all"))
    assert [int(result.image[0, 0, 1]) for result in found] == pytest.approx(GREENS, abs=2)


@pytest.fixture
def look_alikes(tmp_path: Path) -> Path:
    """A file of three frames beside files whose own names end like the id of a frame."""
    made = tmp_path / "p"
    made.mkdir()
    frames = [Image.new("RGB", (8, 8), (0, green, 0)) for green in GREENS]
    frames[0].save(made / "a.gif", save_all=True, append_images=frames[1:])
    for number, name in enumerate(("a.gif#frame=1", "a.gif#frame=01", "a.gif#frame=1#frame=0")):
        Image.new("RGB", (8, 8), (200, 0, number)).save(made / name, "PNG")
    return made


FIRST = ["a.gif", "a.gif#frame=01#frame=0", "a.gif#frame=1#frame=0", "a.gif#frame=1#frame=0#frame=0"]


@pytest.mark.parametrize(
    ("frames", "wanted"),
    [
        pytest.param("first", FIRST, id="whole files"),
        pytest.param("all", [*(f"a.gif#frame={at}" for at in range(3)), *FIRST[1:]], id="all frames"),
    ],
)
def test_no_file_shares_its_id_with_a_frame(look_alikes: Path, tmp_path: Path, frames: Any, wanted: list[str]) -> None:
    run = tmp_path / "run"
    for start in (0, 2):  # the second time with two rows gone, as after a run that was killed
        summary = tagging().run_to(run, look_alikes, LABELS, frames=frames, part_rows=1)
        assert (summary.skipped, summary.ok) == ((0, len(wanted)) if start == 0 else (len(wanted) - 2, 2))
        assert sorted(ids(run)) == sorted(wanted)
        for part in sorted(run.glob("part-*.parquet"))[:2]:
            part.unlink()
    assert [result.source.rpartition("/")[2] for result in tagging().run(look_alikes, LABELS, frames=frames)] == wanted


@pytest.mark.parametrize("frames", ["first", "all"])
@pytest.mark.parametrize("images", ["link", "copy"])
def test_each_row_is_exported_with_its_own_image(look_alikes: Path, tmp_path: Path, frames: Any, images: str) -> None:
    run = tmp_path / "run"
    tagging().run_to(run, look_alikes, LABELS, frames=frames)
    wanted = {result.source: result.image for result in tagging().run(look_alikes, LABELS, frames=frames)}
    openvocab.export(openvocab.read_run(run), tmp_path / "out", "yolo", images=images)
    lines = [json.loads(line) for line in (tmp_path / "out" / "images.jsonl").read_text("utf-8").splitlines()]
    assert {line["id"] for line in lines} == set(wanted)
    for line in lines:
        np.testing.assert_allclose(openvocab.read_image(tmp_path / "out" / line["file"]), wanted[line["id"]], atol=2)


@pytest.mark.parametrize("frames", ["some", 0, -1, True, 1.5])
def test_other_choices_are_refused(folder: Path, tmp_path: Path, frames: Any) -> None:
    with pytest.raises(BadInput, match="frames must be 'first', 'all' or a whole number"):
        tagging().run_to(tmp_path / "run", folder, LABELS, frames=frames)
