"""Corrections of a run: readers and exporters take them, and the models' own answers are kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import openvocab
from openvocab import BadInput, Detections, Tag
from openvocab.batch.corrections.correction import Correction, applied, from_json, row_of_correction, to_json
from openvocab.batch.corrections.folder import correction_file, write_correction
from openvocab.batch.review import review
from openvocab.batch.rows import Row
from openvocab.pipeline.masks import EncodedMasks
from openvocab.pipeline.verdict import VERIFICATION, Verdict
from tests.helpers.stages import LABELS, chain, save_images

LIKE_CAT = Verdict("looks_like", "cat", 0.6)


def detections(*labels: str, masks: bool = True) -> Detections:
    count = len(labels)
    xyxy = np.array([[row, 1.3, row + 3, 6] for row in range(count)], np.float32).reshape(-1, 4)
    scores = np.linspace(0.9, 0.1, count, dtype=np.float32)
    pixels = np.zeros((count, 8, 9), bool)
    for row in range(count):
        pixels[row, 2:6, row : row + 3] = True
    return Detections(
        xyxy, scores, labels, scores, scores if masks else None, EncodedMasks.encode(pixels) if masks else None
    )


def rejections(*labels: str) -> Detections:
    made = replace(detections(*labels), data={VERIFICATION: (LIKE_CAT,) * len(labels)})
    return made if labels else Detections.none()


def correction(id: str, *labels: str, **more: Any) -> Correction:  # noqa: A002
    own = detections(*labels)
    keys = tuple(f"added-{row}" for row in range(len(own)))
    made = Correction(id, None, 9, 8, (), (), Detections.none(), own, keys, (True,) * len(own), corrected=True)
    return replace(made, **more)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run over four images."""
    save_images(tmp_path / "images", 4)
    chain().run_to(tmp_path / "run", str(tmp_path / "images"), LABELS)
    return tmp_path / "run"


def found(row: Row) -> Detections:
    """The detections of an answered row."""
    assert row.detections is not None
    return row.detections


def ids(run: Path) -> list[str]:
    return [row.id for row in openvocab.read_run(run, corrected=False)]


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(correction("a.png", "cat", "dog", reviewed=True, removed=("k",), sha256="0" * 64), id="masks"),
        pytest.param(
            correction("b\udcff.png", tags=(Tag("cat", 0.1),), labels=("cat", "dog"), detections=Detections.none()),
            id="no object",
        ),
        pytest.param(
            replace(correction("c.png", "x"), detections=detections("x", masks=False), by_hand=(False,)), id="boxes"
        ),
        pytest.param(correction("d.png", "cat", rejected=rejections("dog", "owl")), id="rejected boxes"),
    ],
)
def test_a_correction_comes_back_as_it_was(made):
    again = from_json(to_json(made), Path("a.json"))
    names = [name for name in Correction.__dataclass_fields__ if name not in ("detections", "found")]
    assert [getattr(again, name) for name in names] == [getattr(made, name) for name in names]
    assert again.detections == made.detections.encoded() and again.found == made.found
    if made.rejected is not None:
        assert again.rejected is not None and again.rejected.data == made.rejected.data


@pytest.mark.parametrize(
    ("kept", "wanted"),
    [
        pytest.param(None, ("light",), id="a file of an earlier version: those of the row"),
        pytest.param("owl", ("owl",), id="those of the correction"),
        pytest.param("", (), id="none"),
    ],
)
def test_what_was_rejected_stays_with_a_corrected_image(kept, wanted):
    given = None if kept is None else rejections(*filter(None, [kept]))
    old = Row("a.png", height=8, width=9, detections=detections("red"), rejected=rejections("light"))
    row = applied(old, correction("a.png", "cat", rejected=given), LABELS)
    assert found(row).labels == ("cat",) and row.rejected is not None and row.rejected.labels == wanted
    assert row.rejected.data.get(VERIFICATION, ()) == (LIKE_CAT,) * len(wanted)
    alone = row_of_correction(correction("a.png", "cat", rejected=given), LABELS).rejected
    assert alone is None if given is None else alone is not None and alone.labels == given.labels


