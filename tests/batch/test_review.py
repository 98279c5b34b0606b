"""The order of a review: what stages disagree on comes first, with the reason."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import openvocab
from openvocab import Detections, Settings, Tag
from openvocab.batch.review import doubts_of, rejections_of, review
from openvocab.batch.rows import Row
from openvocab.pipeline.verdict import VERIFICATION, Verdict
from openvocab.testing import FakeDetector, FakeTagger
from openvocab.ui.cli.main import main
from tests.helpers.stages import LABELS, chain, save_images, tagging


def row(boxes: dict[str, float] | None, tags: dict[str, float], presence: dict[str, float] | None) -> Row:
    found = boxes or {}
    scores = np.array([*found.values()], np.float32)
    xyxy = np.tile(np.array([0, 0, 4, 4], np.float32), (len(found), 1))
    detections = Detections(xyxy, scores, tuple(found), scores)
    return Row("a.png", tags=tuple(Tag(*each) for each in tags.items()), detections=detections, presence=presence)


@pytest.mark.parametrize(
    ("given", "stages", "wanted"),
    [
        pytest.param(
            row({"cat": 0.8}, {"cat": 0.9}, {"cat": 0.5, "dog": 0.7, "cow": 0.01}),
            {"tagged": True, "boxed": True},
            [("dog", 0.7, "no box, no tag, presence 0.70"), ("cat", 0.6, "box 0.80, presence 0.50")],
            id="presence",
        ),
        pytest.param(
            row({"cat": 1.0, "owl": 0.6}, {"cat": 1.0, "dog": 0.7}, None),
            {"tagged": True, "boxed": True},
            [("owl", 1.0, "box 0.60, presence 0.00"), ("dog", 0.7, "no box, tag 0.70")],
            id="a tag without a box, and a box without a tag",
        ),
        pytest.param(
            row({"cat": 0.75}, {}, None),
            {"tagged": False, "boxed": True},
            [("cat", 0.25, "box 0.75")],
            id="boxes alone",
        ),
        pytest.param(
            row(None, {"cat": 0.75}, None),
            {"tagged": True, "boxed": False},
            [("cat", 0.25, "tag 0.75")],
            id="tags alone",
        ),
        pytest.param(
            row(None, {"cat": 0.9}, {"cat": 0.75, "dog": 0.4}),
            {"tagged": True, "boxed": False},
            [("dog", 0.4, "no tag, presence 0.40"), ("cat", 0.25, "tag 0.90, presence 0.75")],
            id="tags with presence",
        ),
        pytest.param(row({"cat": 1.0}, {"cat": 1.0}, {"cat": 1.0}), {"tagged": True, "boxed": True}, [], id="no doubt"),
    ],
)
def test_doubts_are_the_errors_that_the_answers_make_likely(given: Row, stages: Any, wanted: list[Any]) -> None:
    got = doubts_of(given, (), **stages)
    assert [(each.label, each.reason) for each in got] == [(label, reason) for label, _, reason in wanted]
    assert [each.errors for each in got] == pytest.approx([errors for _, errors, _ in wanted], abs=1e-6)


def test_several_boxes_of_a_label_are_doubted_together() -> None:
    twice = Row(
        "a.png",
        detections=Detections(
            np.tile(np.array([0, 0, 4, 4], np.float32), (2, 1)),
            np.array([0.9, 0.5], np.float32),
            ("cat", "cat"),
            np.array([0.9, 0.5], np.float32),
        ),
        presence={"cat": 0.8},
    )
    (doubt,) = doubts_of(twice, (), tagged=True, boxed=True)
    assert doubt.errors == pytest.approx(0.28 + 0.6) and doubt.reason == "2 boxes, the best 0.90, presence 0.80"


def rejected(*reasons: str, label: str = "owl") -> Detections:
    xyxy = np.array([[10 + at, 0, 14 + at, 4] for at in range(len(reasons))], np.float32).reshape(-1, 4)
    scores = np.full(len(reasons), 0.5, np.float32)
    verdicts = tuple(Verdict.from_text(f"rejected: {each}") for each in reasons)
    return Detections(xyxy, scores, (label,) * len(reasons), scores, data={VERIFICATION: verdicts})


@pytest.mark.parametrize(
    ("boxes", "presence", "reasons", "wanted"),
    [
        pytest.param(
            {},
            {"owl": 0.2},
            ["looks like cat 0.70"],
            (0.3, "no box, no tag, presence 0.20; box 0.50 rejected: looks like cat 0.70"),
            id="the label has no other box",
        ),
        pytest.param(
            {"owl": 1.0},
            {"owl": 1.0},
            ["owl 0.10", "same object as cat 0.60"],
            (
                0.5,
                "box 1.00, presence 1.00; box 0.50 rejected: same object as cat 0.60; box 0.50 rejected: owl 0.10",
            ),
            id="one more object of a label",
        ),
        pytest.param({}, {}, ["owl 0.30"], (0.3, "box 0.50 rejected: owl 0.30"), id="a label without presence"),
    ],
)
def test_a_rejected_box_is_a_doubt(boxes: Any, presence: Any, reasons: list[str], wanted: tuple[float, str]) -> None:
    given = replace(row(boxes, {}, presence), rejected=rejected(*reasons))
    (doubt,) = doubts_of(given, rejections_of(given), tagged=True, boxed=True)
    assert doubt.errors == pytest.approx(wanted[0], abs=1e-6) and doubt.reason == wanted[1]


def test_rejections_are_listed_close_calls_first_without_what_a_person_brought_back() -> None:
    made = rejected("owl 0.10", "looks like cat 0.55", "same object as cat 0.95", "owl 0.35")
    given = replace(row({}, {}, {}), rejected=made)
    assert [str(each.verdict).removeprefix("rejected: ") for each in rejections_of(given)] == [
        "looks like cat 0.55",
        "owl 0.35",
        "owl 0.10",
        "same object as cat 0.95",
    ]
    assert [each.errors for each in rejections_of(given)] == [0.45, 0.35, 0.1, 0.05]
    back = replace(given, detections=replace(made[1:3], data={}))
    assert [str(each.verdict) for each in rejections_of(back)] == ["rejected: owl 0.35", "rejected: owl 0.10"]
    assert rejections_of(replace(given, rejected=None)) == ()


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_images(tmp_path / "photos", 6)
    (tmp_path / "photos" / "broken.png").write_bytes(b"no image")
    return tmp_path / "photos"


@pytest.mark.parametrize("made", [pytest.param(tagging, id="tags"), pytest.param(chain, id="boxes")])
def test_the_rows_of_a_run_are_ordered_and_error_rows_left_out(made: Any, photos: Path) -> None:
    made().run_to("run", photos, LABELS)
    rows = review(openvocab.read_run("run"))
    assert len(rows) == 6 and not any("broken" in each.id for each in rows)
    scores = [each.score for each in rows]
    assert scores == sorted(scores, reverse=True) and scores[0] > 0
    assert all(each.score == pytest.approx(sum(one.errors for one in each.doubts)) for each in rows)


def test_the_command_prints_the_first_with_reasons(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chain().run_to("run", photos, LABELS)
    assert main(["review", "run", "--first", "2"]) == 0
    text = capsys.readouterr().out
    assert "likely errors" in text and "presence" in text and "4 more images; see them with --first 6" in text
    assert main(["review", "run", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 6 and lines[0]["doubts"][0].keys() == {"label", "errors", "reason"}
    assert main(["review", "run", "--rejected"]) == 0
    assert capsys.readouterr().out == "no box was rejected\n"
    assert main(["review", "run", "--first", "0"]) == 2
    assert main(["review", "photos"]) == 2


def test_the_command_lists_what_verification_rejected(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_images(photos / "large", 3, size=64)
    tagger, detector = FakeTagger({"cat": 0.08, "owl": 0.001}), FakeDetector((("owl", 0.5, 30, 10, 50, 30),))
    settings = Settings(tag_threshold=0.1, box_threshold=0.3, verify=3)
    openvocab.Pipeline(tagger, detector, None, settings).run_to("run", photos / "large", ("cat", "owl"))
    assert main(["review", "run", "--rejected", "--first", "2"]) == 0
    text = capsys.readouterr().out
    assert text.count("rejected: owl 0.") == 2 and "1 more rejected; see them with --first 3" in text
    assert main(["review", "run", "--json"]) == 0
    (first, *_) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert first["rejected"][0].keys() == {"label", "score", "errors", "verdict"}
