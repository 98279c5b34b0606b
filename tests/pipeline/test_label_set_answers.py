"""A label set in the pipeline: synonyms, parents and negatives, and one answer wherever labels go."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import openvocab
from openvocab import LabelSet, Pipeline, Result, Settings
from openvocab.batch.jobs import Job, open_stage
from openvocab.batch.relabel import relabel
from openvocab.images.items import Item
from openvocab.pipeline.everything import UNKNOWN
from openvocab.pipeline.verification.verdicts import judge
from openvocab.testing import FakeDetector, FakeSegmenter, FakeTagger
from openvocab.ui.cli.main import main
from tests.pipeline.test_verify import RULE

SCENES = openvocab.example_scenes()
SCENE = SCENES[0]
WORDS = SCENE.labels
"""tent, umbrella, light bulb, game controller: the embedded models find all four."""
SET = LabelSet(
    ["shelter", "umbrella", "lamp", "game controller"],
    synonyms={"shelter": ["tent", "wigwam"], "lamp": ["light bulb"]},
    negatives=["handbag"],
)
GRAY = np.full((40, 60, 3), 90, np.uint8)
OPEN = Settings(tag_threshold=0.0, box_threshold=0.0)


@pytest.fixture(scope="module")
def pipe() -> Pipeline:
    return openvocab.load("pocket", device="cpu")


@pytest.fixture(scope="module")
def answer(pipe: Pipeline) -> Result:
    return pipe(SCENE.path, SET)


def scores_of(result: Result) -> dict[str, dict[str, float]]:
    """Label -> score, of tags, presence and detections."""
    found = zip(result.detections.labels, result.detections.scores.tolist(), strict=True)
    tags = {tag.label: tag.score for tag in result.tags}
    return {"tags": tags, "presence": dict(result.presence), "detections": dict(found)}


def assert_same(one: Result, two: Result) -> None:
    for kind, expected in scores_of(two).items():
        assert scores_of(one)[kind] == pytest.approx(expected, abs=1e-5), kind


# --- what does not change an answer


@pytest.mark.parametrize("changes", [{}, {"windows": 2}, {"tiles": 2}, {"verify": 5}], ids=str)
def test_a_set_of_plain_labels_gives_the_answer_of_the_list(changes: Any, pipe: Pipeline) -> None:
    plain = pipe(SCENE.path, WORDS, **changes)
    assert pipe(SCENE.path, LabelSet(WORDS), **changes) == plain
    assert plain.run.label_set == ""


def test_synonyms_find_what_the_label_means(answer: Result) -> None:
    assert sorted(answer.detections.labels) == ["game controller", "lamp", "shelter", "umbrella"]
    assert answer.labels == SET.labels
    assert answer.detections.class_ids.tolist() == [SET.labels.index(each) for each in answer.detections.labels]
    assert answer.run.label_set == SET.digest


def test_a_label_scores_as_its_best_phrase(pipe: Pipeline, answer: Result) -> None:
    words = pipe(SCENE.path, [*WORDS, "shelter", "wigwam", "lamp"])
    best = {"shelter": ("tent", "shelter", "wigwam"), "lamp": ("light bulb", "lamp")}
    for label in SET.labels:
        expected = max(words.presence[each] for each in best.get(label, (label,)))
        assert answer.presence[label] == pytest.approx(expected, abs=1e-5)


ORDERS = {
    "labels": LabelSet(SET.labels[::-1], SET.synonyms, {}, SET.negatives),
    "synonyms": LabelSet(SET.labels, {"shelter": ["wigwam", "tent"], "lamp": ["light bulb"]}, {}, SET.negatives),
    "label and synonym": LabelSet(["tent", *SET.labels[1:]], {"tent": ["wigwam", "shelter"], "lamp": ["light bulb"]},
        {}, SET.negatives),
}  # fmt: skip


@pytest.mark.parametrize("order", ORDERS)
def test_the_order_of_phrases_changes_nothing(order: str, pipe: Pipeline, answer: Result) -> None:
    got = pipe(SCENE.path, ORDERS[order])
    names = {"tent": "shelter"}
    for kind, scores in scores_of(got).items():
        renamed = {names.get(label, label): score for label, score in scores.items()}
        assert renamed == pytest.approx(scores_of(answer)[kind], abs=1e-5)


@pytest.mark.parametrize("company", [("monkey", "guitar"), ("monkey", "guitar", "apple", "peach", "violin")], ids=len)
def test_the_company_of_other_labels_changes_neither_presence_nor_boxes(
    company: tuple[str, ...], pipe: Pipeline, answer: Result
) -> None:
    more = LabelSet([*company, *SET.labels], {**SET.synonyms, "monkey": ["ape"]}, {}, SET.negatives)
    got = pipe(SCENE.path, more)
    assert {label: got.presence[label] for label in SET.labels} == pytest.approx(dict(answer.presence), abs=1e-5)
    kept = got.detections[[row for row, label in enumerate(got.detections.labels) if label in SET.labels]]
    assert kept.labels == answer.detections.labels
    np.testing.assert_allclose(kept.scores, answer.detections.scores, atol=1e-5)


@pytest.mark.parametrize("size", [1, 2])
def test_the_batch_size_changes_nothing(size: int, pipe: Pipeline) -> None:
    paths = [scene.path for scene in SCENES[:3]]
    for one, many in zip(pipe.run(paths, SET, batch_size=size), pipe.run(paths, SET), strict=True):
        assert_same(one, many)


# --- one answer wherever labels go


def _file(here: Path) -> str:
    path = here / "set.yaml"
    path.write_text(
        "shelter: [tent, wigwam]\numbrella:\nlamp: [light bulb]\ngame controller:\nnegatives: [handbag]\n",
        encoding="utf-8",
    )
    return str(path)


def _row(folder: Path) -> Any:
    run = openvocab.read_run(folder)
    assert (run.record["label_set"], run.labels) == (SET.digest, SET.labels)
    (row,) = run
    return row


def _command(pipe: Pipeline, here: Path) -> Any:
    command = ["annotate", str(SCENE.path), "--labels", _file(here), "--device", "cpu", "--no-images"]
    assert main([*command, "--out", str(here / "command")]) == 0
    return _row(here / "command")


def _run_to(pipe: Pipeline, here: Path) -> Any:
    pipe.run_to(here / "python", SCENE.path, SET)
    return _row(here / "python")


def _workers(pipe: Pipeline, here: Path) -> Any:
    openvocab.Workers(openvocab.Loader("pocket"), ("cpu",)).run_to(here / "workers", SCENE.path, _file(here))
    return _row(here / "workers")


def _job(pipe: Pipeline, here: Path) -> Any:
    """The answer of a worker, in this process."""
    job = Job(openvocab.Loader("pocket"), SET, openvocab.prompt_set(), {}, openvocab.RunOptions()).portable()
    with open_stage(pickle.loads(pickle.dumps(job)), "cpu", lambda: False) as stage:
        assert stage.about.record.label_set == SET.digest
        (answer,) = stage.answers([Item(str(SCENE.path), str(SCENE.path))])
        return answer


WAYS: dict[str, Callable[[Pipeline, Path], Any]] = {
    "file": lambda pipe, here: pipe(SCENE.path, _file(here)),
    "vocabulary": lambda pipe, here: pipe(SCENE.path, pipe.vocabulary(SET)),
    "run": lambda pipe, here: next(iter(pipe.run(SCENE.path, SET))),
    "explore": lambda pipe, here: list(pipe.explore(SCENE.path, SET))[-1].result(str(SCENE.path)),
    "run_to": _run_to,
    "command": _command,
    "job": _job,
    "workers": _workers,
}


@pytest.mark.parametrize("way", [*list(WAYS)[:-1], pytest.param("workers", marks=pytest.mark.long)])
def test_every_call_gives_the_answer_of_one_image(way: str, pipe: Pipeline, answer: Result, tmp_path: Path) -> None:
    got = WAYS[way](pipe, tmp_path)
    assert [tag.label for tag in got.tags] == [tag.label for tag in answer.tags]
    np.testing.assert_allclose([tag.score for tag in got.tags], [tag.score for tag in answer.tags], atol=1e-5)
    assert got.detections.labels == answer.detections.labels
    np.testing.assert_allclose(got.detections.xyxy, answer.detections.xyxy, atol=1e-3)
    np.testing.assert_allclose(got.detections.scores, answer.detections.scores, atol=1e-5)


def test_another_synonym_does_not_resume_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["tag", str(SCENE.path), "--labels", _file(tmp_path), "--out", str(tmp_path / "run")]
    assert main(command) == 0
    assert main(command) == 0
    assert "nothing to do" in capsys.readouterr().out
    path = tmp_path / "set.yaml"
    path.write_text(path.read_text("utf-8").replace("wigwam", "hut"), "utf-8")
    assert main(command) == 2
    assert "holds another run (label_set: " in capsys.readouterr().err


@pytest.mark.parametrize("independent", [True, False], ids=["sigmoid", "softmax"])
def test_relabeled_rows_are_those_of_a_run_with_the_set(independent: bool, tmp_path: Path) -> None:
    tagger = FakeTagger(independent=independent)
    fake = Pipeline(tagger, None, None, OPEN)
    paths = [str(scene.path) for scene in SCENES[:4]]
    fake.run_to(tmp_path / "old", paths, "a, b", features="float32")
    fake.run_to(tmp_path / "expected", paths, SET)
    run = openvocab.read_run(tmp_path / "old")
    relabel(run, tagger, tmp_path / "new", fake.vocabulary(SET), OPEN)
    new = openvocab.read_run(tmp_path / "new")
    assert new.record["label_set"] == SET.digest
    for got, expected in zip(new, openvocab.read_run(tmp_path / "expected"), strict=True):
        assert [tag.label for tag in got.tags] == [tag.label for tag in expected.tags]
        np.testing.assert_allclose([t.score for t in got.tags], [t.score for t in expected.tags], atol=1e-6)


# --- tags


def test_a_softmax_is_over_the_best_phrase_of_each_label() -> None:
    fake = Pipeline(FakeTagger(independent=False), None, None, OPEN)
    rows = fake.tag_scores([GRAY], fake.vocabulary(SET.phrases))[0]
    odds = np.log(rows)  # logits less a constant
    best = np.exp([odds[:3].max(), odds[3], odds[4:6].max(), odds[6], odds[7]])
    got = {tag.label: tag.score for tag in fake(GRAY, SET).tags}
    expected = dict(zip(SET.labels, best / best.sum(), strict=False))
    assert got == pytest.approx(expected, abs=1e-6)
    assert sum(got.values()) < 1  # the rest is the negative's


def test_a_parent_scores_what_its_best_child_does() -> None:
    family = LabelSet(["vehicle", "car", "bus"], children={"vehicle": ["car", "bus"]})
    result = Pipeline(FakeTagger({"vehicle": 0.2, "car": 0.9, "bus": 0.4}), None, None, OPEN)(GRAY, family)
    assert [(tag.label, round(tag.score, 3)) for tag in result.tags] == [("vehicle", 0.9), ("car", 0.9), ("bus", 0.4)]
    assert result.presence["vehicle"] == result.presence["car"] > result.presence["bus"]


# --- boxes

CAR, BUS = (0, 0, 20, 20), (30, 0, 50, 20)
NEAR_CAR = (0, 0, 20, 18)


def detecting(*boxes: tuple[Any, ...], **settings: Any) -> Pipeline:
    detector = FakeDetector([(label, score, *box) for label, score, box in boxes])
    return Pipeline(None, detector, FakeSegmenter(), OPEN.changed(**settings))


def test_boxes_of_synonyms_are_boxes_of_the_label() -> None:
    found = detecting(("car", 0.5, CAR), ("automobile", 0.8, NEAR_CAR), ("automobile", 0.6, BUS))
    got = found(GRAY, LabelSet(["car"], {"car": ["automobile"]})).detections
    assert (got.labels, got.detector_scores.tolist()) == (("car", "car"), pytest.approx([0.8, 0.6]))


@pytest.mark.parametrize(
    ("negative", "changes", "kept"),
    [
        pytest.param(("sled", 0.8, NEAR_CAR), {}, ["bus"], id="it overlaps and scores more"),
        pytest.param(("sled", 0.8, NEAR_CAR), {"duplicates": "keep"}, ["bus"], id="also where duplicates are kept"),
        pytest.param(("sled", 0.8, NEAR_CAR), {"max_boxes": 1}, ["bus"], id="it takes no place among the boxes"),
        pytest.param(("sled", 0.6, NEAR_CAR), {}, ["car", "bus"], id="it scores less"),
        pytest.param(("sled", 0.9, (0, 0, 6, 6)), {}, ["car", "bus"], id="it is another object"),
        pytest.param(("sled", 0.8, (0, 0, 20, 10)), {"duplicate_iou": 0.5}, ["car", "bus"], id="at the limit"),
        pytest.param(("sled", 0.8, NEAR_CAR), {"box_threshold": 0.85}, [], id="under the threshold"),
    ],
)
def test_a_negative_takes_its_boxes(negative: tuple[Any, ...], changes: Any, kept: list[str]) -> None:
    found = detecting(("car", 0.7, CAR), ("bus", 0.5, BUS), negative, **changes)
    result = found(GRAY, LabelSet(["car", "bus"], negatives=["sled"]))
    assert list(result.detections.labels) == kept
    assert (result.labels, result.absent.keys() & {"sled"}) == (("car", "bus"), set())


def test_the_boxes_of_a_child_keep_its_label_unless_the_parent_alone_is_asked_for() -> None:
    family = LabelSet(["vehicle", "car", "bus"], {"car": ["automobile"]}, {"vehicle": ["car", "bus"]})
    found = detecting(("automobile", 0.7, CAR), ("bus", 0.5, BUS))
    assert found(GRAY, family).detections.labels == ("car", "bus")
    assert found(GRAY, family.only("vehicle")).detections.labels == ("vehicle", "vehicle")
    assert found(GRAY, family.only("vehicle", "bus")).detections.labels == ("vehicle", "bus")


def test_the_detector_is_asked_for_the_phrases_of_the_tags_and_for_negatives() -> None:
    asked: list[tuple[str, ...]] = []

    class Recording(FakeDetector):
        def detect(self, images: Any, queries: Any, threshold: float) -> Any:
            asked.append(queries.labels)
            return super().detect(images, queries, threshold)

    pipe = Pipeline(FakeTagger({"shelter": 0.9, "game controller": 0.8}), Recording(()), None, OPEN.changed(max_tags=2))
    pipe(GRAY, SET)
    assert asked == [("shelter", "tent", "wigwam", "game controller", "handbag")]


@pytest.mark.parametrize(
    ("crops", "place", "reason"),
    [
        pytest.param([-3.0, -4.0, 1.0], -1, "rejected: looks like sled 0.73", id="the negative"),
        pytest.param([-3.0, 1.0, -4.0], 1, "relabeled: was car 0.12", id="another label"),
    ],
)
def test_verification_gives_no_box_to_a_negative(crops: list[float], place: int, reason: str) -> None:
    odds = {"crop": np.array(crops, np.float32), "presence": np.array([1.0, 1.0, 3.0], np.float32)}
    odds["box"] = np.array([1.0, 0.0, 0.0], np.float32)
    verdict = judge(RULE, ("car", "bus", "sled"), 0, odds, 0.0, reported=2)
    assert (verdict.place, str(verdict.verdict)) == (place, reason)


def test_a_box_that_looks_like_a_negative_is_rejected_by_the_rule_of_the_embedded_models(pipe: Pipeline) -> None:
    found = pipe(SCENE.path, LabelSet(WORDS[1:]), verify=9, box_threshold=0.02)
    got = pipe(
        SCENE.path, LabelSet(WORDS[1:], negatives=[*WORDS[:1], "monkey", "guitar"]), verify=9, box_threshold=0.02
    )
    assert sorted(set(got.detections.labels)) == sorted(set(found.detections.labels)) == sorted(WORDS[1:])
    assert not {"tent", "monkey", "guitar"} & set(got.rejected.labels)
    assert any(str(each).startswith("rejected: looks like") for each in got.rejected.data["verification"])


@pytest.mark.parametrize("verify", [0, 9])
def test_a_negative_rejects_an_object_of_the_embedded_models(verify: int, pipe: Pipeline) -> None:
    got = pipe(SCENE.path, LabelSet(WORDS[1:], negatives=[WORDS[0]]), verify=verify)
    expected = pipe(SCENE.path, WORDS)
    assert sorted(got.detections.labels) == sorted(each for each in expected.detections.labels if each != WORDS[0])


def test_everything_that_looks_like_a_negative_is_unknown(pipe: Pipeline) -> None:
    whole = pipe.everything(SCENE.path, SET)
    assert {"shelter", "lamp"} <= set(whole.detections.labels)
    negative = LabelSet(SET.labels[1:], {"lamp": SET.synonyms["lamp"]}, {}, ["tent", *SET.negatives])
    got = pipe.everything(SCENE.path, negative).detections.labels
    assert got == tuple(UNKNOWN if label == "shelter" else label for label in whole.detections.labels)


def test_labels_of_a_set_are_detected_by_their_own_names(pipe: Pipeline) -> None:
    vocabulary, image = pipe.vocabulary(SET), openvocab.read_image(SCENE.path)
    assert pipe.detect(image, vocabulary, ["lamp"]).labels == ("lamp",)
