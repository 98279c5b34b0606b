"""Qwen3-VL's boxes are those of transformers' processor and generate; what cannot be read is left out and named."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Qwen3VLForConditionalGeneration, Qwen3VLProcessor

import openvocab
from openvocab.errors import BadInput, BadOutput, BadWeights, OpenVocabWarning
from openvocab.models.detectors import qwen3_vl_detector
from openvocab.models.detectors.qwen3_vl_detector import DEFAULT_TASK, Qwen3VlDetector
from openvocab.models.written import Written
from tests.helpers.folders import damaged_copy
from tests.tiny.qwen3_vl import ANSWER, write

LABELS = ["a thing", "cat", "dog", "red dog"]
SIZES = [(60, 60), (40, 100), (97, 33), (9, 5)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("qwen3_vl") / "model")


@pytest.fixture(scope="module")
def detector(folder: str) -> Qwen3VlDetector:
    return Qwen3VlDetector.load(folder, "cpu", "float32")


@pytest.fixture(scope="module")
def images(make_image: Callable[..., Any]) -> list[Any]:
    return [make_image(height, width, seed) for seed, (height, width) in enumerate(SIZES)]


def _upstream(folder: str, image: Any, labels: list[str]) -> tuple[str, list[int], Any]:
    """The text, the tokens and their probabilities, as a user of transformers gets them."""
    processor: Any = Qwen3VLProcessor.from_pretrained(folder)
    model: Any = Qwen3VLForConditionalGeneration.from_pretrained(folder).eval()
    text = DEFAULT_TASK.replace("{label}", ", ".join(labels))
    content = [{"type": "image", "image": Image.fromarray(image)}, {"type": "text", "text": text}]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
    )
    made = model.generate(
        **inputs, max_new_tokens=100, do_sample=False, return_dict_in_generate=True, output_logits=True
    )
    tokens = made.sequences[0, inputs["input_ids"].shape[1] :]
    steps = torch.cat(made.logits).softmax(-1).gather(1, tokens[:, None])[:, 0]
    return processor.batch_decode([tokens], skip_special_tokens=True)[0], tokens.tolist(), steps.numpy()


@pytest.mark.parametrize("row", range(len(SIZES)))
def test_boxes_and_scores_are_those_of_upstream_s_answer(
    row: int, folder: str, detector: Qwen3VlDetector, images: list[Any]
) -> None:
    text, tokens, steps = _upstream(folder, images[row], LABELS)
    height, width = images[row].shape[:2]
    expected = [
        (each["label"], [edge / 1000 * side for edge, side in zip(each["bbox_2d"], [width, height] * 2, strict=True)])
        for each in json.loads(text)
    ]
    assert len(tokens) == len(ANSWER) and len(expected) == 3
    digits = [(1, 5), (6, 10), (11, 13)]  # steps that write digits of each box
    scores = [math.exp(np.log(steps[start:end]).mean()) for start, end in digits]
    got = detector.detect([images[row]], detector.encode_labels(LABELS), 0.0)[0]
    order = np.argsort(-np.array(scores))
    np.testing.assert_allclose(got.scores, np.array(scores)[order], rtol=1e-4)
    np.testing.assert_allclose(got.xyxy, [expected[at][1] for at in order], atol=1e-3)
    assert [LABELS[place] for place in got.label_index] == [expected[at][0].lower() for at in order]


def test_scores_depend_on_the_image(detector: Qwen3VlDetector, images: list[Any]) -> None:
    one, other = detector.detect(images[:2], detector.encode_labels(LABELS), 0.0)
    assert not np.allclose(one.scores, other.scores, rtol=1e-3)


def test_the_answer_is_the_same_every_time(detector: Qwen3VlDetector, images: list[Any]) -> None:
    """The checkpoint's own settings sample."""
    assert detector.model.generation_config.do_sample
    first, second = (detector.detect(images[:1], detector.encode_labels(LABELS), 0.0)[0] for _ in range(2))
    np.testing.assert_array_equal(first.scores, second.scores)


