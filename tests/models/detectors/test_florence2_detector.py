"""Florence-2's boxes are those of transformers' processor, generate and post-processing, and have upstream's score."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Florence2ForConditionalGeneration, Florence2Processor

import openvocab
from openvocab.errors import BadInput, BadOutput, BadWeights, OpenVocabWarning
from openvocab.models.detectors.florence2_detector import Florence2Detector, boxes_of
from openvocab.models.written import Written
from openvocab.pipeline.protocols import Queries
from tests.helpers.folders import damaged_copy
from tests.tiny.florence2 import CONTEXT, FEATURES, SIDE, write

LABELS = ["cat", "Red dog", "a thing", "bird", "猫"]
SIZES = [(60, 60), (40, 100), (97, 33), (9, 5)]
GROUNDING = "<CAPTION_TO_PHRASE_GROUNDING>{label}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("florence2") / "model")


@pytest.fixture(scope="module")
def detector(folder: str) -> Florence2Detector:
    return Florence2Detector.load(folder, "cpu")


@pytest.fixture(scope="module")
def images(make_image: Callable[..., Any]) -> list[Any]:
    return [make_image(height, width, seed) for seed, (height, width) in enumerate(SIZES)]


class Upstream:
    """What a user of transformers calls."""

    def __init__(self, folder: str) -> None:
        self.processor = Florence2Processor.from_pretrained(folder)
        self.model = Florence2ForConditionalGeneration.from_pretrained(folder).eval()

    def generate(self, image: Any, prompt: str) -> Any:
        inputs = self.processor(text=prompt, images=Image.fromarray(image), return_tensors="pt")
        options = {"do_sample": False, "max_new_tokens": CONTEXT - 1}
        return self.model.generate(**inputs, **options, return_dict_in_generate=True, output_scores=True)

    def boxes(self, image: Any, task: str, label: str) -> tuple[Any, Any, Any]:
        """Return (N, 4) whole pixels, (N, 4) bins, and (N,) scores of Microsoft's own code: exp of the mean log.

        A published answer begins with the label, and the library's pattern needs a letter there.
        """
        made = self.generate(image, task + label)
        text = "x" + self.processor.batch_decode(made.sequences, skip_special_tokens=False)[0]
        size = (image.shape[1], image.shape[0])
        boxes = self.processor.post_process_generation(text, task=task, image_size=size)[task]["bboxes"]
        steps = self.model.compute_transition_scores(made.sequences, made.scores, made.beam_indices)[0]
        first = self.processor.tokenizer.convert_tokens_to_ids("<loc_0>")
        tokens = made.sequences[0, 1:].tolist()
        runs = _runs([first <= token < first + 1000 for token in tokens])
        groups = [run[at : at + 4] for run in runs for at in range(0, len(run) - 3, 4)]
        bins = [[tokens[at] - first for at in group] for group in groups]
        scores = [math.exp(sum(float(steps[at]) for at in group) / 4) for group in groups]
        xyxy, edges = (np.array(each, np.float64).reshape(-1, 4) for each in (boxes, bins))
        return xyxy, edges, np.array(scores)


def _runs(wanted: list[bool]) -> list[list[int]]:
    """Return the places of True, those in a row together."""
    found: list[list[int]] = [[]]
    for at, each in enumerate(wanted):
        found = [*found[:-1], [*found[-1], at]] if each else [*found, []]
    return found


@pytest.fixture(scope="module")
def upstream(folder: str) -> Upstream:
    return Upstream(folder)


@pytest.mark.parametrize("template", ["<OPEN_VOCABULARY_DETECTION>{label}", GROUNDING], ids=["detection", "grounding"])
@pytest.mark.parametrize("row", range(len(SIZES)))
def test_boxes_and_scores_are_upstream_s(
    row: int, template: str, detector: Florence2Detector, upstream: Upstream, images: list[Any]
) -> None:
    """The library cuts edges to whole pixels and keeps boxes that are inside out."""
    got = detector.detect([images[row]], detector.encode_labels(LABELS, template), 0.0)[0]
    found = 0
    for place, label in enumerate(LABELS):
        boxes, bins, scores = upstream.boxes(images[row], template.removesuffix("{label}"), label)
        order = np.argsort(-scores, kind="stable")
        shown = order[(bins[order, 2:] > bins[order, :2]).all(1)]
        mine = got.label_index == place
        np.testing.assert_array_equal(np.floor(got.xyxy[mine] + 1e-4), boxes[shown])
        np.testing.assert_allclose(got.scores[mine], scores[shown], rtol=1e-4)
        found += len(shown)
    assert len(got.scores) == found > 1


@pytest.mark.parametrize("together", [1, 2, 8])
def test_labels_of_a_batch_change_nothing(
    together: int, detector: Florence2Detector, images: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openvocab.models.florence2._PROMPTS_TOGETHER", together)
    got = detector.detect(images[:2], detector.encode_labels(LABELS), 0.0)
    alone = [detector.detect(images[:2], detector.encode_labels([label]), 0.0) for label in LABELS]
    for row, boxes in enumerate(got):
        for place in range(len(LABELS)):
            mine = boxes.label_index == place
            np.testing.assert_allclose(boxes.scores[mine], alone[place][row].scores, rtol=1e-4)
            np.testing.assert_allclose(boxes.xyxy[mine], alone[place][row].xyxy, atol=1e-3)


LOCATIONS = {100 + number: number for number in range(100)}
POLYGON = (1, 2, 3)
"""The tokens that begin, part and end a polygon; 9 is a word."""


@pytest.mark.parametrize(
    ("tokens", "boxes"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([9, 9], [], id="words"),
        pytest.param([9, 110, 120, 130, 140, 9], [[10, 20, 30, 40]], id="one"),
        pytest.param([9, 110, 120, 130, 140], [[10, 20, 30, 40]], id="without the end"),
        pytest.param([110, 120, 130, 140, 111, 121, 131, 141], [[10, 20, 30, 40], [11, 21, 31, 41]], id="two in a row"),
        pytest.param([9, 110, 120, 130, 140, 9, 111, 121, 131, 141], [[10, 20, 30, 40], [11, 21, 31, 41]], id="two"),
        pytest.param([110, 120, 130, 140, 111, 121], [[10, 20, 30, 40]], id="cut in a box"),
        pytest.param([110, 120, 130], [], id="three edges"),
        pytest.param([110, 120, 9, 130, 140], [], id="a word in a box"),
        pytest.param([9, 1, 110, 140, 150, 120, 130, 199, 3], [[10, 20, 50, 99]], id="polygon"),
        pytest.param([1, 110, 140, 150, 120, 2, 105, 106, 3], [[5, 6, 50, 40]], id="polygon of two parts"),
        pytest.param([1, 110, 140, 3], [], id="polygon of one corner"),
        pytest.param([1, 110, 120, 130, 140, 150, 160], [], id="polygon without its end"),
        pytest.param(
            [1, 110, 140, 150, 120, 3, 9, 110, 120, 130, 140], [[10, 20, 50, 40], [10, 20, 30, 40]], id="both"
        ),
    ],
)
def test_boxes_of_an_answer(tokens: list[int], boxes: list[list[int]]) -> None:
    logs = [-0.1 * at for at in range(len(tokens))]
    got, scores = boxes_of(Written(tuple(tokens), tuple(logs), False), LOCATIONS, POLYGON)
    assert got.tolist() == boxes
    assert scores.shape == (len(boxes),) and ((scores > 0) & (scores <= 1)).all()


def test_a_box_has_the_geometric_mean_of_its_own_tokens() -> None:
    answer = Written((9, 110, 120, 130, 140, 9), tuple(map(math.log, (0.1, 0.9, 0.4, 0.9, 0.4, 0.2))), False)
    assert boxes_of(answer, LOCATIONS, POLYGON)[1] == pytest.approx([0.6])


def test_edges_are_the_middle_of_a_bin(detector: Florence2Detector, images: list[Any]) -> None:
    got = detector.detect(images[1:2], detector.encode_labels(LABELS), 0.0)[0]
    bins = got.xyxy / np.array([100, 40, 100, 40], np.float32) * 1000 - 0.5
    np.testing.assert_allclose(bins, bins.round(), atol=1e-2)


def test_labels_come_out_as_they_were_written(detector: Florence2Detector, images: list[Any]) -> None:
    pipe = openvocab.Pipeline(None, detector, None, openvocab.Settings(box_threshold=0.0, nms_iou=1.0))
    result = pipe(images[0], LABELS)
    assert len(result.detections) > 1 and set(result.detections.labels) <= set(LABELS)


def test_picked_rows_answer_like_labels_encoded_alone(detector: Florence2Detector, images: list[Any]) -> None:
    every = detector.encode_labels(LABELS)
    picked = Queries((LABELS[3], LABELS[0]), every.template, every.embeddings[[3, 0]])
    alone = detector.encode_labels([LABELS[3], LABELS[0]])
    assert picked.embeddings.tokens == alone.embeddings.tokens
    one, other = (detector.detect(images[:1], queries, 0.0)[0] for queries in (picked, alone))
    np.testing.assert_array_equal(one.label_index, other.label_index)


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        pytest.param(None, "Locate cat in the image.", id="none"),
        pytest.param(GROUNDING, "Locate the phrases in the caption: cat", id="grounding"),
        pytest.param(
            "<CAPTION_TO_PHRASE_GROUNDING>a photo of {}",
            "Locate the phrases in the caption: a photo of cat",
            id="a task and a sentence",
        ),
        pytest.param("Where is {label}?", "Where is cat?", id="a sentence"),
    ],
)
def test_template(template: str | None, sentence: str, detector: Florence2Detector, folder: str) -> None:
    queries = detector.encode_labels(["cat"], template)
    words = detector.florence.processor.tokenizer
    assert words.decode(queries.embeddings.tokens[0]) == f"<s>{sentence}</s>"
    assert queries.template == (template or "<OPEN_VOCABULARY_DETECTION>{label}")


@pytest.mark.parametrize(
    ("labels", "template", "message"),
    [
        pytest.param(["dog " * 90 + "cat", "dog " * 90 + "dog"], None, "same text", id="the same after the cut"),
        pytest.param(["cat"], "<OD>", "<OD>.*finds no boxes for words", id="task without labels"),
        pytest.param(["cat"], "<REGION_TO_OCR>{label}", "finds no boxes for words", id="task for regions"),
        pytest.param(["cat"], "Where?", "no place for the label", id="no place"),
        pytest.param([], None, "no labels", id="no label"),
    ],
)
def test_bad_labels_are_refused(
    detector: Florence2Detector, labels: list[str], template: str | None, message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        detector.encode_labels(labels, template)


def test_too_long_label_is_named(detector: Florence2Detector) -> None:
    with pytest.warns(OpenVocabWarning, match=f"reads {CONTEXT - FEATURES}"):
        queries = detector.encode_labels(["cat", "dog " * 90])
    assert max(map(len, queries.embeddings.tokens)) == CONTEXT - FEATURES


def test_answer_that_is_cut_is_named(
    detector: Florence2Detector, images: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openvocab.models.florence2._MOST_TOKENS", 12)
    with pytest.warns(OpenVocabWarning, match="image 0: Florence-2's answer to label 'cat' is cut at 12 tokens"):
        detector.detect(images[:1], detector.encode_labels(["cat"]), 0.0)


def test_what_does_not_reach_the_threshold_is_no_row(detector: Florence2Detector, images: list[Any]) -> None:
    queries = detector.encode_labels(LABELS)
    every, none = (detector.detect(images[:1], queries, threshold)[0] for threshold in (0.0, 1.0))
    limit = float(every.scores[0])
    assert (detector.detect(images[:1], queries, limit)[0].scores > limit).all()
    assert (none.xyxy.shape, none.scores.shape, none.label_index.shape) == ((0, 4), (0,), (0,))


def test_the_model_stays_in_float32_and_says_so(folder: str) -> None:
    detector = Florence2Detector.load(folder, "cpu", "bfloat16")
    assert detector.record.dtype == "float32"
    assert next(detector.florence.model.parameters()).dtype == torch.float32
    assert detector.input_side == SIDE


@pytest.mark.parametrize("part", ["vision_tower", "language_model"])
def test_answers_that_are_not_finite_are_named(part: str, folder: str, images: list[Any]) -> None:
    detector = Florence2Detector.load(folder, "cpu")
    with torch.no_grad():
        for value in getattr(detector.florence.model.model, part).parameters():
            value.fill_(float("nan"))
    with pytest.raises(BadOutput, match="image 0 "):
        detector.detect(images[:1], detector.encode_labels(["cat"]), 0.1)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        pytest.param("config.json", '{"model_type": "clip"}', "of type 'clip'", id="another model"),
        pytest.param("config.json", "{", "no Florence-2 model", id="broken configuration"),
        pytest.param("processor_config.json", None, "preprocessing", id="no processor"),
        pytest.param("model.safetensors", None, "no weights", id="no weights"),
    ],
)
def test_bad_folder_is_refused(tmp_path: Path, folder: str, name: str, text: str | None, message: str) -> None:
    copy = damaged_copy(folder, tmp_path / "model", name, text)
    with pytest.raises(BadWeights, match=message) as caught:
        Florence2Detector.load(copy, "cpu")
    assert "\n" not in str(caught.value)


def test_tokenizer_without_locations_is_refused(tmp_path: Path, folder: str) -> None:
    copy = shutil.copytree(folder, tmp_path / "model")
    words = (copy / "tokenizer.json").read_text("utf-8")
    (copy / "tokenizer.json").write_text(words.replace("<loc_", "<place_"), "utf-8")
    with pytest.raises(BadWeights, match="no location tokens; name florence-community"):
        Florence2Detector.load(str(copy), "cpu")
