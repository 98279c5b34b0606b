"""Presence under a calibration: every way through the chain reads it, and no other label changes it."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import openvocab
from openvocab import BadInput, Calibration, Pipeline, Settings
from openvocab.pipeline.calibration import FittedModel, LabelFit, StageFit
from openvocab.pipeline.presence import log_odds
from openvocab.pipeline.verification.verdicts import judge
from openvocab.testing import FakeDetector, FakeSegmenter, FakeTagger
from openvocab.ui.cli.main import main
from openvocab.weights.presence import Logistic, PresenceModel
from openvocab.weights.verification import VerificationModel
from tests.helpers.stages import save_images

LABELS = ("light", "dark", "red")
IMAGE = np.full((20, 30, 3), 90, np.uint8)
BOXES = (("light", 0.8, 2, 2, 12, 12), ("dark", 0.25, 4, 4, 9, 9))
FITTED = PresenceModel(
    (Logistic(-0.5, {"image": 0.25, "box": 2.0}), Logistic(-3.0, {"image": 0.25})), False, "fitted on 5 images"
)
SAME = StageFit(LabelFit(1.0, 0.0, 0.3))


def calibration(presence: PresenceModel | None = FITTED, **more: Any) -> Calibration:
    fits = {"tags": SAME, "boxes": SAME, "presence": presence} | more
    return Calibration(FittedModel("fake:tagger", None), FittedModel("fake:detector", None), **fits)


def pipe(*, independent: bool = True, **settings: Any) -> Pipeline:
    chosen = Settings(tag_threshold=0.0, box_threshold=0.3, gate="none").changed(**settings)
    return Pipeline(FakeTagger(independent=independent), FakeDetector(BOXES), FakeSegmenter(), chosen)


@pytest.mark.parametrize("independent", [True, False], ids=["sigmoid", "softmax"])
@pytest.mark.parametrize(
    "thresholds",
    [
        pytest.param({}, id="one threshold"),
        pytest.param({"light": LabelFit(1.0, 0.0, 0.9), "dark": LabelFit(3.0, 1.0, 0.01)}, id="one a label"),
        pytest.param({"dark": LabelFit(1.0, -2.0, 0.99)}, id="a label whose box is not reported"),
    ],
)
def test_neither_order_nor_company_changes_it(independent: bool, thresholds: dict[str, LabelFit]) -> None:
    fitted = replace(FITTED, relative=not independent)
    own = calibration(fitted, boxes=StageFit(LabelFit(1.0, 0.0, 0.3), thresholds))
    made = pipe(independent=independent, calibration=own)
    alone = {label: made(IMAGE, [label]).presence[label] for label in LABELS}
    assert len(set(alone.values())) == 3
    for count in (2, 3):
        for asked in itertools.permutations(LABELS, count):
            *_, explored = made.explore(IMAGE, asked)
            for result in (made(IMAGE, asked), explored.result()):
                assert dict(result.presence) == pytest.approx({label: alone[label] for label in asked}, abs=1e-6)


@pytest.mark.parametrize("changes", [{"box_threshold": 0.01}, {"box_threshold": 0.95}, {"presence_threshold": 0.9}])
def test_no_threshold_changes_it(changes: Any) -> None:
    made = pipe(calibration=calibration())
    assert dict(made(IMAGE, LABELS, **changes).presence) == pytest.approx(dict(made(IMAGE, LABELS).presence))


def test_it_is_the_function_that_was_fitted() -> None:
    plain, fitted = pipe()(IMAGE, LABELS), pipe(calibration=calibration())(IMAGE, LABELS)
    (score,) = (tag.score for tag in plain.tags if tag.label == "light")
    odds = -0.5 + 0.25 * np.log(score / (1 - score)) + 2 * np.log(0.8 / 0.2)
    assert fitted.presence["light"] == pytest.approx(1 / (1 + np.exp(-odds)), abs=1e-5)
    assert dict(pipe(calibration=calibration(None))(IMAGE, LABELS).presence) == dict(plain.presence)
    assert fitted.absent and set(fitted.absent) == {label for label, value in fitted.presence.items() if value < 0.5}
    never = replace(FITTED, logistics=(Logistic(-9.0, {"image": 0.1, "box": 0.1}),))
    nothing = pipe(calibration=calibration(never), presence_threshold=0.5)(IMAGE, LABELS)
    assert nothing.none_present and not len(nothing.detections)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(openvocab, "load", lambda *_, **given: pipe(calibration=given["calibration"]))
    save_images(tmp_path / "photos", 4, size=16)
    return tmp_path / "photos"


def test_calls_batches_runs_resumed_runs_and_the_command_agree(photos: Path) -> None:
    own = calibration()
    own.save("fit.json")
    made, paths = pipe(calibration="fit.json"), sorted(photos.iterdir())
    wanted = [dict(made(path, LABELS).presence) for path in paths]
    assert wanted[0] != dict(pipe()(paths[0], LABELS).presence)
    streamed = [dict(result.presence) for result in made.run(photos, LABELS, batch_size=3)]
    made.run_to("run", paths[:2], LABELS)
    made.run_to("run", paths, LABELS)
    command = ["annotate", "photos", "--labels", ", ".join(LABELS), "--out", "new", "--no-images"]
    assert main([*command, "--calibration", "fit.json"]) == 0
    stored = [[dict(row.presence or {}) for row in openvocab.read_run(name)] for name in ("run", "new")]
    for way in (streamed, *stored):
        for got, want in zip(way, wanted, strict=True):
            assert got == pytest.approx({label: want[label] for label in got}, abs=1e-6) and "light" in got
    digest = openvocab.read_run("new").record["settings"]["calibration"]
    assert digest == f"sha256:{own.digest}" != f"sha256:{calibration(None).digest}"


def test_it_brings_its_threshold_unless_another_is_given() -> None:
    own = calibration(presence_threshold=0.2)
    made = pipe(presence_threshold=0.5)
    assert made.changed(calibration=own).settings.presence_threshold == 0.2
    assert made.changed(calibration=own, presence_threshold=0.4).settings.presence_threshold == 0.4
    assert made.changed(calibration=calibration(None)).settings.presence_threshold == 0.5


def test_verification_reads_the_coefficients_that_it_was_fitted_with() -> None:
    plain, fitted = pipe()(IMAGE, LABELS).presence, pipe(calibration=calibration())(IMAGE, LABELS).presence
    assert plain.shipped is None and fitted.shipped is not None
    np.testing.assert_allclose(fitted.shipped, plain.probabilities)
    rule = VerificationModel((Logistic(0.0, {"presence": 1.0}),), 0.5, "")
    odds = {"presence": log_odds(np.array([0.9, 0.2, 0.1])), "likely": log_odds(np.array([0.3] * 3))}
    assert judge(rule, LABELS, 0, odds).verdict.kind == "verified", "by the first ones"
    assert judge(rule, LABELS, 1, odds, 0.25).place == 0 and judge(rule, LABELS, 1, odds, 0.35).place == -1


def test_another_calibration_needs_another_look() -> None:
    *_, explored = pipe(calibration=calibration()).explore(IMAGE, LABELS)
    assert explored.result().run.settings["calibration"] == f"sha256:{calibration().digest}"
    with pytest.raises(BadInput, match="under another calibration; explore again with this one"):
        explored.result(calibration=calibration(None))


def test_a_detector_that_is_left_out_leaves_the_function_of_the_tagger() -> None:
    alone = Pipeline(FakeTagger(), None, None, Settings(calibration=calibration()))
    (tag, *_) = alone(IMAGE, ["light"], tag_threshold=0.0).tags
    odds = -3.0 + 0.25 * np.log(tag.score / (1 - tag.score))
    assert alone(IMAGE, ["light"]).presence["light"] == pytest.approx(1 / (1 + np.exp(-odds)), abs=1e-5)


def test_objects_of_everything_are_named_without_it() -> None:
    fits = calibration(replace(FITTED, relative=True)), calibration(None)
    made = [pipe(independent=False, calibration=each) for each in fits]
    named = [(one.labels, one.data["label_score"].tolist()) for one in (_everything(each) for each in made)]
    assert named[0] == named[1]


def _everything(one: Pipeline) -> Any:
    from openvocab.pipeline.everything import label_objects

    found, vocabulary = one(IMAGE, LABELS).detections, one.vocabulary(LABELS)
    scores = label_objects(one, IMAGE, found, vocabulary)
    return replace(found, data={"label_score": scores.max(axis=1)})


def test_files_with_and_without_it_are_read_as_they_are(tmp_path: Path) -> None:
    for name, own in (("new", calibration(verified=True)), ("old", calibration(None))):
        own.save(tmp_path / f"{name}.json")
        read = openvocab.read_calibration(tmp_path / f"{name}.json")
        assert (read, read.presence, read.verified) == (own, own.presence, own.verified)
    old = json.loads((tmp_path / "old.json").read_text("utf-8"))
    assert not {"presence", "verified"} & old.keys() and "presence" in json.loads(calibration().to_json())


@pytest.mark.parametrize(
    ("logistics", "says"),
    [
        pytest.param([], "coefficients of presence are finite numbers for image, window, box", id="none"),
        pytest.param([{"bias": 0.0, "weights": {"smell": 1.0}}], "finite numbers for image", id="unknown evidence"),
        pytest.param([{"bias": float("nan"), "weights": {"image": 1.0}}], "finite numbers", id="not a number"),
        pytest.param([{"weights": {"image": 1.0}}], "is damaged", id="no bias"),
        pytest.param(3, "is damaged", id="a number"),
    ],
)
def test_damaged_coefficients_are_refused(logistics: Any, says: str, tmp_path: Path) -> None:
    plain = json.loads(calibration().to_json())
    plain["presence"]["logistics"] = logistics
    (tmp_path / "fit.json").write_text(json.dumps(plain), "utf-8")
    with pytest.raises(BadInput, match=says):
        openvocab.read_calibration(tmp_path / "fit.json")
