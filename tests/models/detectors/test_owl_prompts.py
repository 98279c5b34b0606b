"""Queries of OWL from words and exemplars are the stated mixture, and negatives drop the boxes that they fit."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from openvocab.models.detectors.owl_detector import OwlDetector, Owlv2Detector, OwlVitDetector
from openvocab.models.detectors.owl_prompts import RIVAL_MARGIN, OwlQueries, mixed
from openvocab.pipeline.protocols import ExemplarDetector, Queries, QueryRow
from openvocab.prompts.exemplars import Exemplar

KINDS = {"owlv2": Owlv2Detector, "owlvit": OwlVitDetector}
BOXES = ((5.0, 5.0, 40.0, 30.0), (0.0, 10.0, 30.0, 40.0))


@pytest.fixture(scope="module", params=KINDS)
def detector(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> OwlDetector:
    folder = Path(import_module(f"tests.tiny.{request.param}").write(tmp_path_factory.mktemp("owl") / request.param))
    return KINDS[folder.name].load(str(folder), "cpu", "float32")


@pytest.fixture(scope="module")
def images(make_image: Callable[..., Any]) -> list[Any]:
    return [make_image(60, 60, seed) for seed in range(3)]


@pytest.fixture(scope="module")
def examples(images: list[Any]) -> tuple[Any, ...]:
    return tuple(Exemplar("part", *given) for given in zip(images[1:], BOXES, strict=True))


def test_one_exemplar_is_the_query_of_its_image(detector: OwlDetector, images: list[Any], examples: Any) -> None:
    assert isinstance(detector, ExemplarDetector)
    one = detector.encode_prompt([QueryRow("part", False, examples[:1])])
    same = detector.encode_exemplars(images[1:2], ["part"], np.array(BOXES[:1], np.float32))
    assert (one.labels, one.template) == (("part",), "")
    torch.testing.assert_close(one.embeddings, same.embeddings)


def test_words_alone_are_the_queries_of_the_labels(detector: OwlDetector) -> None:
    made = detector.encode_prompt([QueryRow("cat", True), QueryRow("dog", True)], template="a {label}")
    same = detector.encode_labels(["cat", "dog"], "a {label}")
    assert (made.labels, made.template) == (same.labels, same.template)
    torch.testing.assert_close(made.embeddings, same.embeddings)


def test_the_words_count_as_one_exemplar_more(detector: OwlDetector, images: list[Any], examples: Any) -> None:
    made = detector.encode_prompt([QueryRow("cat", True, examples), QueryRow("part", False, examples)]).embeddings
    shown = detector.encode_exemplars(images[1:], ["a", "b"], np.array(BOXES, np.float32)).embeddings.numpy()
    both = detector.encode_labels(["cat"]).embeddings.numpy()[0] + shown.sum(0)
    expected = [each / np.linalg.norm(each) for each in (both, shown.sum(0))]
    np.testing.assert_allclose(made.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("text", [None, (1.0, 0.0)], ids=["exemplars", "words and exemplars"])
def test_the_order_of_exemplars_changes_nothing(text: Any) -> None:
    shown = torch.tensor([[0.6, 0.8], [1.0, 0.0], [-1.0, 0.0]])
    words = None if text is None else torch.tensor(text)
    torch.testing.assert_close(mixed(words, shown), mixed(words, shown.flip(0)))


def _iou(one: Any, other: Any) -> float:
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = float(sides.clip(0).prod())
    return shared / float((one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod() - shared)


def _odds(scores: Any) -> Any:
    return np.log(scores) - np.log1p(-scores)


@pytest.mark.parametrize("words", [True, False], ids=["word", "exemplar"])
def test_a_box_falls_where_a_negative_scores_more_on_it_or_near_it(
    words: bool, detector: OwlDetector, images: list[Any], examples: Any
) -> None:
    rows = [QueryRow("cat", True), QueryRow("part", False, examples)]
    negative = QueryRow("dog", words, () if words else examples[:1])
    encoded = detector.encode(images[0])
    xyxy, scores = detector.score_boxes(encoded, detector.encode_prompt(rows))
    against = _odds(detector.score_boxes(encoded, detector.encode_prompt([negative]))[1][:, 0])
    against += 0 if words else RIVAL_MARGIN
    expected = scores.copy()
    for row, box in enumerate(xyxy):
        near = [other for other in range(len(xyxy)) if _iou(box, xyxy[other]) > 0.6]
        expected[row, _odds(scores[row]) <= against[near].max()] = 0
    got = detector.score_boxes(encoded, detector.encode_prompt(rows, [negative]))[1]
    assert 0 < (expected == 0).sum() < expected.size or not words
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_a_selection_of_labels_keeps_the_negatives(detector: OwlDetector, images: list[Any], examples: Any) -> None:
    rows = [QueryRow("cat", True), QueryRow("part", False, examples), QueryRow("bird", True)]
    queries = detector.encode_prompt(rows, [QueryRow("dog", True)])
    assert isinstance(queries.embeddings, OwlQueries)
    encoded = detector.encode(images[0])
    every = detector.score_boxes(encoded, queries)[1]
    for chosen in ([2, 0], slice(1, 3)):
        names = tuple(np.array(queries.labels)[chosen])
        some = detector.score_boxes(encoded, Queries(names, "", queries.embeddings[chosen]))[1]
        np.testing.assert_allclose(some, every[:, chosen], atol=1e-5)


def test_detect_and_score_boxes_agree_on_negatives(detector: OwlDetector, images: list[Any], examples: Any) -> None:
    queries = detector.encode_prompt([QueryRow("cat", True), QueryRow("bird", True)], [QueryRow("dog", True)])
    scores = detector.score_boxes(detector.encode(images[0]), queries)[1].max(axis=1)
    found = detector.detect(images[:1], queries, 0.0)[0]
    np.testing.assert_allclose(found.scores, np.sort(scores[scores > 0])[::-1], atol=1e-4)
