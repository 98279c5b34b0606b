"""What every registered family keeps, whoever wrote it: one table of families, one set of rules a stage.

A family is tried on the checkpoint that tests/tiny/FAMILY.py writes in its upstream's own format; a family without such
a file fails here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np
import pytest

import openvocab
from openvocab.models.registry import DETECTORS, EXEMPLAR_SEGMENTERS, SEGMENTERS, TAGGERS
from openvocab.pipeline.protocols import (
    Boxes,
    Detector,
    ExemplarDetector,
    ExemplarSegmenter,
    JointScorer,
    PreparingTagger,
    PromptSegmenter,
    Queries,
    QueryRow,
    Segmenter,
    Tagger,
)
from openvocab.prompts.exemplars import Exemplar

LABELS = ["cat", "red dog", "a thing", "bird"]
SIZES = [(60, 60), (40, 100), (97, 33), (9, 5)]
CLOSE = 1e-4
HALVES = ("bfloat16", "float16")
LOOSE = 0.06
"""How far a score in half precision may lie from float32's: bfloat16 has 8 bits of mantissa, weights are random."""

Load = Callable[..., Any]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """FAMILY to the SPEC of its tiny checkpoint, written once."""
    written: dict[str, str] = {"pocket": "pocket"}

    def spec(family: str) -> str:
        if family not in written:
            module = import_module(f"tests.tiny.{family}")
            rest = module.write(tmp_path_factory.mktemp(family) / "model")
            written[family] = f"{getattr(module, 'FAMILY', family)}:{rest}"
        return written[family]

    return spec


def labels_of(family: str) -> list[str]:
    """Words that the family's tiny checkpoint can be asked for."""
    if family == "pocket":
        return ["apple", "guitar", "dog", "car"]
    return list(getattr(import_module(f"tests.tiny.{family}"), "LABELS", LABELS))


