"""Exemplars with masks go to an exemplar segmenter: instances of its mask, beside the boxes of words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import openvocab
from openvocab import BadInput, Exemplar, Mark, Pipeline, Prompt, Settings
from openvocab.models.segmenters.with_exemplars import ExemplarsAlone, WithExemplars
from openvocab.pipeline.protocols import Boxes, ExemplarSegmenter, PromptSegmenter
from openvocab.pipeline.result import ModelRecord
from openvocab.testing import FakeDetector, FakeTagger
from openvocab.ui.cli.main import main
from tests.tiny import sam_hf, seggpt
from tests.tiny.grounding_dino import write as write_grounding_dino

SIZE = (60, 80)
WHERE = {"red": ((5, 4), (25, 44)), "green": ((40, 30),)}
"""Color -> the row and column of the corner of each square of 12 pixels."""
COLORS = {"red": (250, 10, 10), "green": (10, 250, 10)}


def picture() -> Any:
    image = np.full((*SIZE, 3), 40, np.uint8)
    for color, corners in WHERE.items():
        for row, column in corners:
            image[row : row + 12, column : column + 12] = COLORS[color]
    return image


def boxes_of(color: str) -> list[tuple[int, ...]]:
    return [(column, row, column + 12, row + 12) for row, column in WHERE[color]]


def exemplar(color: str, label: str = "") -> Exemplar:
    image = picture()
    mask = (image == COLORS[color]).all(2)
    mask[:, 40:] &= color == "green"  # one object of several
    return Exemplar.cut(image, label or color, mask=mask)


class ByColor:
    """Resembles the mean color under the masks of the examples: no model, and the right answer is known."""

    record = ModelRecord("fake:by-color", None, "cpu", "float32")

    def segment_like(self, images: Any, example: Any, mask: Any) -> Any:
        return [self.resemblance(image, [(example, mask)]) > 0.5 for image in images]

    def resemblance(self, image: Any, examples: Any) -> Any:
        mean = np.mean([shown[mask].mean(0) for shown, mask in examples], axis=0)
        return np.clip(0.9 - np.abs(image - mean).max(2) / 255, 0, 1).astype(np.float32)


class Squares:
    """Segments every box as a whole."""

    record = ModelRecord("fake:squares", None, "cpu", "float32")

    def encode(self, image: Any) -> Any:
        return image.shape[:2]

    def masks(self, encoded: Any, xyxy: Any) -> Any:
        made = np.zeros((len(xyxy), *encoded), np.bool_)
        for mask, (left, top, right, bottom) in zip(made, xyxy.astype(int), strict=True):
            mask[top:bottom, left:right] = True
        return made, np.ones(len(xyxy), np.float32)

    def prompt(self, encoded: Any, points: Any = None, point_labels: Any = None, box: Any = None) -> Any:
        if box is None:
            box = np.array([*points[0] - 6, *points[0] + 6])
        return np.repeat(self.masks(encoded, box[None])[0], 3, axis=0), np.ones(3, np.float32)


ALONE: Any = ExemplarsAlone(ByColor())
BOTH: Any = WithExemplars(ByColor(), Squares())
SETTINGS = Settings(tag_threshold=0.0, box_threshold=0.3)


def asked(segmenter: Any = ALONE, detector: Any = None, tagger: Any = None) -> Pipeline:
    return Pipeline(tagger, detector, segmenter, SETTINGS)


def found(result: Any) -> list[tuple[Any, ...]]:
    each = result.detections
    return sorted((label, *box) for label, box in zip(each.labels, each.xyxy.astype(int).tolist(), strict=True))


@pytest.mark.parametrize("segmenter", [ALONE, BOTH], ids=["alone", "beside a segmenter for boxes"])
@pytest.mark.parametrize("detector", [None, FakeDetector()], ids=["no detector", "a detector of words"])
def test_every_object_like_the_exemplar_is_an_instance(segmenter: Any, detector: Any) -> None:
    result = asked(segmenter, detector)(picture(), Prompt(exemplars=[exemplar("red", "part 17")]))
    assert found(result) == sorted(("part 17", *box) for box in boxes_of("red"))
    assert result.detections.masks is not None
    assert result.detections.masks.sum() == 2 * 144
    assert ((result.detections.scores > 0.8) & (result.detections.scores < 1)).all()
    assert result.run.segmenter == segmenter.record
    assert result.run.detector == (ByColor if detector is None else detector).record


def test_labels_by_exemplars_and_labels_by_words_are_one_answer() -> None:
    class Word(FakeDetector):
        def detect(self, images: Any, queries: Any, threshold: float) -> Any:
            assert queries.labels == ("green",)
            row = np.array(boxes_of("green"), np.float32), np.array([0.7], np.float32), np.zeros(1, np.int64)
            return [Boxes(*row) for _ in images]

    result = asked(BOTH, Word())(picture(), Prompt(["green"], [exemplar("red")]))
    expected = [(color, *box) for color in WHERE for box in boxes_of(color)]
    assert found(result) == sorted(expected)
    assert result.detections.masks is not None and result.detections.masks.any((1, 2)).all()


def test_a_negative_exemplar_drops_what_it_resembles_more() -> None:
    reddish = exemplar("red", "reddish")
    image = picture()
    image[(image == COLORS["red"]).all(2) & (np.arange(80) > 40)] = (200, 10, 60)  # the second red object, less so
    other = Exemplar.cut(image, "not this", mask=(image == (200, 10, 60)).all(2))
    both = asked()(image, Prompt(exemplars=[reddish]))
    one = asked()(image, Prompt(exemplars=[reddish], negative_exemplars=[other]))
    assert (len(both), found(one)) == (2, [("reddish", *boxes_of("red")[0])])


@pytest.mark.parametrize("how", ["box", "point"])
def test_the_segmenter_for_boxes_makes_the_mask_of_an_exemplar(how: str) -> None:
    left, top, right, bottom = boxes_of("red")[0]
    where: dict[str, Any] = {"box": (left, top, right, bottom)} if how == "box" else {"points": [(left + 6, top + 6)]}
    result = asked(BOTH)(picture(), Prompt(exemplars=[Exemplar.cut(picture(), "red", **where)]))
    assert found(result) == sorted(("red", *box) for box in boxes_of("red"))


def test_specks_are_no_objects() -> None:
    image = picture()
    image[0, 79] = COLORS["red"]
    assert len(asked()(image, Prompt(exemplars=[exemplar("red")]))) == 2


WAYS: dict[str, Callable[[Pipeline, Prompt, Any, Path], Any]] = {
    "list": lambda pipe, prompt, path, here: pipe([path], prompt)[0],
    "vocabulary": lambda pipe, prompt, path, here: pipe(path, pipe.vocabulary(prompt)),
    "run": lambda pipe, prompt, path, here: next(iter(pipe.run(path, prompt))),
    "explore": lambda pipe, prompt, path, here: list(pipe.explore(path, prompt))[-1].result(str(path)),
}


class NoWords(FakeDetector):
    """Reads words, has masks, and finds nothing by words."""

    def detect_masks(self, images: Any, queries: Any, threshold: float) -> Any:
        none = Boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
        return [(none, np.zeros((0, *image.shape[:2]), np.bool_)) for image in images]


@pytest.mark.parametrize(
    ("pipe", "words"),
    [
        pytest.param(asked(ALONE), (), id="alone"),
        pytest.param(asked(BOTH), (), id="beside a segmenter for boxes"),
        pytest.param(asked(ALONE, NoWords(), FakeTagger()), ("red", "green"), id="with a tagger of the words"),
    ],
)
@pytest.mark.parametrize("way", WAYS)
def test_every_call_gives_the_answer_of_one_image(way: str, pipe: Pipeline, words: Any, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(picture()).save(path)
    prompt = Prompt(words, [exemplar("red"), exemplar("green")])
    expected = pipe(path, prompt)
    got = WAYS[way](pipe, prompt, path, tmp_path)
    assert (len(got), got.run) == (3, expected.run)
    assert (got.detections.labels, got.tags) == (expected.detections.labels, expected.tags)
    np.testing.assert_array_equal(np.asarray(got.detections.masks), np.asarray(expected.detections.masks))


def test_a_run_keeps_rows_with_masks_and_the_digest(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.fromarray(picture()).save(tmp_path / name)
    prompt = Prompt(exemplars=[exemplar("red")])
    asked().run_to(tmp_path / "run", [tmp_path / "a.png", tmp_path / "b.png"], prompt)
    run = openvocab.read_run(tmp_path / "run")
    assert [len(row.detections or ()) for row in run] == [2, 2]


def test_tiles_are_searched_like_the_image() -> None:
    result = asked(BOTH)(picture(), Prompt(exemplars=[exemplar("red")]), tiles=2)
    assert found(result) == sorted(("red", *box) for box in boxes_of("red"))


@pytest.mark.parametrize(
    ("pipe", "labels", "says"),
    [
        pytest.param(asked(), ["cat"], "nothing reads 'cat', since fake:by-color takes exemplars; load a", id="words"),
        pytest.param(asked(), Prompt(["cat"], [exemplar("red")]), "nothing reads 'cat'", id="words in a prompt"),
        pytest.param(
            asked(ALONE, FakeDetector()),
            Prompt(["cat"], [exemplar("red")]),
            r"nothing segments the boxes of 'cat'; name a segmenter for boxes as well, for example 'sam2:.*\+fake:by-c",
            id="no segmenter for boxes",
        ),
        pytest.param(asked(ALONE, FakeDetector()), ["cat"], "nothing segments the boxes of 'cat'", id="words alone"),
        pytest.param(
            asked(),
            Prompt(exemplars=[Exemplar.cut(picture(), "red", (5, 4, 17, 16))]),
            "exemplars without a mask need a segmenter that takes points, and fake:by-color takes exemplars",
            id="no mask",
        ),
        pytest.param(asked(), Prompt(marks=[Mark("a", points=[(1, 1)])]), "fake:by-color takes exemplars", id="marks"),
    ],
)
def test_what_these_models_cannot_do_is_said(pipe: Pipeline, labels: Any, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        pipe(picture(), labels)


def test_a_tagger_beside_it_still_tags() -> None:
    assert len(asked(ALONE, None, FakeTagger())(picture(), ["a", "b"]).tags) > 0


# --- SegGPT itself


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    writers = {"seggpt": seggpt.write, "sam_hf": sam_hf.write, "grounding_dino": write_grounding_dino}
    return {name: f"{name}:{write(tmp_path_factory.mktemp(name) / 'model')}" for name, write in writers.items()}


def _upstream(folder: str, image: Any, examples: list[tuple[Any, Any]]) -> Any:
    """The mask of several examples by the way of the library's documentation."""
    from transformers import SegGptForImageSegmentation, SegGptImageProcessor

    processor: Any = SegGptImageProcessor.from_pretrained(folder)
    inputs = processor(
        images=[Image.fromarray(image)] * len(examples),
        prompt_images=[Image.fromarray(each) for each, _ in examples],
        prompt_masks=[mask.astype(np.uint8) for _, mask in examples],
        num_labels=1,
        return_tensors="pt",
    )
    with torch.no_grad():
        answer = SegGptForImageSegmentation.from_pretrained(folder).eval()(**inputs, feature_ensemble=len(examples) > 1)
    sizes = [image.shape[:2]] * len(examples)
    return processor.post_process_semantic_segmentation(answer, sizes, num_labels=1)[0].numpy() == 1