def test_rows_have_their_corrections_and_the_models_answers_are_kept(run):
    first, second, *_ = ids(run)
    before = openvocab.read_run(run)[0]
    write_correction(run, correction(first, "red", "own name"))
    write_correction(run, correction(second, reviewed=True))
    made = openvocab.read_run(run)
    assert made.labels == (*LABELS, "own name")
    assert [(found(row).labels, row.corrected, row.reviewed) for row in list(made)[:2]] == [
        (("red", "own name"), True, False),
        ((), True, True),
    ]
    assert made[0].detections == next(iter(made)).detections
    assert found(made[0]).class_ids.tolist() == [LABELS.index("red"), 3]
    kept = openvocab.read_run(run, corrected=False)
    assert kept.labels == LABELS and kept[0].detections == before.detections
    assert len(made) == len(kept) == 4


def test_images_without_a_row_come_last(run):
    for name in ("z.png", "own.png"):
        write_correction(run, correction(name, "cat"))
    made = openvocab.read_run(run)
    assert [row.id for row in made] == [*ids(run), "own.png", "z.png"]
    assert len(made) == 6
    assert (made[4].id, made[-1].id) == ("own.png", "z.png")
    assert made[5].status == "ok" and (made[5].width, made[5].height) == (9, 8)
    with pytest.raises(IndexError):
        made[6]


@pytest.mark.parametrize(
    ("format_", "wanted"),
    [
        pytest.param("yolo-seg", ["dark", "light", "red", "first word", "added"], id="yolo-seg"),
        pytest.param("coco", ["dark", "light", "red", "first word", "added"], id="coco"),
    ],
)
def test_exports_take_corrections_with_classes_in_order(run, tmp_path, format_, wanted):
    write_correction(run, correction(ids(run)[1], "added", "red", labels=("first word", "red")))
    out = tmp_path / ("out.json" if format_ == "coco" else "out")
    openvocab.export(openvocab.read_run(run), out, format_)
    if format_ == "coco":
        plain = json.loads(out.read_text("utf-8"))
        assert [each["name"] for each in plain["categories"]] == wanted
        assert [each["category_id"] for each in plain["annotations"] if each["image_id"] == 2] == [5, 3]
    else:
        import yaml

        assert list(yaml.safe_load((out / "data.yaml").read_text("utf-8"))["names"].values()) == wanted
        lines = (out / "labels" / "00001.txt").read_text("utf-8").splitlines()
        assert [line.split()[0] for line in lines] == ["4", "2"]


def test_overwriting_a_run_keeps_corrections(run):
    first = ids(run)[0]
    write_correction(run, correction(first, "red"))
    chain().run_to(run, str(run.parent / "images"), LABELS, overwrite=True)
    assert found(openvocab.read_run(run)[0]).labels == ("red",)


def test_resuming_a_run_answers_no_image_again_for_a_correction(run):
    write_correction(run, correction("own.png", "red"))
    assert chain().run_to(run, str(run.parent / "images"), LABELS).skipped == 4


def test_a_correction_of_other_pixels_is_left_out_with_a_warning(run, caplog):
    first = ids(run)[0]
    write_correction(run, correction(first, "red", sha256="0" * 64))
    assert not openvocab.read_run(run)[0].corrected
    assert "has changed since it was corrected" in caplog.text


def test_reviewed_images_are_not_reviewed_again(run):
    first = ids(run)[0]
    assert first in [each.id for each in review(openvocab.read_run(run))]
    write_correction(run, correction(first, reviewed=True))
    assert first not in [each.id for each in review(openvocab.read_run(run))]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"[]", id="another type"),
        pytest.param(b'{"format": 2}', id="another format"),
        pytest.param(b'{"format": 1, "id": "a"}', id="parts missing"),
        pytest.param(to_json(correction("a", "cat")).replace(b'"by_hand"', b'"hands"'), id="no flags"),
        pytest.param(b"[" * 100_000, id="deep"),
    ],
)
def test_a_broken_correction_is_named(run, data):
    correction_file(run, "a").parent.mkdir()
    correction_file(run, "a").write_bytes(data)
    with pytest.raises(BadInput, match="is not a correction"):
        list(openvocab.read_run(run))


def test_exports_do_not_replace_a_correction(run):
    write_correction(run, correction("a", "red"))
    with pytest.raises(BadInput, match="is a file of a run"):
        openvocab.export(openvocab.read_run(run), correction_file(run, "a"), "coco")
