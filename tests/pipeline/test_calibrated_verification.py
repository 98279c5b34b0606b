"""A calibration and verification: every way gives the same answer, and what does not fit together is said."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import openvocab
from openvocab import BadInput, Calibration, OpenVocabWarning, Pipeline, Settings
from openvocab.evaluate.fitting.collect import box_answers
from openvocab.evaluate.fitting.pairs import ASKED, box_pairs
from openvocab.evaluate.metrics.detection import GroundTruth
from openvocab.pipeline.calibration import FittedModel, LabelFit, StageFit
from openvocab.pipeline.chain import score
from openvocab.testing import FakeDetector, FakeSegmenter, FakeTagger
from openvocab.ui.cli.main import main
from tests.helpers.stages import save_images

LABELS = ("cat", "dog", "owl")
GRAY = np.full((40, 60, 3), 90, np.uint8)
ROWS = (
    ("cat", 0.9, 0, 0, 20, 20),
    ("dog", 0.6, 30, 10, 50, 30),
    ("owl", 0.5, 2, 22, 18, 38),
    ("cat", 0.2, 24, 0, 29, 9),
)
SCORES = {"cat": 0.08, "dog": 0.07, "owl": 0.001}
"""Of the tagger on every image and crop: it rejects owls."""


def calibration(shift: float = 0.0, **more: Any) -> Calibration:
    fits = {"dog": LabelFit(1.0, -4.0, 0.02)} | more.pop("labels", {})
    boxes = StageFit(LabelFit(1.0, shift, 0.4), fits)
    names = FittedModel("fake:tagger", None), FittedModel("fake:detector", None)
    return Calibration(*names, StageFit(LabelFit(1.0, 0.0, 0.05)), boxes, **more)


def pipe(**settings: Any) -> Pipeline:
    chosen = Settings(tag_threshold=0.1, box_threshold=0.3, verify=3, gate="none").changed(**settings)
    return Pipeline(FakeTagger(SCORES), FakeDetector(ROWS), FakeSegmenter(), chosen)


def seen(one: Any) -> Any:
    """Labels, scores and reasons of what a result or row reports and rejects."""
    return [
        (found.labels, [round(score, 5) for score in found.scores.tolist()], tuple(found.data.get("verification", ())))
        for found in (one.detections, one.rejected)
    ]


@pytest.mark.parametrize(
    ("given", "verify", "rejected"),
    [
        pytest.param(calibration(verified=True), 3, ("owl",), id="fitted with verification"),
        pytest.param(calibration(verified=False), 0, (), id="fitted without"),
        pytest.param(calibration(), 3, ("owl",), id="a file of an earlier version"),
        pytest.param(
            calibration(labels={"owl": LabelFit(2.0, 3.0, 0.9)}), 1, (), id="calibrated, the dog scores least"
        ),
    ],
)
def test_every_way_gives_the_same_answer(
    given: Calibration, verify: int, rejected: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (path,) = save_images(tmp_path / "photos", 1, size=64)
    given.save("fit.json")
    made = pipe(calibration="fit.json", verify=verify)
    wanted = seen(made(path, LABELS))
    assert wanted[1][0] == rejected and set(wanted[0][0]) == set(LABELS) - set(rejected)
    *_, explored = made.explore(path, LABELS)
    made.run_to("run", [path], LABELS)
    monkeypatch.setattr(
        openvocab, "load", lambda *_, **own: pipe(verify=verify).changed(calibration=own["calibration"])
    )
    command = ["annotate", "photos", "--labels", ", ".join(LABELS), "--out", "new", "--no-images"]
    assert main([*command, "--calibration", "fit.json"]) == 0
    ways = [explored.result(), *made.run([path], LABELS), *openvocab.read_run("run"), *openvocab.read_run("new")]
    assert [seen(each) for each in ways] == [wanted] * 4


@pytest.mark.parametrize(
    ("verified", "verify", "says"),
    [
        pytest.param(True, 3, None, id="both with"),
        pytest.param(False, 0, None, id="both without"),
        pytest.param(None, 3, None, id="an earlier version says nothing"),
        pytest.param(
            True, 0, "was fitted with verification, and verify=0 is set.*verify=16, or fit again", id="now off"
        ),
        pytest.param(False, 3, "fitted without verification, and verify=3 is set.*set verify=0, or fit", id="now on"),
    ],
)
def test_thresholds_of_other_boxes_are_warned_of(verified: bool | None, verify: int, says: str | None) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pipe(calibration=calibration(verified=verified), verify=verify)
    texts = [str(each.message) for each in caught if each.category is OpenVocabWarning]
    if says is None:
        assert texts == []
    else:
        with pytest.raises(AssertionError, match=says):
            raise AssertionError(texts[0])


BOUNDED = calibration(verified=False, about={"boxes": {"risk": {"risk": 0.1, "threshold": 0.4}}}, name="risk.json")


def test_a_bound_on_what_is_missed_turns_verification_off() -> None:
    assert pipe(calibration=BOUNDED).settings.verify == 0
    assert pipe().changed(calibration=BOUNDED).settings.verify == 0
    assert "owl" in pipe(calibration=BOUNDED)(GRAY, LABELS).detections.labels


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: pipe(calibration=BOUNDED, verify=4), id="both given"),
        pytest.param(lambda: pipe(calibration=BOUNDED).changed(verify=4), id="turned on later"),
        pytest.param(lambda: pipe(calibration=BOUNDED)(GRAY, LABELS, verify=4), id="for a call"),
        pytest.param(lambda: Settings(verify=4, calibration=BOUNDED), id="settings"),
    ],
)
def test_a_bound_and_verification_do_not_go_together(make: Any) -> None:
    with pytest.raises(BadInput, match=r"'risk.json' bounds .* leave out verify, or fit again without a bound"):
        make()


def test_the_command_says_so_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save_images(tmp_path / "photos", 1, size=64)
    BOUNDED.save("risk.json")
    command = ["annotate", "photos", "--labels", "cat", "--out", "new", "--calibration", "risk.json", "--verify", "4"]
    assert main(command) == 2
    assert "leave out verify, or fit again without a bound" in capsys.readouterr().err


def answers(one: Pipeline, image: Any = GRAY) -> openvocab.Detections:
    vocabulary = one.vocabulary(LABELS)
    (found,) = box_answers(one, vocabulary)([image], score(one, [image], vocabulary))
    return found.detections


def test_a_fit_gets_the_boxes_that_verification_leaves() -> None:
    plain, checked = answers(pipe(verify=0)), answers(pipe())
    assert set(plain.labels) == {"cat", "dog", "owl"} and set(checked.labels) == {"cat", "dog"}
    assert (len(plain), len(checked)) == (4, 2), "the box under the threshold is rejected as well"
    assert checked.masks is None


def test_a_relabeled_box_is_right_by_its_new_label_and_counts_for_the_one_it_was_found_with() -> None:
    made = Pipeline(
        FakeTagger({"cat": 0.9999, "dog": 0.001, "owl": 0.001}),
        FakeDetector((("dog", 0.31, 0, 0, 20, 20),)),
        FakeSegmenter(),
        Settings(tag_threshold=0.1, box_threshold=0.3, verify=3, gate="none"),
    )
    found = answers(made)
    assert found.labels == ("cat",) and found.data[ASKED] == (1,)
    truth = GroundTruth(40, 60, np.array([[0, 0, 20, 20.0]]), np.array([0]))
    pairs = box_pairs(LABELS, [found], [truth])
    assert (pairs.label.tolist(), pairs.hit.tolist()) == ([1], [True])
