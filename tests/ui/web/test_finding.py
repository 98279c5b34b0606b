from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

pytest.importorskip("gradio")

import openvocab
from openvocab.errors import BadInput, OpenVocabWarning
from openvocab.ui.web.finding import Finding, size_of
from openvocab.ui.web.showing import show, steps_of

SCENE = openvocab.example_scenes()[0]


@pytest.fixture(scope="module")
def models():
    from openvocab.ui.web.models import Models

    return Models(("pocket",), device="cpu")


@pytest.fixture(scope="module")
def found(models):
    with models.using() as pipe:
        *_, explored = pipe.explore(openvocab.read_image(SCENE.path), list(SCENE.labels))
    return Finding(explored, "scene-1.png")


def test_a_finding_is_the_chains_own_result_and_calls_no_model(models, found):
    with models.using() as pipe:
        plain = pipe(openvocab.read_image(SCENE.path), list(SCENE.labels), box_threshold=0.6)
        before = Counter(models.calls)
        got = found.moved(box_threshold=0.6).result()
    assert models.calls == before
    assert got.detections.labels == plain.detections.labels
    np.testing.assert_allclose(got.detections.xyxy, plain.detections.xyxy, atol=1e-3)
    np.testing.assert_array_equal(got.detections.masks, plain.detections.masks)
    assert len(got.detections) < len(found.result().detections)


def test_other_words_reuse_the_encodings(models, found):
    with models.using() as pipe:
        before = Counter(models.calls)
        *_, explored = pipe.explore(found.explored.encoded, ["tent", "pizza"])
    called = models.calls - before
    assert not [name for name in ("tagger.encode_images", "detector.encode", "segmenter.encode") if called[name]]
    assert called["detector.score_boxes"] == 1
    assert {tag.label for tag in explored.result().tags} <= {"tent", "pizza"}


def test_corrections_hold_while_thresholds_move(found):
    first, second = found.keys()[:2]
    corrected = found.with_label(first, " game   pad ").without(second)
    assert corrected.result().detections.labels[0] == "game pad"
    assert len(corrected.result().detections) == len(found.result().detections) - 1
    assert corrected.keys() == tuple(key for key in found.keys() if key != second)  # noqa: SIM118
    moved = corrected.moved(box_threshold=0.9).moved(box_threshold=0.45)
    assert moved.result().detections.labels == corrected.result().detections.labels
    assert moved.as_found().result().detections.labels == found.result().detections.labels


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param(lambda one: one.without("nobody"), "no longer in the table", id="no such detection"),
        pytest.param(lambda one: one.with_label("nobody", "x"), "no longer in the table", id="none to rename"),
        pytest.param(lambda one: one.with_label(one.keys()[0], " "), "is blank", id="blank label"),
        pytest.param(lambda one: one.with_label(one.keys()[0], "a\x01"), "control character", id="control"),
    ],
)
def test_a_correction_that_cannot_be_made_is_refused(found, change, says):
    with pytest.raises(BadInput, match=says):
        change(found)


def test_size_counts_image_and_encodings(found):
    assert size_of(found) > 256 * 256 * 3
    assert size_of(found) < 50 * 2**20


def test_tables_and_image_show_the_same_detections_in_the_same_colors(found):
    view, _, tables = show(found)
    assert [place["key"] for place in view["detections"]] == [row["key"] for row in tables["detections"]]
    assert [row["color"] for row in tables["detections"]] == list(openvocab.colors_of(found.result().detections.labels))
    of_tag = {tag["label"]: tag["color"] for tag in tables["tags"]}
    assert all(of_tag[row["label"]] == row["color"] for row in tables["detections"])
    assert view["image"].startswith("data:image/jpeg;base64,")
    assert "scene-1.png" in view["alt"]


def test_stages_have_their_times(found):
    assert [step["state"] for step in steps_of(found.explored)] == ["done"] * 3
    assert [step["state"] for step in steps_of(None, running=True)] == ["now", "wait", "wait"]
    assert steps_of(None) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param({}, "4 tags and 4 detections in scene-1.png, 256 × 256 pixels", id="found"),
        pytest.param({"box_threshold": 1.0}, "4 tags and no detections", id="tags alone"),
        pytest.param({"tag_threshold": 1.0}, "None of the words was found", id="nothing"),
    ],
)
def test_the_summary_says_what_was_found(found, changes, says):
    moved = found.moved(**changes)
    assert says in show(moved).note["text"]


def test_the_summary_names_letters_that_cannot_be_drawn(found):
    renamed = found.with_label(found.keys()[0], "a\U000fff00")
    with pytest.warns(OpenVocabWarning, match="no installed font"):
        note = show(renamed).note["text"]
    assert "No font of the server draws \U000fff00," in note
