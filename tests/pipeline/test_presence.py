"""Presence: it means what was fitted, and neither other labels nor other images change it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import openvocab
from openvocab import Pipeline, Settings
from openvocab.pipeline.presence import encode_background, log_odds, presence_of, tag_log_odds
from openvocab.pipeline.result import Presence
from openvocab.testing import FakeDetector, FakeSegmenter, FakeTagger
from openvocab.weights.manifest import checkpoint, preset_records
from openvocab.weights.presence import (
    FITTED,
    Logistic,
    PresenceModel,
    background_words,
    presence_model,
)
from openvocab.weights.thresholds import box_threshold

SCENES = openvocab.example_scenes()
LABELS = ("tent", "umbrella", "light bulb", "crab")
IMAGE = np.full((20, 30, 3), 90, np.uint8)


@pytest.fixture(scope="module")
def pocket() -> Pipeline:
    return openvocab.load("pocket", dtype="float32")


def fake(*, independent: bool = True, **settings: Any) -> Pipeline:
    boxes = [("light", 0.8, 2, 2, 12, 12), ("dark", 0.1, 4, 4, 9, 9)]
    chosen = Settings(tag_threshold=0.0, box_threshold=0.3).changed(**settings)
    return Pipeline(FakeTagger(independent=independent), FakeDetector(boxes), FakeSegmenter(), chosen)


@pytest.mark.parametrize(
    ("company", "independent"),
    [
        pytest.param(("light", "dark", "red"), True, id="more labels"),
        pytest.param(("dark", "light"), True, id="another order"),
        pytest.param(("light", "dark", "red"), False, id="more labels, softmax"),
        pytest.param(("light", "chair", "text"), False, id="background labels, softmax"),
    ],
)
def test_other_labels_do_not_change_it(company: tuple[str, ...], independent: bool) -> None:
    pipe = fake(independent=independent, gate="none")
    alone = pipe(IMAGE, ["light"]).presence["light"]
    assert 0 < alone < 1
    assert pipe(IMAGE, company).presence["light"] == pytest.approx(alone, abs=1e-6)


def test_other_labels_do_not_change_that_of_a_real_model(pocket: Pipeline) -> None:
    many = pocket(SCENES[0].path, "pocket").presence
    for some in (LABELS, LABELS[::-1], LABELS[:1]):
        few = pocket(SCENES[0].path, some).presence
        assert tuple(few) == some
        np.testing.assert_allclose([few[label] for label in some], [many[label] for label in some], atol=1e-5)


@pytest.mark.parametrize("size", [1, 3])
def test_neighbors_in_a_batch_do_not_change_it(pocket: Pipeline, size: int) -> None:
    paths = [scene.path for scene in SCENES[:3]]
    alone = [pocket(path, LABELS).presence.probabilities for path in paths]
    found = [result.presence.probabilities for result in pocket.run(paths, LABELS, batch_size=size)]
    np.testing.assert_allclose(found, alone, atol=1e-4)


def test_it_tells_what_is_there_from_what_is_not(pocket: Pipeline) -> None:
    result = pocket(SCENES[0].path, LABELS)
    assert list(result.absent) == ["crab"] and not result.none_present
    assert list(result.presence) == list(LABELS)
    nothing = pocket(SCENES[0].path, ["crab", "koala"])
    assert nothing.none_present and nothing.absent == dict(nothing.presence)


def test_it_is_written_as_plain_json(pocket: Pipeline) -> None:
    result = pocket(SCENES[0].path, LABELS)
    plain = json.loads(json.dumps(result.to_dict()))["presence"]
    assert plain == pytest.approx(dict(result.presence), abs=1e-6)
    places = {str(number): number for number in range(5000)}
    few = Presence(places, np.linspace(1, 0, 5000, dtype=np.float32)).top(10)
    assert list(few) == [str(number) for number in range(10)]


def test_the_likeliest_labels_of_each_side_are_listed_and_the_others_counted() -> None:
    made = Presence({"a": 0, "b": 1, "c": 2, "d": 3, "e": 4}, np.array([0.6, 0.125, 0.5, 0.25, 0.75], np.float32))
    assert made.likeliest(2, present=True) == ([("e", 0.75), ("a", pytest.approx(0.6))], 1)
    assert made.likeliest(5, present=False) == ([("d", 0.25), ("b", 0.125)], 0)


@pytest.mark.parametrize(
    ("threshold", "labels"),
    [
        pytest.param(0.0, ("light", "dark"), id="off"),
        pytest.param(0.75, ("light",), id="dark is absent"),
        pytest.param(1.0, (), id="nothing is so likely"),
    ],
)
def test_boxes_of_absent_labels_are_dropped(threshold: float, labels: tuple[str, ...]) -> None:
    pipe = fake(gate="none", box_threshold=0.05, presence_threshold=threshold, duplicates="keep")
    result = pipe(IMAGE, ["light", "dark"])
    assert result.presence["light"] > 0.75 > result.presence["dark"]
    assert result.detections.labels == labels
    *_, last = pipe.explore(IMAGE, ["light", "dark"])
    assert last.result().detections.labels == labels
    assert last.result(presence_threshold=0.0).detections.labels == ("light", "dark")


def values(model: PresenceModel, evidence: Any) -> Any:
    return presence_of(model, evidence)


MODEL = PresenceModel(
    (Logistic(-1.0, {"image": 1.0}), Logistic(0.5, {"image": 1.0, "box": 2.0}), Logistic(2.0, {"box": 1.0})), False, ""
)


@pytest.mark.parametrize(
    ("evidence", "odds"),
    [
        pytest.param({"image": [3.0]}, 2.0, id="tagger alone"),
        pytest.param({"image": [3.0], "window": [9.0]}, 2.0, id="evidence without a weight is left out"),
        pytest.param({"image": [1.0], "box": [-2.0]}, -2.5, id="tagger and box"),
        pytest.param({"image": [3.0], "box": [np.nan]}, 2.0, id="a box that was not measured"),
        pytest.param({"box": [-3.0]}, -1.0, id="box alone"),
    ],
)
def test_the_function_of_most_evidence_is_taken(evidence: dict[str, list[float]], odds: float) -> None:
    given = {name: np.array(values, np.float32) for name, values in evidence.items()}
    np.testing.assert_allclose(values(MODEL, given), np.array([1 / (1 + np.exp(-odds))]), rtol=1e-6)


def test_nothing_is_known_without_evidence() -> None:
    assert presence_of(MODEL, {}) is None
    assert presence_of(MODEL, {"window": np.zeros(2, np.float32)}) is None


def test_logits_of_a_softmax_are_relative_to_the_background_without_the_label_itself() -> None:
    pipe = fake(independent=False)
    vocabulary = pipe.vocabulary(["red", "Chair"])
    assert vocabulary.background is not None and vocabulary.texts is not None
    features = FakeTagger().encode_images([IMAGE])
    pool = features @ FakeTagger().encode_labels(background_words()).embeddings.T
    own = (features @ vocabulary.texts.embeddings.T)[0]
    others = np.delete(pool, background_words().index("chair"), axis=1)
    wanted = [own[0] - np.log(np.exp(pool).sum()), own[1] - np.log(np.exp(others).sum())]
    odds = tag_log_odds(FakeTagger(), features, own[None], vocabulary.background)
    np.testing.assert_allclose(odds, [wanted], rtol=1e-4)
    assert fake().vocabulary(["light"]).background is None


def test_the_background_is_encoded_once_for_a_model_and_its_templates(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Counting(FakeTagger):
        def encode_labels(self, labels: Any, prompts: Any = None) -> Any:
            asked.append(len(labels))
            return super().encode_labels(labels, prompts)

    tagger = Counting(independent=False, record=replace(FakeTagger().record, spec="fake:counting"))
    pipe = Pipeline(tagger, None, None, Settings())
    for labels in (["a"], ["b", "c"]):
        pipe(IMAGE, labels)
    assert asked == [1, len(background_words()), 2]
    pipe(IMAGE, ["a"], template="a drawing of a {label}")
    assert asked[3:] == [1, len(background_words())]


def test_a_tagger_that_takes_only_its_own_labels_has_no_background() -> None:
    class Strict(FakeTagger):
        def encode_labels(self, labels: Any, prompts: Any = None) -> Any:
            raise openvocab.BadInput("no such class")

    tagger = Strict(record=replace(FakeTagger().record, spec="fake:strict"))
    assert encode_background(tagger, ["a"], openvocab.prompt_set()) is None


@pytest.mark.parametrize("name", list(preset_records()))
def test_every_preset_has_a_model_with_its_source(name: str) -> None:
    record = preset_records()[name]
    specs = [f"{spec}-{stage}" if spec == "pocket" else spec for stage, spec in vars_of(record)]
    model = presence_model(*specs, independent=True)
    assert model.fitted == (name == "pocket")
    assert model.fitted or model.source.startswith("prior")
    if not model.fitted and specs[1]:  # one half where the best box scores the box threshold
        odds = log_odds(np.array([box_threshold(specs[1]).value], np.float32))
        np.testing.assert_allclose(values(model, {"box": odds}), np.array([0.5]), atol=1e-6)


def vars_of(record: Any) -> list[tuple[str, str]]:
    return [("tagger", record.tagger), ("detector", record.detector)]


def test_the_fit_is_of_the_weights_that_ship() -> None:
    """Run python -m training.fit_presence after the embedded models were changed."""
    rows = json.loads(FITTED.read_text("utf-8"))
    assert {(row["tagger"], row["detector"]) for row in rows} == {
        ("pocket-tagger", "pocket-detector"),
        ("pocket-tagger", ""),
        ("", "pocket-detector"),
    }
    for row in rows:
        assert row["sha256"] == {name: checkpoint(name).sha256 for name in ("pocket-tagger", "pocket-detector")}
