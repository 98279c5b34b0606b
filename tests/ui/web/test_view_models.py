from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("gradio")

import openvocab
from openvocab.ui.web.view_models import stage_steps, summary
from openvocab.ui.web.workspace import Workspace

SCENE = openvocab.example_scenes()[0]


@pytest.fixture(scope="module")
def models():
    from openvocab.ui.web.models import Models

    return Models(("pocket",), device="cpu")


@pytest.fixture(scope="module")
def found(models):
    with models.using() as pipe:
        *_, explored = pipe.explore(openvocab.read_image(SCENE.path), list(SCENE.labels))
    return Workspace("scene-1.png", "", "pocket", explored.encoded, explored)


def test_thresholds_give_the_result_of_the_pipeline_without_a_model_call(models, found):
    with models.using() as pipe:
        plain = pipe(openvocab.read_image(SCENE.path), list(SCENE.labels), box_threshold=0.82)
        before = Counter(models.calls)
        got = replace(found, thresholds={"box_threshold": 0.82}).result()
    assert models.calls == before
    assert got.detections.labels == plain.detections.labels
    np.testing.assert_allclose(got.detections.xyxy, plain.detections.xyxy, atol=1e-3)
    np.testing.assert_array_equal(got.detections.masks, plain.detections.masks)
    assert len(got.detections) < len(found.result().detections)


def test_other_labels_reuse_the_encodings(models, found):
    with models.using() as pipe:
        before = Counter(models.calls)
        *_, explored = pipe.explore(found.explored.encoded, ["tent", "pizza"])
    called = models.calls - before
    assert not [name for name in ("detector.encode", "segmenter.encode") if called[name]]
    assert called["tagger.encode_images"] <= 1, "crops of boxes, for verification"
    assert called["detector.score_boxes"] == 1
    assert {tag.label for tag in explored.result().tags} <= {"tent", "pizza"}


def test_corrections_survive_changes_of_thresholds(found):
    first, second, *_ = (each.key for each in found.objects())
    corrected = found.rename([first], " game   pad ").remove(second)
    assert corrected.result().detections.labels[0] == "game pad"
    assert len(corrected.result().detections) == len(found.result().detections) - 1
    strict = replace(corrected, thresholds={"box_threshold": 1.0})
    assert strict.result().detections.labels == ("game pad",)
    assert replace(strict, thresholds={}).result().detections.labels == corrected.result().detections.labels
    assert corrected.clear().result().detections.labels == found.result().detections.labels


def test_nbytes_counts_image_and_encodings(found):
    assert found.nbytes > 256 * 256 * 3
    assert found.nbytes < 50 * 2**20


def test_stages_have_a_state(found):
    assert [step["state"] for step in stage_steps(found.explored)] == ["done"] * 3
    assert [step["state"] for step in stage_steps(None, running=True)] == ["now", "wait", "wait"]
    assert stage_steps(None) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param({}, "4 tags and 4 detections in scene-1.png, 256 × 256 pixels", id="found"),
        pytest.param({"box_threshold": 1.0}, "Lower Boxes below it", id="no box is good enough"),
        pytest.param({"tag_threshold": 1.0, "box_threshold": 1.0}, "Lower Tags, or try", id="no tag is good enough"),
    ],
)
def test_the_summary_counts_or_says_which_slider_helps(found, changes, says):
    assert says in summary(replace(found, thresholds=changes))


@pytest.mark.parametrize(
    ("count", "says"),
    [pytest.param(1, "rejected the only box;", id="one box"), pytest.param(3, "rejected all 3 boxes;", id="boxes")],
)
def test_no_slider_is_advised_where_verification_rejected_the_boxes(found, monkeypatch, count, says):
    raw = found.raw()
    rejected = raw.detections.take(np.arange(count))
    made = replace(raw, detections=openvocab.Detections.none(masks_of=(256, 256)), rejected=rejected)
    monkeypatch.setattr(Workspace, "raw", lambda _: made)
    assert says in summary(found) and "Lower" not in summary(found)


def test_the_summary_names_characters_without_a_font(found):
    renamed = found.rename([found.objects()[0].key], "a\U000fff00")
    assert "No font on the server has \U000fff00;" in summary(renamed)