@pytest.fixture
def says(detector: Qwen3VlDetector, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[str, ...]]]:
    """Give answers in place of the model's, a letter a token; the list has the labels of each request."""
    asked: list[tuple[str, ...]] = []

    def prepare(*texts: str, cut: bool = False) -> list[tuple[str, ...]]:
        answers = iter(texts)

        def answer(self: Any, image: Any, labels: Any, template: str, row: int) -> Written:
            asked.append(tuple(labels))
            tokens = detector.processor.tokenizer(next(answers)).input_ids
            return Written(tuple(tokens), tuple(-0.01 * at for at in range(len(tokens))), cut)

        monkeypatch.setattr(Qwen3VlDetector, "_answer", answer)
        return asked

    return prepare


BOX = '{"bbox_2d": [500, 0, 1000, 500], "label": "%s"}'


@pytest.mark.parametrize(
    ("text", "labels", "found"),
    [
        pytest.param(f"[{BOX % 'cat'}, {BOX % 'dog'}]", ["dog", "cat"], ["cat", "dog"], id="asked"),
        pytest.param(f"[{BOX % 'CAT'}]", ["Cat", "dog"], ["Cat"], id="the caller's own writing"),
        pytest.param(f"[{BOX % '猫'}]", ["猫", "犬"], ["猫"], id="another script"),
        pytest.param(f"[{BOX % 'a fire-engine'}]", ["fire-engine, old"], ["fire-engine, old"], id="a label alone"),
        pytest.param("[]", ["cat", "dog"], [], id="nothing there"),
    ],
)
def test_labels_come_out_as_the_caller_wrote_them(
    text: str, labels: list[str], found: list[str], detector: Qwen3VlDetector, images: list[Any], says: Any
) -> None:
    says(text)
    got = detector.detect(images[1:2], detector.encode_labels(labels), 0.0)[0]
    assert [labels[place] for place in got.label_index] == found
    np.testing.assert_allclose(got.xyxy, [[50, 0, 100, 20]] * len(found) or np.zeros((0, 4)))


@pytest.mark.parametrize(
    ("text", "cut", "count", "message"),
    [
        pytest.param("no boxes", False, 0, "'no boxes' is no JSON", id="prose"),
        pytest.param(f"[{BOX % 'cat'}, ", True, 1, "the answer is cut at", id="cut"),
        pytest.param(f"[{BOX % 'cat'}, {BOX % 'hen'}]", False, 1, "'hen' was not asked for", id="another label"),
        pytest.param('[{"bbox_2d": [0, 0, 2000, 9], "label": "cat"}]', False, 0, "not within 0 to 1000", id="range"),
    ],
)
def test_what_cannot_be_read_is_left_out_and_named(
    text: str, cut: bool, count: int, message: str, detector: Qwen3VlDetector, images: list[Any], says: Any
) -> None:
    says("[]", text, cut=cut)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        detector.detect(images[:1], detector.encode_labels(["cat", "dog"]), 0.0)
    with pytest.warns(OpenVocabWarning, match=f"image 0: boxes of Qwen3-VL are left out: .*{message}") as caught:
        got = detector.detect(images[:1], detector.encode_labels(["cat", "dog"]), 0.0)[0]
    assert len(got.scores) == count and len(caught) == 1


