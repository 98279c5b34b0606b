"""Annotated images of a run: rows name them, and exports name images alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

import openvocab
from openvocab.batch.rows import from_table
from tests.helpers.stages import LABELS, chain

NAMES = ("a/x.png", "b/X.png", "b/x.jpg", "b/broken.png", "c/con.png")


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Images whose names would collide, and one that is broken."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(NAMES):
        Path(name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8 + number, 8), (200, 20 * number, 30)).save(name)
    Path("b/broken.png").write_bytes(b"not an image")
    return list(NAMES)


def test_each_row_names_its_drawing(images: list[str]) -> None:
    chain().run_to("run", images, LABELS, draw=True)
    rows = list(openvocab.read_run("run"))
    assert [row.drawing is None for row in rows] == [False, False, False, True, False]
    sizes = [Image.open(Path("run", row.drawing)).size for row in rows if row.drawing]
    assert [round(8 * width / height) for width, height in sizes] == [8, 9, 10, 12]
    assert len(list(Path("run/images").iterdir())) == 4


def test_drawings_and_exported_images_have_one_name(images: list[str]) -> None:
    chain().run_to("run", images, LABELS, draw=True)
    openvocab.export(openvocab.read_run("run"), "out", "yolo", images="copy")
    lines = map(json.loads, Path("out/images.jsonl").read_text("utf-8").splitlines())
    exported = {line["id"]: Path(line["file"]).stem for line in lines if line["file"]}
    drawn = {row.id: Path(row.drawing).stem for row in openvocab.read_run("run") if row.drawing}
    assert drawn == exported


def test_a_resumed_run_names_drawings_as_a_whole_one(images: list[str]) -> None:
    chain().run_to("whole", images, LABELS, draw=True)
    for end in (2, len(images)):
        chain().run_to("parts", images[:end], LABELS, draw=True)
    named = [[row.drawing for row in openvocab.read_run(run)] for run in ("whole", "parts")]
    assert named[0] == named[1]


def test_a_run_without_drawings_names_none(images: list[str]) -> None:
    chain().run_to("run", images, LABELS)
    assert [row.drawing for row in openvocab.read_run("run")] == [None] * len(images)


def test_rows_of_an_earlier_version_are_read_and_resumed(images: list[str]) -> None:
    chain().run_to("run", images[:2], LABELS)
    part = Path("run/part-00000.parquet")
    pq.write_table(pq.read_table(part).drop_columns(["drawing"]), part)
    assert [row.drawing for row in from_table(pq.read_table(part))] == [None, None]
    chain().run_to("run", images, LABELS)
    run = openvocab.read_run("run")
    assert run.dataset.to_table().column("drawing").null_count == len(list(run)) == len(images)


def _file(path: Path) -> None:
    path.write_bytes(b"mine")


def _drawing_of_another(path: Path) -> None:
    Image.new("RGB", (4, 4)).save("other.png")
    chain().run_to("elsewhere", ["other.png"], LABELS, draw=True)
    path.write_bytes(Path("elsewhere/images/other.png").read_bytes())


def _link(path: Path) -> None:
    Path("mine").write_bytes(b"mine")
    path.symlink_to(Path("mine").resolve())


def _folder(path: Path) -> None:
    path.mkdir()
    (path / "notes").write_bytes(b"mine")


def _state(path: Path) -> object:
    return [(each.name, each.read_bytes()) for each in path.iterdir()] if path.is_dir() else path.read_bytes()


@pytest.mark.parametrize(
    "put",
    [
        pytest.param(_file, id="a file"),
        pytest.param(_drawing_of_another, id="another run's drawing"),
        pytest.param(_link, id="a link"),
        pytest.param(_folder, id="a folder"),
    ],
)
def test_a_drawing_does_not_take_the_place_of_what_somebody_else_put_there(
    images: list[str], put: Callable[[Path], None]
) -> None:
    chain().run_to("run", images[4:], LABELS, draw=True)
    theirs = Path("run/images/x.png")
    put(theirs)
    before, linked = _state(theirs), theirs.is_symlink()
    chain().run_to("run", images, LABELS, draw=True)
    assert _state(theirs) == before and theirs.is_symlink() == linked
    row = next(row for row in openvocab.read_run("run") if row.id == "a/x.png")
    assert row.drawing and row.drawing != "images/x.png" and Image.open(Path("run", row.drawing)).size


def test_a_drawing_without_a_row_is_drawn_again_in_its_place(images: list[str]) -> None:
    chain().run_to("run", images, LABELS, draw=True)
    before = {path.name for path in Path("run/images").iterdir()}
    Path("run/part-00000.parquet").unlink()
    chain().run_to("run", images, LABELS, draw=True)
    assert {path.name for path in Path("run/images").iterdir()} == before
