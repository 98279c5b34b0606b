"""Labels and templates in any script come out of rows, results and exports as they went in."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import openvocab
from openvocab.formats import FORMATS
from openvocab.testing import FakeDetector, FakeTagger
from openvocab.ui.cli.main import main

LABELS = ("猫", "黒い犬", "собака", "Größe", "قطة صغيرة", "कुत्ता", "หมา", "İstanbul", "ﬁsh", "²")
TEMPLATE = "これは{label}の写真です"
NUMBERS = ("coco-results",)
"""Formats that have the numbers of labels in place of their names."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_image: Callable[..., Any]) -> Path:
    root = tmp_path_factory.mktemp("images")
    Image.fromarray(make_image(60, 90, 3)).save(root / "写真.png")
    return root


@pytest.fixture(scope="module")
def pipe() -> openvocab.Pipeline:
    tagger = FakeTagger(dict.fromkeys(LABELS, 0.75), independent=True)
    boxes = [(label, 0.9, 8.0 * row, 5.0, 8.0 * row + 7, 50.0) for row, label in enumerate(LABELS)]
    return openvocab.Pipeline(tagger, FakeDetector(boxes), None, openvocab.Settings(max_tags=20))


@pytest.fixture(scope="module")
def run(pipe: openvocab.Pipeline, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    pipe.run_to(out, folder, labels=LABELS, template=TEMPLATE)
    return out


def test_a_row_and_a_result_have_the_labels_as_they_were_given(
    pipe: openvocab.Pipeline, folder: Path, run: Path
) -> None:
    (row,), result = openvocab.read_run(run), pipe(folder / "写真.png", LABELS, template=TEMPLATE)
    assert row.detections is not None
    for tags, detections in ((row.tags, row.detections), (result.tags, result.detections)):
        assert {tag.label for tag in tags} == set(detections.labels) == set(LABELS)
    assert result.run.templates == (TEMPLATE,)
    said = json.dumps(json.loads((run / "run.json").read_text("utf-8")), ensure_ascii=False)
    assert json.dumps(LABELS, ensure_ascii=False) in said and TEMPLATE in said


@pytest.mark.parametrize("name", sorted(set(FORMATS) - set(NUMBERS)))
def test_an_export_names_the_labels_as_they_were_given(name: str, run: Path, tmp_path: Path) -> None:
    openvocab.export(openvocab.read_run(run), tmp_path / "out", name, labels=LABELS)
    texts = [_text(path) for path in [tmp_path / "out", *(tmp_path / "out").rglob("*")] if path.is_file()]
    said = "\n".join(texts)
    assert [label for label in LABELS if label not in said] == []


def _text(path: Path) -> str:
    """The text of a file, with its escapes read."""
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError:
        return ""
    try:
        return json.dumps([json.loads(line) for line in text.splitlines()], ensure_ascii=False)
    except ValueError:
        pass
    try:
        return json.dumps(json.loads(text), ensure_ascii=False)
    except ValueError:
        return html.unescape(text)


def test_the_command_line_takes_labels_and_a_template_of_another_language(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The embedded models do not know the words, and read the sentence all the same."""
    (tmp_path / "labels.txt").write_text("\n".join(LABELS[:3]), "utf-8")
    command = ["tag", str(folder), "--labels", str(tmp_path / "labels.txt"), "--template", "{label}の写真"]
    assert main([*command, "--preset", "pocket", "--tag-threshold", "0", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {tag["label"] for tag in said["tags"]} == set(LABELS[:3])
    assert said["run"]["templates"] == ["{label}の写真"]


def test_the_embedded_models_say_that_they_do_not_know_the_words() -> None:
    findings = openvocab.label_findings(LABELS[:8], openvocab.load_tagger("pocket"))
    unknown = [finding for finding in findings if finding.kind == "vocabulary"]
    assert {label for finding in unknown for label in finding.labels} == set(LABELS[:8])