@pytest.mark.parametrize("count", [1, 2, 3], ids="{} exemplars".format)
def test_the_mask_of_exemplars_is_that_of_the_library(
    count: int, specs: dict[str, str], make_image: Callable[..., Any]
) -> None:
    segmenter = openvocab.load_exemplar_segmenter(specs["seggpt"], "cpu", "float32")
    image, examples = make_image(40, 90, 1), []
    for number in range(count):
        mask = np.zeros((50, 60), np.bool_)
        mask[10 + number : 30, 20:50] = True
        examples.append((make_image(50, 60, 7 + number), mask))
    got = segmenter.resemblance(image, examples)
    assert (got.shape, got.dtype.name) == ((40, 90), "float32") and ((got >= 0) & (got <= 1)).all()
    expected = _upstream(specs["seggpt"].partition(":")[2], image, examples)
    assert 0.05 < expected.mean() < 0.95
    np.testing.assert_array_equal(got > 0.5, expected)
    if count == 1:
        np.testing.assert_array_equal(got > 0.5, segmenter.segment_like([image], *examples[0])[0])


def test_no_example_is_refused(specs: dict[str, str]) -> None:
    with pytest.raises(BadInput, match="no example to look for"):
        openvocab.load_exemplar_segmenter(specs["seggpt"], "cpu").resemblance(picture(), [])


