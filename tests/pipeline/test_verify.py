"""Verification: what it keeps, relabels and rejects, and what must not change a verdict."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import openvocab
from openvocab import BadInput, Pipeline, Settings
from openvocab.pipeline.presence import log_odds
from openvocab.pipeline.verdict import Verdict
from openvocab.pipeline.verification.settle import settle
from openvocab.pipeline.verification.verdicts import judge
from openvocab.testing import FakeDetector, FakeSegmenter, FakeTagger
from openvocab.weights.manifest import checkpoint, preset_records
from openvocab.weights.presence import Logistic
from openvocab.weights.thresholds import box_threshold
from openvocab.weights.verification import FITTED, VerificationModel, verification_model

LABELS = ("cat", "dog", "owl")
GRAY = np.full((40, 60, 3), 90, np.uint8)
RULE = VerificationModel((Logistic(0.0, {"box": 1.0, "crop": 1.0}), Logistic(0.0, {"crop": 1.0})), 0.5, "")
BOX = np.array([1.0, -2.0, -3.0], np.float32)
"""Log-odds of the detector for each label."""


@pytest.mark.parametrize(
    ("crops", "place", "reason"),
    [
        pytest.param((2.0, -3.0, -4.0), 0, "verified", id="the crop agrees"),
        pytest.param(
            (0.0, 2.5, -4.0), 0, "verified", id="the crop says another label, the detector more strongly its own"
        ),
        pytest.param((-3.0, 4.0, -4.0), 1, "relabeled: was cat 0.12", id="another label is likely"),
        pytest.param((-3.0, 2.0, -4.0), 1, "relabeled: was cat 0.12", id="another label is just likely enough"),
        pytest.param((-3.0, 1.0, -4.0), -1, "rejected: looks like dog 0.27", id="another label is likelier"),
        pytest.param((-3.0, -4.0, -5.0), -1, "rejected: cat 0.12", id="no label"),
    ],
)
def test_a_box_is_kept_relabeled_or_rejected(crops: tuple[float, ...], place: int, reason: str) -> None:
    verdict = judge(RULE, LABELS, 0, {"box": BOX, "crop": np.array(crops, np.float32)})
    assert (verdict.place, str(verdict.verdict)) == (place, reason)
    assert str(Verdict.from_text(reason)) == reason, "rows of an earlier version"


@pytest.mark.parametrize(
    ("least", "place"), [pytest.param(0.5, 1, id="likely in the image"), pytest.param(0.9, -1, id="not likely enough")]
)
def test_no_box_gets_a_label_that_presence_threshold_drops(least: float, place: int) -> None:
    odds = {"crop": np.array([-3.0, 1.0], np.float32), "presence": np.array([3.0, 1.0], np.float32)}
    assert judge(RULE, LABELS[:2], 0, odds, least).place == place


def test_the_only_label_has_no_rival() -> None:
    for odds, text in ((-2.0, "rejected: cat 0.12"), (0.0, "verified")):
        assert str(judge(RULE, LABELS[:1], 0, {"crop": np.array([odds], np.float32)}).verdict) == text


def test_a_label_that_is_as_likely_as_that_of_the_box_does_not_replace_it() -> None:
    for place in range(3):
        assert judge(RULE, LABELS, place, {"crop": np.ones(3, np.float32)}).place == place


def test_the_scores_of_all_labels_do_not_leave_verification() -> None:
    result = pipeline()(GRAY, LABELS)
    assert set(result.detections.data) == set(result.rejected.data) == {"verification"}


ROWS = (("cat", 0.9, 0, 0, 20, 20), ("dog", 0.6, 30, 10, 50, 30), ("owl", 0.5, 31, 10, 50, 30))


SCORES = {"cat": 0.08, "dog": 0.07, "owl": 0.001}
"""Of the tagger on every image and crop."""


def pipeline(
    *, rows: Any = ROWS, scores: Mapping[str, float] = SCORES, independent: bool = True, **settings: Any
) -> Pipeline:
    tagger = FakeTagger(scores if independent else None, independent=independent)
    chosen = Settings(tag_threshold=0.1, box_threshold=0.3, verify=3).changed(**settings)
    return Pipeline(tagger, FakeDetector(rows), FakeSegmenter(), chosen)


def reasons(found: openvocab.Detections) -> list[str]:
    return [str(one.data["verification"]) for one in found]


def test_the_chain_lists_what_it_rejects_with_the_reason() -> None:
    result = pipeline()(GRAY, LABELS)
    assert result.detections.labels == ("cat", "dog") and reasons(result.detections) == ["verified"] * 2
    assert result.rejected.labels == ("owl",)
    assert reasons(result.rejected)[0].startswith("rejected: owl 0.")
    plain = json.loads(result.to_json())
    assert plain["detections"][0]["verification"] == "verified"
    verdict = result.rejected[0].data["verification"]
    assert plain["rejected"][0]["verification"] == str(verdict)
    assert plain["rejected"][0]["verdict"] == {"kind": "unlikely", "label": "owl", "probability": verdict.probability}
    assert "mask" in plain["rejected"][0] and plain["run"]["settings"]["verify"] == 3


def test_without_it_nothing_is_said() -> None:
    result = pipeline(verify=0)(GRAY, LABELS)
    assert result.detections.labels == ("cat", "dog") and not len(result.rejected)
    plain = result.to_dict()
    assert plain["rejected"] == [] and "verification" not in plain["detections"][0]


def test_the_boxes_that_score_least_are_verified_first() -> None:
    result = pipeline(verify=1)(GRAY, LABELS)
    assert reasons(result.detections) == ["", ""] and result.rejected.labels == ("owl",)


def test_overlapping_boxes_of_different_labels_compete_by_their_verdicts() -> None:
    rows = (("dog", 0.9, 31, 10, 50, 30), ("cat", 0.6, 30, 10, 50, 30))
    made = pipeline(rows=rows, scores={"cat": 0.3, "dog": 0.01})
    assert made(GRAY, LABELS, verify=0).detections.labels == ("dog",)
    result = made(GRAY, LABELS)
    assert result.detections.labels == ("cat",) and result.rejected.labels == ("dog",)
    assert reasons(result.rejected)[0].startswith("rejected: same object as cat 0.8")
    assert len(made(GRAY, LABELS, duplicates="keep")) == 2


def test_crops_of_an_image_are_one_batch_and_see_the_masks() -> None:
    pipe = pipeline()
    pipe(GRAY, LABELS)
    assert isinstance(pipe.tagger, FakeTagger) and pipe.tagger.calls == [1, 3]
    bare = replace(pipeline(), segmenter=None)
    bare(GRAY, LABELS)
    assert isinstance(bare.tagger, FakeTagger) and bare.tagger.calls == [1, 3]


@pytest.mark.parametrize("independent", [True, False], ids=["sigmoid", "softmax"])
@pytest.mark.parametrize("order", [(2, 0, 1), (1, 2, 0)])
def test_the_order_of_labels_changes_no_verdict(order: tuple[int, ...], independent: bool) -> None:
    pipe = pipeline(independent=independent)
    first, other = pipe(GRAY, LABELS), pipe(GRAY, [LABELS[at] for at in order])
    for one, two in ((first.detections, other.detections), (first.rejected, other.rejected)):
        assert one.labels == two.labels and reasons(one) == reasons(two)


@pytest.mark.parametrize("size", [1, 3])
def test_neighbors_change_no_verdict(size: int) -> None:
    pipe = pipeline(independent=False)
    images = [np.full((40, 60, 3), shade, np.uint8) for shade in (30, 90, 200)]
    alone = [pipe(image, LABELS) for image in images]
    for one, two in zip(alone, pipe.run(images, LABELS, batch_size=size), strict=True):
        assert (two.detections, two.rejected) == (one.detections, one.rejected)


def test_explore_gives_the_verdicts_of_the_chain() -> None:
    pipe = pipeline()
    *_, last = pipe.explore(GRAY, LABELS)
    result = pipe(GRAY, LABELS)
    assert (last.result().detections, last.result().rejected) == (result.detections, result.rejected)
    assert last.result(verify=0).detections == pipe(GRAY, LABELS, verify=0).detections
    assert last.result(verify=4).rejected == pipe(GRAY, LABELS, verify=4).rejected, "there is no fourth box"
    *_, bare = replace(pipe, segmenter=None).explore(GRAY, LABELS)
    assert bare.result().rejected.labels == ("owl",)


def test_other_thresholds_are_refused_until_the_tagger_has_seen_the_boxes_that_they_let_in() -> None:
    pipe = pipeline(box_threshold=0.55)
    assert isinstance(pipe.tagger, FakeTagger)
    *_, last = pipe.explore(GRAY, LABELS)
    with pytest.raises(BadInput, match=r"not seen 1 of these boxes; call pipe\.verified"):
        last.result(box_threshold=0.3)
    seen, before = pipe.verified(last, box_threshold=0.3), list(pipe.tagger.calls)
    assert before[-1] == 1, "a crop of the box of the owl"
    for changes in ({}, {"box_threshold": 0.3}, {"box_threshold": 0.8}, {"verify": 0}, {"presence_threshold": 0.05}):
        assert pipe.verified(seen, **changes) is seen and not len(seen.unverified(**changes))
        got = seen.result(**changes)
        pipe.tagger.calls[:] = []
        want = pipe(GRAY, LABELS, **changes)
        assert (got.detections, got.rejected, got.run) == (want.detections, want.rejected, want.run)
    assert seen.result(box_threshold=0.3).rejected.labels == ("owl",) and last.crops != seen.crops


@pytest.mark.parametrize("stages", [{"tagger": None}, {"detector": None}], ids=["no tagger", "no detector"])
def test_without_a_tagger_or_a_detector_no_box_is_verified(stages: dict[str, Any]) -> None:
    pipe = replace(pipeline(), **stages)
    *_, last = pipe.explore(GRAY, LABELS)
    result = pipe(GRAY, LABELS)
    assert result.run.settings["verify"] == 0 and (last.result().run, last.result(verify=3).run) == (result.run,) * 2
    assert last.crops is None or pipe.detector is None


def test_a_stage_alone_is_not_verified() -> None:
    rows = (("dog", 0.9, 31, 10, 50, 30), ("cat", 0.6, 30, 10, 50, 30))
    pipe = pipeline(rows=rows)
    for verify in (0, 3):
        made = replace(pipe, settings=pipe.settings.changed(verify=verify))
        assert made.detect(GRAY, made.vocabulary(LABELS)).labels == ("dog",), "one object has one label"


def test_notes_say_that_all_boxes_were_rejected() -> None:
    pipe = pipeline(tag_threshold=0.5, rows=ROWS[2:])
    *_, last = pipe.explore(GRAY, LABELS)
    for result in (pipe(GRAY, LABELS), last.result(), *pipe.run([GRAY], LABELS)):
        assert result.notes[-1] == "no box: verification rejected the only box; verify=0 keeps them"
        assert result.rejected.labels == ("owl",)


def test_a_run_stores_the_reasons_and_what_was_rejected(tmp_path: Path) -> None:
    pipe = pipeline()
    path = tmp_path / "gray.png"
    Image.fromarray(GRAY).save(path)
    pipe.run_to(tmp_path / "run", [path], LABELS)
    (row,) = openvocab.read_run(tmp_path / "run")
    result = pipe(path, LABELS)
    assert row.detections == result.detections.encoded() and row.rejected == result.rejected.encoded()


@pytest.mark.parametrize("name", [name for name, one in preset_records().items() if one.detector])
def test_every_preset_has_a_rule_with_its_source(name: str) -> None:
    record = preset_records()[name]
    names = ("pocket-tagger", "pocket-detector") if name == "pocket" else (record.tagger, record.detector)
    model = verification_model(*names, independent=False)
    assert model.fitted or model.source.startswith("prior")
    assert model.fitted or not record.settings.get("verify"), "a prior is not calibrated: off by default"


def test_a_prior_is_one_half_where_both_models_are_at_their_thresholds() -> None:
    box = box_threshold("owlv2:x").value
    model = verification_model("open_clip:x", "owlv2:x", independent=False)
    odds = log_odds(np.array([box]))
    for crop in ("crop", "masked"):
        for value, least, most in ((0.0, 0.5, 0.5), (1.0, 0.5, 1.0), (-1.0, 0.0, 0.5)):
            (likely,) = model.probabilities({"box": odds, crop: np.array([value], np.float32)})
            assert least - 1e-6 <= likely <= most + 1e-6


def test_a_fitted_rule_is_of_the_weights_that_ship() -> None:
    """Run python -m training.fit_verification after tagger or detector were changed."""
    for row in json.loads(FITTED.read_text("utf-8")) if FITTED.is_file() else []:
        for name in ("pocket-tagger", "pocket-detector"):
            assert row["sha256"][name] == checkpoint(name).sha256


def test_settle_without_a_verdict_keeps_everything() -> None:
    found = pipeline(verify=0)(GRAY, LABELS).detections
    made = settle(found, {}, LABELS, Settings())
    assert made.detections is found and not len(made.rejected)
