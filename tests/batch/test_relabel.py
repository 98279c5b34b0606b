"""Other labels for a finished run: the rows that a run with those labels would have, and no image touched."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import openvocab
from openvocab import BadInput, ModelRecord, Pipeline, Settings
from openvocab.batch.relabel import relabel
from openvocab.batch.rows import Row
from openvocab.ui.cli.main import main
from tests.helpers.stages import LABELS, FragileTagger, chain, save_images, tagging

NEW = ("one", "two")
SETTINGS = Settings(tag_threshold=0.3, max_tags=2)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Nine images and a broken one in their middle."""
    save_images(tmp_path / "photos", 9)
    (tmp_path / "photos" / "00004b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return tmp_path / "photos"


def rows(run: Path) -> list[Row]:
    return list(openvocab.read_run(run))


def renew(source: Path, out: Path, tagger: Any = None, labels: Any = NEW, settings: Settings = SETTINGS) -> Any:
    tagger = tagger or FragileTagger()
    vocabulary = Pipeline(tagger, None, None, settings).vocabulary(labels)
    return relabel(openvocab.read_run(source), tagger, out, vocabulary, settings)


@pytest.mark.parametrize("made", [pytest.param(tagging, id="tags"), pytest.param(chain, id="detections")])
@pytest.mark.parametrize(
    ("kept", "within"), [pytest.param("float32", 1e-6, id="32"), pytest.param("float16", 1e-3, id="16")]
)
def test_rows_are_those_of_a_run_with_the_new_labels(made: Any, kept: Any, within: float, photos: Path) -> None:
    made().run_to("run", photos, LABELS, features=kept, part_rows=4)
    fresh = Pipeline(FragileTagger(), None, None, SETTINGS)
    fresh.run_to("fresh", photos, NEW, features=kept)
    shutil.rmtree(photos)
    tagger = FragileTagger()
    summary = renew(Path("run"), Path("new"), tagger)
    assert tagger.calls == []
    assert (summary.ok, sum(summary.errors.values()), summary.skipped) == (9, 1, 0)
    plain = ("id", "sha256", "width", "height", "frames", "error_kind", "error", "detections")
    for got, wanted in zip(rows(Path("new")), rows(Path("fresh")), strict=True):
        assert [getattr(got, name) for name in plain[:-1]] == [getattr(wanted, name) for name in plain[:-1]]
        assert got.detections is None or not len(got.detections)
        assert [tag.label for tag in got.tags] == [tag.label for tag in wanted.tags]
        np.testing.assert_allclose([t.score for t in got.tags], [t.score for t in wanted.tags], atol=within)
        assert (got.features is None) == (wanted.features is None)
    record = openvocab.read_run("new").record
    assert record["settings"]["windows"] == 0 and record["labels"] == list(NEW) and record["detector"] is None


def test_the_same_call_again_does_nothing_and_a_part_that_is_missing_is_made(photos: Path) -> None:
    tagging().run_to("run", photos, LABELS, features="float32", part_rows=4)
    renew(Path("run"), Path("new"))
    whole = [row.id for row in rows(Path("new"))]
    assert renew(Path("run"), Path("new")).rows == 0
    sorted(Path("new").glob("part-*"))[-1].unlink()
    assert renew(Path("run"), Path("new")).rows == 2
    assert [row.id for row in rows(Path("new"))] == whole
    with pytest.raises(BadInput, match="holds another run"):
        renew(Path("run"), Path("new"), labels=("three",))


OTHER = replace(FragileTagger(), record=ModelRecord("other", "f" * 64, "cpu", "float32"))
HALF = replace(FragileTagger(), record=replace(FragileTagger().record, dtype="bfloat16"))


@pytest.mark.parametrize(
    ("kept", "tagger", "out", "said"),
    [
        pytest.param(None, None, "new", "holds no features, .* features='float32'", id="no features"),
        pytest.param(
            "float32", OTHER, "new", "made by fake:tagger .*, not by other .*load that tagger", id="other weights"
        ),
        pytest.param(
            "float32",
            HALF,
            "new",
            "made by fake:tagger .*float32.*, not by fake:tagger .*bfloat16",
            id="other precision",
        ),
        pytest.param("float32", None, "run", "could be overwritten; give another folder", id="onto itself"),
    ],
)
def test_what_cannot_be_relabeled_is_refused(kept: Any, tagger: Any, out: str, said: str, photos: Path) -> None:
    tagging().run_to("run", photos, LABELS, features=kept)
    with pytest.raises(BadInput, match=said):
        renew(Path("run"), Path(out), tagger)
    assert out == "run" or not Path(out).exists()


def test_a_label_set_larger_than_a_block_of_scores(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tagging().run_to("run", photos, LABELS, features="float32")
    renew(Path("run"), Path("whole"))
    monkeypatch.setattr("openvocab.batch.relabel._SCORES", 4)
    renew(Path("run"), Path("blocks"))
    assert [row.tags for row in rows(Path("whole"))] == [row.tags for row in rows(Path("blocks"))]


def test_the_command_loads_the_run_s_tagger(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tagging().run_to("run", photos, LABELS, features="float32")
    asked: list[Any] = []

    def load(**given: Any) -> Pipeline:
        asked.append(given)
        return tagging()

    monkeypatch.setattr(openvocab, "load", load, raising=False)
    command = ["relabel", "run", "--labels", "one, two", "--template", "a {label}", "--tag-threshold", "0.4"]
    assert main(command) == 0
    assert "10 rows written to run-relabeled" in capsys.readouterr().out
    assert asked == [{"tagger": "fake:tagger", "device": None, "dtype": "float32"}]
    assert openvocab.read_run("run-relabeled").record["settings"]["tag_threshold"] == 0.4
    assert main(command) == 0
    assert capsys.readouterr().out.startswith("nothing to do")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A current folder of its own."""
    monkeypatch.chdir(tmp_path)