@pytest.mark.parametrize(
    ("segmenter", "detector", "takes_points"),
    [
        pytest.param("{seggpt}", None, False, id="alone"),
        pytest.param("{seggpt}", "grounding_dino", False, id="with a detector of words"),
        pytest.param("{sam_hf}+{seggpt}", "grounding_dino", True, id="beside SAM"),
    ],
)
def test_a_spec_of_a_segmenter_may_name_seggpt(
    segmenter: str, detector: str | None, takes_points: bool, specs: dict[str, str]
) -> None:
    spec = segmenter.format(**specs)
    pipe = openvocab.load(
        segmenter=spec, detector=detector and specs[detector], device="cpu", dtype="float32", box_threshold=0.01
    )
    loaded: Any = pipe.segmenter
    assert isinstance(loaded, ExemplarSegmenter) and loaded.record.spec == spec
    assert isinstance(loaded, PromptSegmenter) == takes_points
    words = ["cat"] if takes_points else []
    result = pipe(picture(), Prompt(words, [exemplar("red", "part 17")]))
    assert result.run.segmenter == loaded.record
    assert "part 17" in result.detections.labels and result.detections.masks is not None


def test_the_command_line_answers_as_python_does(specs: dict[str, str], tmp_path: Path) -> None:
    path, prompt = tmp_path / "image.png", Prompt(exemplars=[exemplar("red", "part 17")])
    Image.fromarray(picture()).save(path)
    prompt.save(tmp_path / "prompt.json")
    models = ["--segmenter", specs["seggpt"], "--device", "cpu", "--dtype", "float32"]
    given = ["annotate", str(path), "--prompt", str(tmp_path / "prompt.json"), "--out", str(tmp_path / "run")]
    assert main([*given, *models]) == 0
    expected = openvocab.load(segmenter=specs["seggpt"], device="cpu", dtype="float32")(path, prompt)
    (row,) = openvocab.read_run(tmp_path / "run")
    assert len(expected) > 0 and row.detections is not None and row.detections.labels == expected.detections.labels
    np.testing.assert_allclose(row.detections.xyxy, expected.detections.xyxy, atol=0.01)