def test_an_answer_that_is_cut_in_a_letter_is_read_up_to_it(
    detector: Qwen3VlDetector, images: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A letter of another script is several tokens."""
    whole = detector.processor.tokenizer(f"[{BOX % '猫'}, {BOX % '犬'}").input_ids
    tokens = whole[: len(whole) - len('"}') - 2]
    answer = Written(tuple(tokens), (-0.1,) * len(tokens), True)
    monkeypatch.setattr(Qwen3VlDetector, "_answer", lambda *_: answer)
    with pytest.warns(OpenVocabWarning, match=f"cut at {len(tokens)} tokens"):
        got = detector.detect(images[:1], detector.encode_labels(["猫", "犬"]), 0.0)[0]
    np.testing.assert_allclose(got.scores, [math.exp(-0.1)], rtol=1e-6)


def test_labels_are_asked_for_in_groups(detector: Qwen3VlDetector, images: list[Any], says: Any) -> None:
    """In alphabetical order, whatever the caller's; one with a comma by itself."""
    labels = [*(f"thing {row:02}" for row in reversed(range(40))), "b, c", "a"]
    asked = says(*["[]"] * 3)
    assert len(detector.detect(images[:1], detector.encode_labels(labels), 0.0)[0].scores) == 0
    plain = sorted(label for label in labels if "," not in label)
    assert asked == [tuple(plain[:32]), tuple(plain[32:]), ("b, c",)]


def test_an_answer_ends_at_the_maximum(
    detector: Qwen3VlDetector, images: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qwen3_vl_detector, "_MOST_TOKENS", 8)
    with pytest.warns(OpenVocabWarning, match="cut at 8 tokens"):
        got = detector.detect(images[:1], detector.encode_labels(LABELS), 0.0)[0]
    assert len(got.scores) == 1


def test_an_image_that_the_processor_refuses_has_no_boxes(detector: Qwen3VlDetector, make_image: Any) -> None:
    with pytest.warns(OpenVocabWarning, match="image 0: .* sides differ by more than a factor of 200"):
        (got,) = detector.detect([make_image(1, 250, 0)], detector.encode_labels(["cat"]), 0.0)
    assert got.xyxy.shape == (0, 4)
    assert detector.detect([make_image(1, 200, 0)], detector.encode_labels(["cat"]), 0.0)[0].scores.size


def test_the_template_is_what_the_model_reads(folder: str, images: list[Any]) -> None:
    detector = Qwen3VlDetector.load(folder, "cpu", "float32")
    plain, other = detector.encode_labels(LABELS), detector.encode_labels(LABELS, "Where is {label}? Answer in JSON.")
    assert (plain.template, other.template) == (DEFAULT_TASK, "Where is {label}? Answer in JSON.")
    one, two = (detector.detect(images[:1], queries, 0.0)[0] for queries in (plain, other))
    assert not np.allclose(one.scores, two.scores, rtol=1e-3)


@pytest.mark.parametrize(
    ("labels", "template", "message"),
    [
        pytest.param(["cat"], "Find all.", "no place for the label", id="no place"),
        pytest.param([], None, "no labels", id="no label"),
        pytest.param(["cat", "Cat"], None, "are the same", id="twins"),
    ],
)
def test_bad_labels_are_refused(
    detector: Qwen3VlDetector, labels: list[str], template: str | None, message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        detector.encode_labels(labels, template)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_weights_are_in_the_precision_of_the_record(dtype: str, folder: str, images: list[Any]) -> None:
    low = Qwen3VlDetector.load(folder, "cpu", dtype)
    assert low.record.dtype == dtype
    assert {value.dtype for value in low.model.parameters()} == {getattr(torch, dtype)}
    assert len(low.detect(images[:1], low.encode_labels(LABELS), 0.0)[0].scores) == 3


def test_answers_that_are_not_finite_are_named(folder: str, images: list[Any]) -> None:
    detector = Qwen3VlDetector.load(folder, "cpu", "float32")
    with torch.no_grad():
        detector.model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(BadOutput, match="image 0 "):
        detector.detect(images[:1], detector.encode_labels(["cat"]), 0.0)


def test_a_pipeline_takes_it_as_any_detector(detector: Qwen3VlDetector, images: list[Any]) -> None:
    pipe = openvocab.Pipeline(None, detector, None, openvocab.Settings(nms_iou=1.0))
    result = pipe(images[0], LABELS)
    assert set(result.detections.labels) == {"cat", "red dog", "a thing"}
    assert result.run.settings["box_threshold"] == 0.001


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        pytest.param("config.json", '{"model_type": "clip"}', "of type 'clip'", id="another model"),
        pytest.param("config.json", "{", "no Qwen3-VL model", id="broken configuration"),
        pytest.param("processor_config.json", None, "preprocessing", id="no processor"),
        pytest.param("model.safetensors", None, "no weights", id="no weights"),
    ],
)
def test_bad_folder_is_refused(tmp_path: Path, folder: str, name: str, text: str | None, message: str) -> None:
    copy = damaged_copy(folder, tmp_path / "model", name, text)
    with pytest.raises(BadWeights, match=message) as caught:
        Qwen3VlDetector.load(copy, "cpu")
    assert "\n" not in str(caught.value)
