"""A prompt finds what it shows, drops what it excludes, and gives one answer wherever labels go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import openvocab
from openvocab import BadInput, Exemplar, Mark, Pipeline, Prompt, Result, exemplars_of, read_prompt
from openvocab.pipeline.masks import decode_mask
from openvocab.testing import FakeDetector, FakeSegmenter, FakeTagger

SCENE = openvocab.example_scenes()[0]
IMAGE = openvocab.read_image(SCENE.path)
WORDS = SCENE.labels
"""Of which the embedded models find all four, each once."""


@pytest.fixture(scope="module")
def pipe() -> Pipeline:
    return openvocab.load("pocket", device="cpu")


@pytest.fixture(scope="module")
def answer(pipe: Pipeline) -> Result:
    return pipe(IMAGE, WORDS)


def shown(result: Result, label: str, name: str = "") -> Exemplar:
    """The object of a label as an exemplar."""
    (exemplar,) = exemplars_of(result, [result.detections.labels.index(label)])
    return replace(exemplar, label=name or label)


def test_a_prompt_of_words_answers_as_the_words_do(pipe: Pipeline, answer: Result) -> None:
    prompt = Prompt(WORDS)
    got = pipe(IMAGE, prompt)
    assert (got.tags, got.detections, got.presence) == (answer.tags, answer.detections, answer.presence)
    assert (answer.run.prompt, got.run) == ("", replace(answer.run, prompt=prompt.digest))


@pytest.mark.parametrize("label", ["tent", "light bulb"])
def test_an_exemplar_whose_name_is_not_given_finds_the_object(label: str, pipe: Pipeline, answer: Result) -> None:
    found = pipe(IMAGE, Prompt(exemplars=(shown(answer, label, "part 17"),)))
    true = answer.detections[answer.detections.labels.index(label)]
    assert set(found.detections.labels) == {"part 17"}
    np.testing.assert_allclose(found.detections.xyxy[0], true.xyxy, atol=8)
    assert (found.tags, found.run.tagger) == ((), None)


def test_an_exemplar_finds_another_object_of_its_kind_by_the_defaults(pipe: Pipeline) -> None:
    given, asked = openvocab.example_scenes()[2:4]
    bag = Exemplar.cut(
        openvocab.read_image(given.path), "like this", given.xyxy[given.labels.index("handbag")].tolist()
    )
    (one,) = pipe(openvocab.read_image(asked.path), Prompt(exemplars=(bag,))).detections
    np.testing.assert_allclose(one.xyxy, asked.xyxy[asked.labels.index("handbag")], atol=12)


def test_points_on_an_object_are_an_exemplar_of_it(pipe: Pipeline, answer: Result) -> None:
    box = answer.detections.xyxy[answer.detections.labels.index("tent")]
    point = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    found = pipe(IMAGE, Prompt(exemplars=(Exemplar.cut(IMAGE, "part 17", points=[point]),)))
    np.testing.assert_allclose(found.detections.xyxy[0], box, atol=8)


def test_words_and_exemplars_of_one_label_are_one_query(pipe: Pipeline, answer: Result) -> None:
    found = pipe(IMAGE, Prompt(WORDS, exemplars_of(answer)))
    assert (found.tags, found.labels) == (answer.tags, answer.labels)
    assert sorted(found.detections.labels) == sorted(answer.detections.labels)
    assert found.detections.detector_scores.min() > answer.detections.detector_scores.min()


@pytest.mark.parametrize("label", WORDS)
def test_a_negative_exemplar_removes_its_kind_and_nothing_else(label: str, pipe: Pipeline, answer: Result) -> None:
    prompt = Prompt(WORDS, negative_exemplars=(shown(answer, label, "not this"),))
    kept = pipe(IMAGE, prompt).detections
    rest = [row for row, each in enumerate(answer.detections.labels) if each != label]
    assert kept.labels == tuple(answer.detections.labels[row] for row in rest)
    np.testing.assert_allclose(kept.xyxy, answer.detections.xyxy[rest], atol=1e-3)
    np.testing.assert_allclose(kept.scores, answer.detections.scores[rest], atol=1e-4)


def _read_back(prompt: Prompt, here: Path) -> Prompt:
    prompt.save(here / "prompt.json")
    return read_prompt(here / "prompt.json")


WAYS: dict[str, Callable[[Pipeline, Prompt, Path], Any]] = {
    "list": lambda pipe, prompt, here: pipe([SCENE.path], prompt)[0],
    "vocabulary": lambda pipe, prompt, here: pipe(SCENE.path, pipe.vocabulary(prompt)),
    "saved": lambda pipe, prompt, here: pipe(SCENE.path, _read_back(prompt, here)),
    "run": lambda pipe, prompt, here: next(iter(pipe.run(SCENE.path, prompt))),
    "explore": lambda pipe, prompt, here: list(pipe.explore(SCENE.path, prompt))[-1].result(str(SCENE.path)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])
def test_every_call_gives_the_answer_of_one_image(
    way: str, named: bool, pipe: Pipeline, answer: Result, tmp_path: Path
) -> None:
    given = exemplars_of(answer, [0]) if named else (shown(answer, "tent", "part 17"),)
    prompt = Prompt(WORDS[:2], given, negative_exemplars=(shown(answer, WORDS[1], "not this"),))
    expected = pipe(SCENE.path, prompt)
    assert len(expected) > 0
    got = WAYS[way](pipe, prompt, tmp_path)
    assert got.run == expected.run
    assert got.tags == expected.tags
    assert got.detections.labels == expected.detections.labels
    np.testing.assert_allclose(got.detections.xyxy, expected.detections.xyxy, atol=1e-3)
    np.testing.assert_allclose(got.detections.scores, expected.detections.scores, atol=1e-5)


def test_memory_and_exemplars_are_asked_alike(pipe: Pipeline, answer: Result) -> None:
    plain, remembered = Prompt(("tent",), exemplars_of(answer)), Prompt(("tent",)).remembering(*exemplars_of(answer))
    assert pipe(IMAGE, plain).detections == pipe(IMAGE, remembered).detections
    assert plain.digest != remembered.digest


# --- marks


def _center(box: Any) -> tuple[float, float]:
    return float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2


def test_a_click_refines_the_object_that_it_lies_on(pipe: Pipeline, answer: Result) -> None:
    row = answer.detections.labels.index("tent")
    box = answer.detections.xyxy[row]
    got = pipe(IMAGE, Prompt(WORDS, marks=(Mark(points=[_center(box)], box=box.tolist()),)))
    assert sorted(got.detections.labels) == sorted(answer.detections.labels)
    assert got.detections.detector_scores[got.detections.labels.index("tent")] == 1
    assert got.run.prompt


@pytest.mark.parametrize(
    "mark",
    [
        pytest.param(lambda box: {"points": [_center(box)]}, id="point"),
        pytest.param(lambda box: {"points": [_center(box)], "outside": [(1, 1)]}, id="points"),
        pytest.param(lambda box: {"box": box.tolist()}, id="box"),
        pytest.param(lambda box: {"scribbles": [[_center(box), np.add(_center(box), 9)]]}, id="scribble"),
        pytest.param(lambda box: {"mask": _filled(box)}, id="mask"),
    ],
)
def test_marks_alone_need_no_labels(mark: Callable[[Any], Any], pipe: Pipeline, answer: Result) -> None:
    box = answer.detections.xyxy[answer.detections.labels.index("tent")]
    got = pipe(IMAGE, Prompt(marks=(Mark("mine", **mark(box)),)))
    assert got.detections.labels == ("mine",)
    assert got.detections.masks is not None
    assert decode_mask(got.to_dict()["detections"][0]["mask"])[int(_center(box)[1]), int(_center(box)[0])]
    assert (got.run.tagger, got.run.detector, got.notes) == (None, None, ())


def _filled(box: Any) -> Any:
    mask = np.zeros(IMAGE.shape[:2], np.bool_)
    mask[int(box[1]) : int(box[3]), int(box[0]) : int(box[2])] = True
    return mask


@pytest.mark.parametrize(
    ("mark", "says"),
    [
        pytest.param({"points": [(2, 2)]}, "without a label lies on no detection; give it a label", id="no label"),
        pytest.param({"points": [(999, 2)]}, r"\(999, 2\) of a mark lies outside the image of 256 x 256", id="outside"),
        pytest.param({"mask": np.ones((5, 5), np.bool_)}, r"must have the image's size, \(256, 256\)", id="mask"),
    ],
)
def test_marks_that_cannot_be_used_are_refused(mark: dict[str, Any], says: str, pipe: Pipeline) -> None:
    with pytest.raises(BadInput, match=says):
        pipe(IMAGE, Prompt(marks=(Mark(**mark),)))


@pytest.mark.parametrize("call", ["vocabulary", "run", "explore", "list"])
def test_marks_belong_to_one_image(call: str, pipe: Pipeline) -> None:
    prompt = Prompt(WORDS, marks=(Mark("mine", points=[(5, 5)]),))
    calls: dict[str, Callable[[], Any]] = {
        "vocabulary": lambda: pipe.vocabulary(prompt),
        "run": lambda: list(pipe.run(SCENE.path, prompt)),
        "explore": lambda: list(pipe.explore(IMAGE, prompt)),
        "list": lambda: pipe([IMAGE], prompt),
    }
    with pytest.raises(BadInput, match="marks, which belong to one image"):
        calls[call]()


# --- models that cannot


FAKE = Pipeline(FakeTagger(), FakeDetector(), FakeSegmenter(), openvocab.Settings(tag_threshold=0.0, box_threshold=0.0))
CROP = Exemplar.cut(IMAGE, "mug", (10, 10, 60, 60))


@pytest.mark.parametrize(
    ("stages", "prompt", "says"),
    [
        pytest.param(FAKE, Prompt(exemplars=(CROP,)), "fake:detector takes words only; load .*owlv2", id="words only"),
        pytest.param(FAKE, Prompt(("a",), negative_labels=("b",)), "takes words only", id="negative"),
        pytest.param(replace(FAKE, detector=None), Prompt(("mug",), (CROP,)), "has no detector; load", id="tags only"),
        pytest.param(FAKE, Prompt(), "the prompt asks for nothing; give it a label", id="empty"),
        pytest.param(FAKE, Prompt(marks=(Mark("a", points=[(1, 1)]),)), "fake:segmenter takes boxes only", id="points"),
    ],
)
def test_models_that_cannot_say_which_can(stages: Pipeline, prompt: Prompt, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        stages(IMAGE, prompt)


def test_words_in_a_prompt_need_no_special_detector() -> None:
    assert FAKE(IMAGE, Prompt(("a", "b"))).detections == FAKE(IMAGE, ["a", "b"]).detections


def test_detections_that_are_not_there_are_no_exemplars(answer: Result) -> None:
    with pytest.raises(BadInput, match="there is no detection 9; there are 4, counted from 0"):
        exemplars_of(answer, [9])