def test_the_page_answers_as_python_does(specs: dict[str, str]) -> None:
    pytest.importorskip("gradio")
    from openvocab.ui.web.models import Models

    prompt, spec = Prompt(["tent"], [exemplar("red", "part 17")]), f"{specs['sam_hf']}+{specs['seggpt']}"
    models = Models(("pocket",), "cpu", "float32", segmenter=spec)
    with models.using() as pipe:
        *_, got = pipe.changed(box_threshold=0.4).explore(picture(), prompt)
    alike = openvocab.load("pocket", segmenter=spec, device="cpu", dtype="float32", box_threshold=0.4)
    expected = alike(picture(), prompt)
    assert "part 17" in expected.detections.labels and models.calls["segmenter.resemblance"] == 1
    assert got.result().detections.labels == expected.detections.labels
    assert got.record == expected.run


def test_a_segmenter_of_boxes_alone_cannot_stand_beside_it(
    specs: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from openvocab.models.registry import SEGMENTERS
    from openvocab.testing import FakeSegmenter

    monkeypatch.setattr(SEGMENTERS, "load", lambda *_: FakeSegmenter())
    with pytest.raises(BadInput, match="fake:x takes no points, so seggpt:.* cannot stand beside it"):
        openvocab.load_segmenter(f"fake:x+{specs['seggpt']}")
