"""Raw answers of one image: what thresholds make of them is what the chain gives, and no model is called for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import openvocab
from openvocab import BadInput, BadOutput, Encoded, Explored, ImageError, ModelRecord, Pipeline, Settings
from openvocab.pipeline.candidates import Candidates
from openvocab.pipeline.protocols import Boxes, LateFusionDetector, MaskDetector, Queries
from openvocab.testing import FakeDetector, FakeSegmenter, FakeTagger

LABELS = ("cat", "dog", "kite")
IMAGE = np.full((40, 60, 3), 128, np.uint8)
BOXES = np.array([[0, 0, 20, 20], [1, 0, 21, 20], [30, 10, 50, 30], [5, 5, 9, 9]], np.float32)
SCORES = np.array([[0.9, 0.2, 0.1], [0.3, 0.8, 0.1], [0.1, 0.1, 0.6], [0.01, 0.02, 0.0]], np.float32)
"""(places, labels)"""


def fixed() -> FakeTagger:
    return FakeTagger({"cat": 0.9, "dog": 0.5, "kite": 0.2})


@dataclass(frozen=True)
class Mixing:
    """Finds for each label the places of SCORES: words and image go in together. Counts what it is asked."""

    asked: list[tuple[int, float]] = field(default_factory=list)
    record: ModelRecord = FakeDetector().record

    def encode_labels(self, labels: Sequence[str], template: str | None = None) -> Queries:
        return Queries(tuple(labels), template or "{label}", np.arange(len(labels)))

    def detect(self, images: Sequence[np.ndarray], queries: Queries, threshold: float) -> list[Boxes]:
        self.asked.append((len(queries.labels), threshold))
        scores = SCORES[:, queries.embeddings]
        best, index = scores.max(axis=1), scores.argmax(axis=1)
        rows = np.argsort(-best, kind="stable")
        rows = rows[best[rows] > threshold]
        return [Boxes(BOXES[rows], best[rows], index[rows].astype(np.int64)) for _ in images]


@dataclass(frozen=True)
class Placed(Mixing):
    """The same places, whose boxes do not depend on the words."""

    seen: list[int] = field(default_factory=list)

    def encode(self, image: np.ndarray) -> np.ndarray:
        self.seen.append(1)
        return SCORES

    def score_boxes(self, encoded: np.ndarray, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        return BOXES, encoded[:, queries.embeddings % encoded.shape[1]]


@dataclass(frozen=True)
class Cutting(Mixing):
    """A detector that brings masks."""

    def detect_masks(
        self, images: Sequence[np.ndarray], queries: Queries, threshold: float
    ) -> list[tuple[Boxes, np.ndarray]]:
        found = self.detect(images, queries, threshold)
        return [(each, FakeSegmenter().masks(IMAGE.shape[:2], each.xyxy)[0]) for each in found]


def chain(detector: Any = None, **settings: Any) -> Pipeline:
    return Pipeline(fixed(), detector or Placed(), FakeSegmenter(), Settings(box_threshold=0.3).changed(**settings))


def last(found: Any) -> Explored:
    *_, done = found
    assert isinstance(done, Explored)
    return done


def candidates(explored: Explored) -> Candidates:
    assert explored.candidates is not None
    return explored.candidates


def assert_same(one: Any, other: Any, *, close: float = 0.0) -> None:
    """Two results are the same but for the name of the image."""
    assert_same_boxes(one.rejected, other.rejected, close)
    assert_same_boxes(one.detections, other.detections, close)
    assert [tag.label for tag in one.tags] == [tag.label for tag in other.tags]
    np.testing.assert_allclose([tag.score for tag in one.tags], [tag.score for tag in other.tags], atol=close)
    assert [getattr(one, name) for name in ("run", "notes", "width", "height")] == [
        getattr(other, name) for name in ("run", "notes", "width", "height")
    ]


def assert_same_boxes(one: Any, other: Any, close: float) -> None:
    shown = [{name: tuple(map(str, values)) for name, values in each.data.items()} for each in (one, other)]
    assert one.labels == other.labels and shown[0] == shown[1]
    assert (one.mask_scores is None) == (other.mask_scores is None)
    for name in ("xyxy", "scores", "detector_scores", *([] if one.mask_scores is None else ["mask_scores"])):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=close, rtol=0)
    np.testing.assert_array_equal(one.masks, other.masks)


# --- the embedded models


CHANGES = [
    pytest.param({}, id="nothing"),
    pytest.param({"box_threshold": 0.05}, id="boxes from the floor"),
    pytest.param({"box_threshold": 0.3, "tag_threshold": 0.02}, id="more tags"),
    pytest.param({"tag_threshold": 1.0}, id="no tag"),
    pytest.param({"box_threshold": 1.0}, id="no box"),
    pytest.param({"mask_threshold": 0.9}, id="good masks"),
    pytest.param({"nms_iou": 0.05, "box_threshold": 0.1}, id="strict suppression"),
    pytest.param({"nms_iou": 0.95, "duplicate_iou": 0.95, "box_threshold": 0.1}, id="hardly any suppression"),
    pytest.param({"duplicates": "keep", "tag_threshold": 0.05, "box_threshold": 0.1}, id="duplicates"),
    pytest.param({"gate": "best", "tag_threshold": 0.6, "max_tags": 2}, id="the best labels"),
    pytest.param({"gate": "best", "tag_threshold": 0.6}, id="the best labels are all"),
    pytest.param({"gate": "none", "tag_threshold": 0.6, "max_tags": 1}, id="all labels"),
    pytest.param({"gate": "threshold", "tag_threshold": 0.6}, id="tags alone"),
    pytest.param({"tag_threshold": 1.0, "box_threshold": 1.0, "mask_threshold": 0.5}, id="nothing at all"),
    pytest.param({"max_tags": 2, "max_boxes": 3, "box_threshold": 0.05}, id="few of each"),
]


@pytest.fixture(scope="module")
def pocket() -> Pipeline:
    return openvocab.load("pocket", dtype="float32")


@pytest.fixture(scope="module", params=[0, 3, 7], ids=["scene-1", "scene-4", "scene-8"])
def scene(request: pytest.FixtureRequest, pocket: Pipeline) -> tuple[Any, Explored]:
    path = openvocab.example_scenes()[request.param].path
    return path, last(pocket.explore(path, "pocket", max_candidates=1000))


@pytest.mark.parametrize("changes", CHANGES)
def test_what_thresholds_make_of_it_is_what_the_chain_gives(
    changes: dict[str, Any], pocket: Pipeline, scene: tuple[Any, Explored]
) -> None:
    path, explored = scene
    assert explored.stage == "masks" and candidates(explored).min_score == 0.05
    got = pocket.verified(explored, **changes).result(**changes)
    assert_same(got, pocket(path, explored.vocabulary, **changes), close=1e-4)


@pytest.mark.parametrize("labels", [("apple", "dog", "car"), ("guitar",)], ids=["three", "one"])
def test_other_labels_on_the_same_encodings(
    labels: tuple[str, ...], pocket: Pipeline, scene: tuple[Any, Explored]
) -> None:
    path, explored = scene
    again = last(pocket.explore(explored.encoded, labels, template="a drawing of a {label}"))
    assert again.encoded.detector is explored.encoded.detector
    assert_same(again.result(), pocket(path, labels, template="a drawing of a {label}"), close=1e-4)


@pytest.mark.parametrize("most", [1, 7])
def test_where_boxes_were_left_out_the_floor_says_from_where_on_it_is_exact(
    most: int, pocket: Pipeline, scene: tuple[Any, Explored]
) -> None:
    path, full = scene
    few = last(pocket.explore(full.encoded, full.vocabulary, max_candidates=most))
    lowest = candidates(few).min_score
    assert len(candidates(few).xyxy) == most and lowest > 0.05
    wanted: dict[str, Any] = {"box_threshold": lowest, "tag_threshold": 0.01}
    got = pocket.verified(few, **wanted).result(**wanted)
    assert_same(got, pocket(path, full.vocabulary, **wanted), close=1e-4)


def test_a_click_cuts_out_the_object(pocket: Pipeline) -> None:
    scene = openvocab.example_scenes()[0]
    encoded = pocket.encode(scene.path)
    truth = scene.masks()[0]
    rows, columns = np.nonzero(truth)
    masks, scores = pocket.prompt(encoded, np.array([[columns.mean(), rows.mean()]]), np.array([1]), scene.xyxy[0])
    assert (masks.shape, scores.shape) == ((3, 256, 256), (3,))
    mask = masks[scores.argmax()]
    assert (mask & truth).sum() / (mask | truth).sum() > 0.7


# --- stages


@pytest.mark.parametrize(
    ("stages", "names"),
    [
        pytest.param((fixed(), Placed(), FakeSegmenter()), ["tags", "boxes", "masks"], id="all"),
        pytest.param((fixed(), Mixing(), FakeSegmenter()), ["tags", "boxes", "masks"], id="a detector that mixes"),
        pytest.param((fixed(), Cutting(), None), ["tags", "boxes", "masks"], id="a detector that brings masks"),
        pytest.param((fixed(), Placed(), None), ["tags", "boxes"], id="no segmenter"),
        pytest.param((None, Placed(), FakeSegmenter()), ["boxes", "masks"], id="no tagger"),
        pytest.param((fixed(), None, None), ["tags"], id="a tagger alone"),
    ],
)
def test_stages_come_one_by_one_and_the_last_is_the_chain(stages: tuple[Any, Any, Any], names: list[str]) -> None:
    pipe = Pipeline(*stages, Settings(box_threshold=0.3))
    found = list(pipe.explore(IMAGE, LABELS))
    assert [each.stage for each in found] == names
    assert [list(each.seconds) for each in found] == [names[: at + 1] for at in range(len(names))]
    expected = pipe(IMAGE, LABELS)
    for each in found:
        result = each.result()
        assert result.tags == expected.tags
        assert len(result.detections) == (0 if each.stage == "tags" else len(expected.detections))
        assert (result.detections.masks is None) == (each.stage != "masks")
    final = found[-1].result()
    assert (final.detections.labels, final.run) == (expected.detections.labels, expected.run)
    np.testing.assert_array_equal(final.detections.scores, expected.detections.scores)
    np.testing.assert_array_equal(final.detections.masks, expected.detections.masks)


@pytest.mark.parametrize("changes", CHANGES)
def test_settings_act_as_in_the_chain(changes: dict[str, Any]) -> None:
    pipe, changes = chain(), {"tag_threshold": 0.1, **changes}
    assert_same(last(pipe.explore(IMAGE, LABELS)).result(**changes), pipe(IMAGE, LABELS, **changes))


def test_no_model_is_called_for_a_result_and_no_encoder_for_other_labels() -> None:
    pipe = chain()
    tagger, detector, segmenter = pipe.tagger, pipe.detector, pipe.segmenter
    assert isinstance(tagger, FakeTagger) and isinstance(detector, Placed) and isinstance(segmenter, FakeSegmenter)

    def counts() -> tuple[int, ...]:
        return len(tagger.calls), len(detector.seen), len(detector.asked), len(segmenter.encoded), len(segmenter.calls)

    explored = last(pipe.explore(IMAGE, LABELS))
    assert counts() == (1, 1, 0, 1, 1)
    for threshold in (0.05, 0.3, 0.7):
        explored.result(box_threshold=threshold, tag_threshold=threshold)
    assert counts() == (1, 1, 0, 1, 1)
    last(pipe.explore(explored.encoded, ("dog", "ant")))
    assert counts() == (1, 1, 0, 1, 2)
    last(pipe.explore(explored.encoded, LABELS, windows=2))
    assert (sum(tagger.calls), counts()[1:]) == (6, (1, 0, 1, 3))


def test_an_encoding_that_lacks_stages_is_completed() -> None:
    pipe = chain()
    first = next(pipe.explore(IMAGE, LABELS)).encoded
    assert first.views is not None and first.detector is None and first.segmenter is None
    whole = pipe.encode(first)
    assert whole.views is first.views and whole.detector is SCORES and whole.segmenter == (40, 60)
    assert pipe.encode(whole) is whole


def test_stages_can_be_encoded_one_by_one() -> None:
    pipe = chain()
    part = pipe.encode(IMAGE, ["masks"])
    assert (part.views, part.detector, part.segmenter) == (None, None, (40, 60))
    with pytest.raises(BadInput, match="no stage named 'mask'; known: tags, boxes, masks"):
        pipe.encode(IMAGE, ["mask"])  # type: ignore[list-item]


def test_it_says_how_much_memory_it_takes(pocket: Pipeline) -> None:
    encoded = pocket.encode(IMAGE)
    places, features = encoded.detector, encoded.segmenter
    assert encoded.views is not None and places is not None and features is not None
    parts = (IMAGE, encoded.views, places.features, places.xyxy, places.tiles, features.features)
    assert encoded.nbytes == sum(each.nbytes for each in parts)
    first, *_, done = pocket.explore(encoded, ["apple", "dog"], min_score=0.0, max_candidates=20)
    assert first.nbytes == encoded.nbytes + 2 * 4 * 4  # scores, evidence of image and window, presence
    masks = candidates(done).masks
    assert masks is not None and len(masks) == 20
    assert done.nbytes - first.nbytes == 20 * (4 * (4 + 2 + 1) + 8) + 2 * 4 + sum(map(len, masks.counts))


def test_a_detector_that_mixes_is_asked_once_for_all_labels_and_tags_decide() -> None:
    detector = Mixing()
    explored = last(chain(detector).explore(IMAGE, LABELS, min_score=0.15))
    assert detector.asked == [(3, 0.15)]
    for threshold, labels in ((0.1, ("cat", "kite")), (0.6, ("cat",)), (1.0, ())):
        assert explored.result(tag_threshold=threshold, gate="threshold").detections.labels == labels
    assert explored.result(tag_threshold=0.3, duplicates="keep", gate="threshold").detections.labels == ("cat", "dog")
    assert isinstance(Cutting(), MaskDetector) and not isinstance(detector, LateFusionDetector)


def test_more_labels_than_go_through_the_detector_at_once() -> None:
    labels = [f"thing {number}" for number in range(5000)]
    explored = last(Pipeline(None, Placed(), None, Settings()).explore(IMAGE, labels, max_candidates=2))
    np.testing.assert_array_equal(candidates(explored).scores, SCORES[:2][:, np.arange(5000) % 3])
    assert candidates(explored).min_score == pytest.approx(0.6)


def test_a_candidate_keeps_its_scores_for_all_labels() -> None:
    explored = last(chain().explore(IMAGE, LABELS, min_score=0.25))
    np.testing.assert_array_equal(candidates(explored).scores, SCORES[:3])


@pytest.mark.parametrize("detector", [Placed(), Mixing(), Cutting()], ids=["places", "mixing", "masks"])
def test_nothing_found_is_an_ordinary_answer(detector: Any) -> None:
    cuts = isinstance(detector, Cutting)
    pipe = Pipeline(fixed(), detector, None if cuts else FakeSegmenter(), Settings())
    explored = last(pipe.explore(IMAGE, LABELS, min_score=1.0))
    masks = candidates(explored).masks
    assert explored.stage == "masks" and masks is not None and not len(masks)
    assert explored.result().detections.masks.shape == (0, 40, 60)  # type: ignore[union-attr]


def test_masks_of_a_large_image_are_made_a_few_at_a_time_and_held_compressed() -> None:
    pipe = chain()
    explored = last(pipe.explore(np.zeros((4000, 5000, 3), np.uint8), LABELS, min_score=0.0))
    segmenter, masks = pipe.segmenter, candidates(explored).masks
    assert isinstance(segmenter, FakeSegmenter) and masks is not None
    assert segmenter.calls == [4] and sum(map(len, masks.counts)) < 1000


# --- what is refused


ELSEWHERE = Encoded(IMAGE, models=(None, FakeDetector().record, None))


@pytest.mark.parametrize(
    ("image", "options", "error", "message"),
    [
        pytest.param(IMAGE, {"min_score": 2.0}, BadInput, "min_score must lie", id="min_score"),
        pytest.param(
            IMAGE,
            {"max_candidates": 0},
            BadInput,
            "max_candidates must be a whole number of at least 1",
            id="max_candidates",
        ),
        pytest.param(IMAGE, {"box_treshold": 1}, BadInput, "no option or setting named 'box_treshold'", id="setting"),
        pytest.param("absent.png", {}, ImageError, "absent.png", id="no image"),
        pytest.param(ELSEWHERE, {}, BadInput, "made by other models", id="an encoding of other models"),
    ],
)
def test_bad_input_is_refused_before_anything_is_done(
    image: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    pipe = chain()
    with pytest.raises(error, match=message):
        pipe.explore(image, LABELS, **options)
    assert pipe.tagger.calls == []  # type: ignore[union-attr]


def test_a_vocabulary_of_another_pipeline_is_refused() -> None:
    words = Pipeline(fixed(), None, None, Settings()).vocabulary(LABELS)
    with pytest.raises(BadInput, match="made without a stage"):
        chain().explore(IMAGE, words)


def test_other_windows_need_the_tagger() -> None:
    explored = last(chain().explore(IMAGE, LABELS))
    assert explored.result(windows=0, batch_size=3).run.settings["batch_size"] == 3
    with pytest.raises(BadInput, match="explore again"):
        explored.result(windows=2)


def test_tags_that_are_not_finite_are_refused() -> None:
    pipe = Pipeline(FakeTagger({"cat": float("nan")}), None, None, Settings())
    with pytest.raises(BadOutput, match="tagger's scores are not finite"):
        last(pipe.explore(IMAGE, LABELS))


@pytest.mark.parametrize(
    ("segmenter", "message"),
    [
        pytest.param(None, "has no segmenter", id="none"),
        pytest.param(FakeSegmenter(), "fake:segmenter takes boxes only", id="boxes only"),
    ],
)
def test_a_segmenter_that_takes_no_points_is_named(segmenter: Any, message: str) -> None:
    pipe = Pipeline(fixed(), Placed(), segmenter, Settings())
    with pytest.raises(BadInput, match=message):
        pipe.prompt(pipe.encode(IMAGE), np.array([[1, 1]], np.float32), np.array([1]))


def test_a_prompt_needs_the_segmenters_encoding(pocket: Pipeline) -> None:
    first = next(pocket.explore(IMAGE, ("apple",))).encoded
    with pytest.raises(BadInput, match="not encoded for the segmenter yet"):
        pocket.prompt(first, np.array([[1, 1]], np.float32), np.array([1]))
