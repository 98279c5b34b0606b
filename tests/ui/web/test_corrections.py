from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

pytest.importorskip("gradio")

import openvocab
from openvocab.errors import BadInput, OpenVocabWarning
from openvocab.ui.web.corrections import CorrectedResult
from openvocab.ui.web.view_models import chain_view, stage_steps

SCENE = openvocab.example_scenes()[0]


@pytest.fixture(scope="module")
def models():
    from openvocab.ui.web.models import Models

    return Models(("pocket",), device="cpu")


@pytest.fixture(scope="module")
def found(models):
    with models.using() as pipe:
        *_, explored = pipe.explore(openvocab.read_image(SCENE.path), list(SCENE.labels))
    return CorrectedResult(explored, "scene-1.png")


def test_thresholds_give_the_result_of_the_pipeline_without_a_model_call(models, found):
    with models.using() as pipe:
        plain = pipe(openvocab.read_image(SCENE.path), list(SCENE.labels), box_threshold=0.75)
        before = Counter(models.calls)
        got = found.with_thresholds(box_threshold=0.75).result()
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
    assert not [name for name in ("tagger.encode_images", "detector.encode", "segmenter.encode") if called[name]]
    assert called["detector.score_boxes"] == 1
    assert {tag.label for tag in explored.result().tags} <= {"tent", "pizza"}


def test_corrections_survive_changes_of_thresholds(found):
    first, second = found.keys()[:2]
    corrected = found.rename(first, " game   pad ").remove(second)
    assert corrected.result().detections.labels[0] == "game pad"
    assert len(corrected.result().detections) == len(found.result().detections) - 1
    assert corrected.keys() == tuple(key for key in found.keys() if key != second)  # noqa: SIM118
    moved = corrected.with_thresholds(box_threshold=0.9).with_thresholds(box_threshold=0.45)
    assert moved.result().detections.labels == corrected.result().detections.labels
    assert moved.without_corrections().result().detections.labels == found.result().detections.labels


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param(lambda one: one.remove("nobody"), "no longer in the table", id="no such detection"),
        pytest.param(lambda one: one.rename("nobody", "x"), "no longer in the table", id="none to rename"),
        pytest.param(lambda one: one.rename(one.keys()[0], " "), "is blank", id="blank label"),
        pytest.param(lambda one: one.rename(one.keys()[0], "a\x01"), "control character", id="control"),
    ],
)
def test_invalid_corrections_are_rejected(found, change, says):
    with pytest.raises(BadInput, match=says):
        change(found)


def test_nbytes_counts_image_and_encodings(found):
    assert found.nbytes > 256 * 256 * 3
    assert found.nbytes < 50 * 2**20


def test_tables_and_image_show_the_same_detections_in_the_same_colors(found):
    view, _, tables = chain_view(found)
    assert [box["key"] for box in view["detections"]] == [row["key"] for row in tables["detections"]]
    assert [row["color"] for row in tables["detections"]] == list(openvocab.colors_of(found.result().detections.labels))
    of_tag = {tag["label"]: tag["color"] for tag in tables["tags"]}
    assert all(of_tag[row["label"]] == row["color"] for row in tables["detections"])
    assert view["image"].startswith("data:image/jpeg;base64,")
    assert "scene-1.png" in view["alt"]


def test_stages_have_a_state(found):
    assert [step["state"] for step in stage_steps(found.explored)] == ["done"] * 3
    assert [step["state"] for step in stage_steps(None, running=True)] == ["now", "wait", "wait"]
    assert stage_steps(None) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param({}, "4 tags and 4 detections in scene-1.png, 256 × 256 pixels", id="found"),
        pytest.param({"box_threshold": 1.0}, "4 tags and no detections", id="tags alone"),
        pytest.param({"tag_threshold": 1.0}, "No label was found", id="nothing"),
    ],
)
def test_the_summary_counts_tags_and_detections(found, changes, says):
    moved = found.with_thresholds(**changes)
    assert says in chain_view(moved).note["text"]


def test_the_summary_names_characters_without_a_font(found):
    renamed = found.rename(found.keys()[0], "a\U000fff00")
    with pytest.warns(OpenVocabWarning, match="no installed font"):
        note = chain_view(renamed).note["text"]
    assert "No font on the server has \U000fff00;" in note