@contextmanager
def quiet() -> Iterator[None]:
    """Tiny vocabularies spell words in letters, so that labels may be cut: not what is tried here."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def images(make_image: Callable[..., Any]) -> list[Any]:
    return [make_image(height, width, seed) for seed, (height, width) in enumerate(SIZES)]


LONG = ("onnx",)
"""Families whose tiny checkpoint takes long to write; tests/models/export tries them shortly."""


MORE = ("sam3_lite_text",)
"""Detectors that a family loads besides the one that it is named after."""


def _cases(table: Any) -> list[Any]:
    marks = {family: [pytest.mark.long] if family in LONG else [] for family in table}
    return [pytest.param(family, id=family, marks=marks[family]) for family in table]


# --- taggers


@pytest.fixture(scope="module", params=_cases(TAGGERS))
def tagger(request: pytest.FixtureRequest, tiny: Callable[[str], str]) -> tuple[str, Tagger]:
    return request.param, openvocab.load_tagger(tiny(request.param), "cpu", "float32")


def test_tagger_gives_scores_of_the_right_shape(tagger: tuple[str, Tagger], images: list[Any]) -> None:
    family, model = tagger
    with quiet():
        known = model.encode_labels(labels_of(family))
    rows = model.encode_images(images)
    scores = model.score(images, known)
    assert rows.dtype == scores.dtype == np.float32
    assert (len(rows), rows.ndim) == (len(images), 2)
    assert scores.shape == (len(images), len(known.labels))
    assert ((scores >= 0) & (scores <= 1)).all()
    assert (scores.sum(1) <= 1 + CLOSE).all() or model.independent


@pytest.mark.parametrize("count", [0, 1], ids=["no image", "one image"])
def test_tagger_takes_few_images(count: int, tagger: tuple[str, Tagger], images: list[Any]) -> None:
    family, model = tagger
    with quiet():
        known = model.encode_labels(labels_of(family)[:1])
    assert model.score(images[:count], known).shape == (count, 1)


def test_tagger_sees_each_image_alone(tagger: tuple[str, Tagger], images: list[Any]) -> None:
    family, model = tagger
    with quiet():
        known = model.encode_labels(labels_of(family))
    together = model.score(images, known)
    alone = np.concatenate([model.score([one], known) for one in images])
    np.testing.assert_allclose(together, alone, atol=CLOSE)


def test_tagger_answers_what_it_prepared_as_it_does_the_image(tagger: tuple[str, Tagger], images: list[Any]) -> None:
    family, model = tagger
    if not isinstance(model, PreparingTagger):
        pytest.skip("prepares nothing ahead")
    with ThreadPoolExecutor(4) as threads:
        ready = list(threads.map(model.prepare, images))
    assert all(one.nbytes > 0 for one in ready)
    np.testing.assert_array_equal(model.encode_images(ready), model.encode_images(images))
    mixed = [ready[0], *images[1:]]
    with quiet():
        np.testing.assert_array_equal(model.score(mixed, labels_of(family)), model.score(images, labels_of(family)))


def test_tagger_gives_scores_and_logits_in_one_pass(tagger: tuple[str, Tagger], images: list[Any]) -> None:
    family, model = tagger
    assert isinstance(model, JointScorer)
    with quiet():
        known = model.encode_labels(labels_of(family))
    rows = model.encode_images(images)
    scores, logits = model.scores_and_logits(rows, known)
    np.testing.assert_array_equal(scores, model.scores(rows, known))
    np.testing.assert_array_equal(logits, model.logits(rows, known))


def test_tagger_does_not_mind_the_order_of_labels(tagger: tuple[str, Tagger], images: list[Any]) -> None:
    family, model = tagger
    labels = labels_of(family)
    with quiet():
        forth, back = model.score(images, labels), model.score(images, labels[::-1])
    np.testing.assert_allclose(forth, back[:, ::-1], atol=CLOSE)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("family", _cases(TAGGERS))
def test_tagger_in_half_precision(family: str, dtype: str, tiny: Callable[[str], str], images: list[Any]) -> None:
    whole, half = (openvocab.load_tagger(tiny(family), "cpu", each) for each in ("float32", dtype))
    with quiet():
        given = [model.score(images, labels_of(family)) for model in (whole, half)]
    assert half.record.dtype in ("float32", dtype)
    np.testing.assert_allclose(given[0], given[1], atol=LOOSE if half.record.dtype == dtype else 0)


# --- detectors


@pytest.fixture(scope="module", params=_cases([*DETECTORS, *MORE]))
def detector(request: pytest.FixtureRequest, tiny: Callable[[str], str]) -> tuple[str, Detector]:
    return request.param, openvocab.load_detector(tiny(request.param), "cpu", "float32")


def _found(detector: tuple[str, Detector], images: list[Any], threshold: float) -> list[Any]:
    family, model = detector
    with quiet():
        return model.detect(images, model.encode_labels(labels_of(family)), threshold)


@pytest.mark.parametrize("wanted", ["none", "one", "all"])
def test_detector_keeps_the_contract(wanted: str, detector: tuple[str, Detector], images: list[Any]) -> None:
    scores = _found(detector, images[:1], 0.0)[0].scores
    assert len(scores) > 1, "the tiny checkpoint must find something over 0"
    threshold = {"none": 1.0, "one": float((scores[0] + scores[1]) / 2), "all": 0.0}[wanted]
    for boxes, (height, width) in zip(_found(detector, images, threshold), SIZES, strict=True):
        count = len(boxes.scores)
        assert (boxes.xyxy.shape, boxes.label_index.shape) == ((count, 4), (count,))
        assert (boxes.xyxy.dtype, boxes.scores.dtype, boxes.label_index.dtype) == (np.float32, np.float32, np.int64)
        assert (np.diff(boxes.scores) <= 0).all()
        assert (boxes.scores <= 1).all()
        assert ((boxes.label_index >= 0) & (boxes.label_index < len(labels_of(detector[0])))).all()
        assert ((boxes.xyxy >= 0) & (boxes.xyxy <= [width, height, width, height])).all()
        assert (boxes.xyxy[:, 2:] > boxes.xyxy[:, :2]).all()
        assert wanted != "none" or count == 0
    if wanted == "one":
        assert len(_found(detector, images[:1], threshold)[0].scores) == 1


def test_detector_takes_no_image(detector: tuple[str, Detector]) -> None:
    assert _found(detector, [], 0.1) == []


def _same_boxes(one: Any, other: Any, names: list[int] | None = None) -> None:
    """Compare boxes in an order of their own, since equal scores may come in either."""
    index = other.label_index if names is None else np.array(names)[other.label_index]
    rows = [np.lexsort((*boxes.xyxy.round(1).T, -boxes.scores.round(3))) for boxes in (one, other)]
    np.testing.assert_allclose(one.scores[rows[0]], other.scores[rows[1]], atol=1e-3)
    np.testing.assert_allclose(one.xyxy[rows[0]], other.xyxy[rows[1]], atol=0.05)
    np.testing.assert_array_equal(one.label_index[rows[0]], index[rows[1]])


def test_detector_sees_each_image_alone(detector: tuple[str, Detector], images: list[Any]) -> None:
    for one, together in zip(images, _found(detector, images, 0.0), strict=True):
        alone = _found(detector, [one], 0.0)[0]
        np.testing.assert_allclose(np.sort(together.scores), np.sort(alone.scores), atol=CLOSE)
        _same_boxes(together, alone)


def test_detector_does_not_mind_the_order_of_labels(detector: tuple[str, Detector], images: list[Any]) -> None:
    family, model = detector
    labels = labels_of(family)
    with quiet():
        back = model.detect(images[:2], model.encode_labels(labels[::-1]), 0.0)
    for one, other in zip(_found(detector, images[:2], 0.0), back, strict=True):
        _same_boxes(one, other, names=list(range(len(labels)))[::-1])


def test_queries_can_be_picked(detector: tuple[str, Detector], images: list[Any]) -> None:
    """The chain asks for the tags alone: the same boxes as if only those labels had ever been encoded."""
    family, model = detector
    labels = labels_of(family)
    with quiet():
        every, few = model.encode_labels(labels), model.encode_labels([labels[2], labels[0]])
    picked = Queries((labels[2], labels[0]), every.template, every.embeddings[[2, 0]])
    with quiet():  # a tiny model that writes its answer may name labels that were not picked
        one, other = (model.detect(images[:2], queries, 0.0) for queries in (picked, few))
    for each, alone in zip(one, other, strict=True):
        _same_boxes(each, alone)


def test_detector_can_be_explored(detector: tuple[str, Detector], images: list[Any]) -> None:
    family, model = detector
    pipe = openvocab.Pipeline(None, model, None, openvocab.Settings(box_threshold=0.05))
    with quiet():
        vocabulary = pipe.vocabulary(labels_of(family))
    *_, explored = pipe.explore(images[1], vocabulary, max_candidates=10_000)
    got, expected = explored.result().detections, pipe(images[1], vocabulary).detections
    assert len(got) == len(expected) and set(got.labels) <= set(vocabulary.labels)
    np.testing.assert_allclose(got.scores, expected.scores, atol=CLOSE)
    assert (got.masks is None) == (expected.masks is None)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("family", _cases([*DETECTORS, *MORE]))
def test_detector_in_half_precision(family: str, dtype: str, tiny: Callable[[str], str], images: list[Any]) -> None:
    loaded = [openvocab.load_detector(tiny(family), "cpu", each) for each in ("float32", dtype)]
    best = [_found((family, model), images[:2], 0.0)[0].scores[:1] for model in loaded]
    np.testing.assert_allclose(best[0], best[1], atol=LOOSE if loaded[1].record.dtype == dtype else 0)


# --- detectors that take exemplars


def _rows(family: str, image: Any) -> tuple[list[QueryRow], list[QueryRow]]:
    """Labels by words, by exemplars on the image, and by both; and what is not meant."""
    word, other, absent = labels_of(family)[:3]
    one, two = (Exemplar.cut(image, "part 17", box) for box in ((5, 5, 30, 40), (20, 10, 55, 50)))
    rows = [QueryRow(word, True), QueryRow("part 17", False, (one, two)), QueryRow(other, True, (two,))]
    return rows, [QueryRow(absent, True), QueryRow("not this", False, (one,))]


def _by_exemplars(
    detector: tuple[str, Detector], image: Any, picked: list[int], negatives: bool = False, threshold: float = 0.0
) -> Boxes:
    family, model = detector
    if not isinstance(model, ExemplarDetector):
        pytest.skip("takes words only")
    rows, against = _rows(family, image)
    with quiet():
        asked = model.encode_prompt([rows[row] for row in picked], against if negatives else [])
    return model.detect([image], asked, threshold)[0]


@pytest.mark.parametrize("negatives", [False, True], ids=["plain", "with negatives"])
def test_exemplars_keep_the_contract(negatives: bool, detector: tuple[str, Detector], images: list[Any]) -> None:
    boxes = _by_exemplars(detector, images[0], [0, 1, 2], negatives)
    assert [each.dtype.name for each in (boxes.xyxy, boxes.scores, boxes.label_index)] == ["float32"] * 2 + ["int64"]
    assert boxes.xyxy.shape == (len(boxes.scores), 4) and boxes.label_index.shape == boxes.scores.shape
    assert (np.diff(boxes.scores) <= 0).all() and set(boxes.label_index) <= {0, 1, 2}
    assert ((boxes.xyxy >= 0) & (boxes.xyxy <= 60)).all()
    assert negatives or len(boxes.scores) > 1
    assert len(_by_exemplars(detector, images[0], [0, 1, 2], negatives, 1.0).scores) == 0


def test_exemplars_do_not_mind_the_order_of_labels(detector: tuple[str, Detector], images: list[Any]) -> None:
    forth, back = (_by_exemplars(detector, images[0], picked) for picked in ([0, 1, 2], [2, 1, 0]))
    _same_boxes(forth, back, names=[2, 1, 0])


@pytest.mark.parametrize("negatives", [False, True], ids=["plain", "with negatives"])
def test_rows_of_a_prompt_can_be_picked(negatives: bool, detector: tuple[str, Detector], images: list[Any]) -> None:
    family, model = detector
    if not isinstance(model, ExemplarDetector):
        pytest.skip("takes words only")
    rows, against = _rows(family, images[0])
    with quiet():
        every = model.encode_prompt(rows, against if negatives else [])
    picked = Queries((rows[2].label, rows[1].label), every.template, every.embeddings[[2, 1]])
    _same_boxes(model.detect(images[:1], picked, 0.0)[0], _by_exemplars(detector, images[0], [2, 1], negatives))


# --- exemplar segmenters


@pytest.fixture(scope="module", params=_cases(EXEMPLAR_SEGMENTERS))
def exemplar_segmenter(request: pytest.FixtureRequest, tiny: Callable[[str], str]) -> tuple[str, ExemplarSegmenter]:
    return tiny(request.param), openvocab.load_exemplar_segmenter(tiny(request.param), "cpu", "float32")


def _example(image: Any) -> tuple[Any, Any]:
    mask = np.zeros(image.shape[:2], np.bool_)
    mask[10:30, 15:40] = True
    return image, mask


def test_exemplar_segmenter_keeps_the_contract(
    exemplar_segmenter: tuple[str, ExemplarSegmenter], images: list[Any]
) -> None:
    _, model = exemplar_segmenter
    shown = _example(images[0])
    masks = model.segment_like(images, *shown)
    for mask, image in zip(masks, images, strict=True):
        scores = model.resemblance(image, [shown])
        assert (mask.shape, mask.dtype.name) == (image.shape[:2], "bool")
        assert (scores.shape, scores.dtype.name) == (image.shape[:2], "float32")
        assert ((scores >= 0) & (scores <= 1)).all()
        np.testing.assert_array_equal(scores > 0.5, mask)


def test_the_order_of_exemplars_changes_little(
    exemplar_segmenter: tuple[str, ExemplarSegmenter], images: list[Any]
) -> None:
    _, model = exemplar_segmenter
    shown = [_example(image) for image in images[:3]]
    forth, back = (model.resemblance(images[1], each) for each in (shown, shown[::-1]))
    assert ((forth > 0.5) != (back > 0.5)).mean() < 0.05


@pytest.mark.parametrize("dtype", HALVES)
def test_exemplar_segmenter_in_half_precision(
    dtype: str, exemplar_segmenter: tuple[str, ExemplarSegmenter], images: list[Any]
) -> None:
    spec, whole = exemplar_segmenter
    half = openvocab.load_exemplar_segmenter(spec, "cpu", dtype)
    one, other = (model.resemblance(images[1], [_example(images[0])]) for model in (whole, half))
    assert np.abs(one - other).mean() < LOOSE


# --- segmenters


@pytest.fixture(scope="module", params=_cases(SEGMENTERS))
def segmenter(request: pytest.FixtureRequest, tiny: Callable[[str], str]) -> Segmenter[Any]:
    return openvocab.load_segmenter(tiny(request.param), "cpu", "float32")


def _asked(height: int, width: int, count: int) -> Any:
    rng = np.random.default_rng(count)
    low = rng.uniform(0, [width / 2, height / 2], (count, 2))
    return np.concatenate([low, low + rng.uniform(1, [width / 2, height / 2], (count, 2))], 1).astype(np.float32)


@pytest.mark.parametrize("count", [0, 1, 5], ids=["no box", "one box", "five boxes"])
def test_segmenter_keeps_the_contract(count: int, segmenter: Segmenter[Any], images: list[Any]) -> None:
    for one in images:
        height, width = one.shape[:2]
        masks, scores = segmenter.masks(segmenter.encode(one), _asked(height, width, count))
        assert masks.dtype == np.bool_ and scores.dtype == np.float32
        assert masks.shape == (count, height, width)
        assert scores.shape == (count,)
        assert ((scores >= 0) & (scores <= 1)).all()


def test_boxes_do_not_change_each_other(segmenter: Segmenter[Any], images: list[Any]) -> None:
    encoded, asked = segmenter.encode(images[1]), _asked(*SIZES[1], 5)
    masks, scores = segmenter.masks(encoded, asked)
    for row in range(len(asked)):
        mask, score = segmenter.masks(encoded, asked[row : row + 1])
        np.testing.assert_allclose(score, scores[row : row + 1], atol=CLOSE)
        assert (mask[0] != masks[row]).mean() <= 1e-3


def test_segmenter_takes_points(segmenter: Segmenter[Any], images: list[Any]) -> None:
    assert isinstance(segmenter, PromptSegmenter)
    for one in images:
        height, width = one.shape[:2]
        encoded, at, box = segmenter.encode(one), np.array([[width / 2, height / 2]], np.float32), _asked(*SIZES[3], 1)
        for given in ((at, np.array([1]), None), (None, None, box[0]), (at, np.array([0]), box[0])):
            masks, scores = segmenter.prompt(encoded, *given)
            assert (masks.shape, masks.dtype.name) == ((3, height, width), "bool")
            assert (scores.shape, scores.dtype.name) == ((3,), "float32")
            assert ((scores >= 0) & (scores <= 1)).all()


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("family", _cases(SEGMENTERS))
def test_segmenter_in_half_precision(family: str, dtype: str, tiny: Callable[[str], str], images: list[Any]) -> None:
    loaded = [openvocab.load_segmenter(tiny(family), "cpu", each) for each in ("float32", dtype)]
    given = [model.masks(model.encode(images[1]), _asked(*SIZES[1], 5))[1] for model in loaded]
    np.testing.assert_allclose(given[0], given[1], atol=LOOSE if loaded[1].record.dtype == dtype else 0)
