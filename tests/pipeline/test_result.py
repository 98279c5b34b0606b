import json
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from openvocab import BadInput, Detections, Result, RunRecord, Tag

RUN = RunRecord("0", None, None, None, ("{label}",), "x", "", {})


def detections(count: int, *, masks: bool = True, labels: tuple[str, ...] | None = None) -> Detections:
    xyxy = np.array([[i, i, i + 2, i + 3] for i in range(count)], np.float32).reshape(count, 4)
    scores = np.linspace(0.9, 0.1, count, dtype=np.float32)
    cut = np.zeros((count, 8, 10), bool)
    for row in range(count):
        cut[row, row : row + 3, row : row + 2] = True
    names = labels or tuple(f"thing {i}" for i in range(count))
    return Detections(xyxy, scores, names, scores, scores if masks else None, cut if masks else None)


@pytest.mark.parametrize("count", [pytest.param(0, id="none"), pytest.param(1, id="one"), pytest.param(3, id="many")])
@pytest.mark.parametrize("masks", [pytest.param(True, id="masks"), pytest.param(False, id="boxes")])
def test_detections_keep_their_shapes_whatever_their_number(count: int, masks: bool) -> None:
    made = detections(count, masks=masks)
    assert len(made) == count
    assert made.xyxy.shape == (count, 4) and made.scores.shape == (count,)
    assert (made.masks is None) is not masks


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"xyxy": np.zeros((1, 5), np.float32)}, "xyxy must have shape", id="five edges"),
        pytest.param({"xyxy": np.zeros((1, 4))}, "xyxy must be float32", id="double boxes"),
        pytest.param({"xyxy": np.full((1, 4), np.nan, np.float32)}, "xyxy must be finite", id="NaN box"),
        pytest.param({"scores": np.array([1.5], np.float32)}, "scores must lie in 0 to 1", id="score over 1"),
        pytest.param({"scores": np.array([np.nan], np.float32)}, "scores must lie in 0 to 1", id="NaN score"),
        pytest.param({"scores": np.zeros(2, np.float32)}, "scores must have shape", id="two scores for one label"),
        pytest.param({"masks": None}, "come together", id="mask scores without masks"),
        pytest.param({"masks": np.zeros((1, 8, 10), np.uint8)}, "masks must be bool", id="byte masks"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    whole = detections(1)
    fields = {name: getattr(whole, name) for name in Detections.__slots__}
    with pytest.raises(BadInput, match=message):
        Detections(**(fields | change))


@pytest.mark.parametrize(
    ("rows", "labels"),
    [
        pytest.param([0], ("thing 0",), id="one row"),
        pytest.param([2, 0], ("thing 2", "thing 0"), id="order is the caller's"),
        pytest.param([], (), id="no row"),
    ],
)
def test_take_returns_those_rows(rows: list[int], labels: tuple[str, ...]) -> None:
    taken = detections(3).take(rows)
    assert taken.labels == labels
    assert taken.masks is not None and taken.masks.shape == (len(rows), 8, 10)


MASK = np.zeros((8, 10), bool)
MASK[2:5, 3:9] = True


@pytest.mark.parametrize(
    "before",
    [
        pytest.param(detections(2), id="after others"),
        pytest.param(detections(0), id="first"),
        pytest.param(detections(0, masks=False), id="first where no segmenter ran"),
    ],
)
def test_a_mask_that_a_person_named_is_the_last_detection(before: Detections) -> None:
    made = before.with_mask(MASK, "my thing", 0.75)
    assert made.labels == (*before.labels, "my thing")
    assert made.xyxy[-1].tolist() == [3, 2, 9, 5]
    assert made.masks is not None and made.mask_scores is not None
    np.testing.assert_array_equal(made.masks[-1], MASK)
    assert [each[-1] for each in (made.scores, made.detector_scores, made.mask_scores)] == [0.75, 1.0, 0.75]
    assert made.without(len(before)).labels == before.labels


@pytest.mark.parametrize(
    ("before", "mask", "label", "score", "message"),
    [
        pytest.param(detections(1), np.zeros((8, 10), bool), "a", 1.0, "mask is empty", id="nothing marked"),
        pytest.param(detections(1), MASK.astype(np.uint8), "a", 1.0, "mask must be bool", id="bytes"),
        pytest.param(detections(1), MASK[None], "a", 1.0, "mask must have shape", id="three axes"),
        pytest.param(detections(1), MASK[:7], "a", 1.0, "size of the others", id="another size"),
        pytest.param(detections(1, masks=False), MASK, "a", 1.0, "have no masks", id="others without masks"),
        pytest.param(detections(1), MASK, " ", 1.0, "has no label", id="no name"),
        pytest.param(detections(1), MASK, "a", 1.5, "scores must lie in 0 to 1", id="score"),
    ],
)
def test_a_mask_that_cannot_be_a_detection_is_refused(
    before: Detections, mask: Any, label: str, score: float, message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        before.with_mask(mask, label, score)


@pytest.mark.parametrize("row", [-1, 2])
def test_a_row_that_is_not_there_cannot_be_left_out(row: int) -> None:
    assert detections(2).without(0).labels == ("thing 1",)
    with pytest.raises(BadInput, match="there is no detection"):
        detections(2).without(row)


def result(count: int) -> Result:
    image = np.zeros((8, 10, 3), np.uint8)
    return Result("a.png", 10, 8, (Tag("thing 0", 0.5),), detections(count), RUN, image)


def test_an_empty_result_has_the_types_of_a_full_one() -> None:
    empty, full = result(0).to_dict(), result(2).to_dict()
    assert empty.keys() == full.keys()
    assert empty["detections"] == [] and len(full["detections"]) == 2
    json.dumps(full)


def test_masks_survive_run_length_encoding() -> None:
    from pycocotools import mask

    made = result(2)
    codes = [detection["mask"] for detection in made.to_dict()["detections"]]
    back = np.stack([mask.decode({**code, "counts": code["counts"].encode()}) for code in codes]).astype(bool)
    np.testing.assert_array_equal(back, made.detections.masks)


@pytest.mark.parametrize("count", [0, 3])
def test_to_supervision_keeps_boxes_names_and_masks(count: int) -> None:
    made = result(count)
    detections = made.to_supervision()
    assert len(detections) == count
    assert list(detections.data["class_name"]) == list(made.detections.labels)
    np.testing.assert_array_equal(detections.xyxy, made.detections.xyxy)


def test_an_image_of_another_size_is_refused() -> None:
    with pytest.raises(BadInput, match="image must have shape"):
        Result("a", 10, 9, (), Detections.none(), RUN, np.zeros((8, 10, 3), np.uint8))


DETECTIONS = detections(3)


@pytest.mark.parametrize(
    ("rows", "labels"),
    [
        pytest.param(slice(1, None), ("thing 1", "thing 2"), id="slice"),
        pytest.param(np.array([True, False, True]), ("thing 0", "thing 2"), id="bool array"),
        pytest.param([True, False, False], ("thing 0",), id="list of bools"),
        pytest.param([2, 0], ("thing 2", "thing 0"), id="indices"),
        pytest.param([-1], ("thing 2",), id="negative index"),
        pytest.param([], (), id="no index"),
    ],
)
def test_detections_are_indexed_as_arrays_are(rows: Any, labels: tuple[str, ...]) -> None:
    taken = DETECTIONS[rows]
    assert taken.labels == labels
    assert taken.masks is not None and taken.masks.shape == (len(labels), 8, 10)
    assert taken.class_ids.tolist() == [int(label[-1]) for label in labels]


def test_one_detection_holds_what_its_row_holds() -> None:
    one = DETECTIONS[1]
    assert (one.label, one.class_id, one.xyxy, one.xywh) == ("thing 1", 1, (1.0, 1.0, 3.0, 4.0), (1.0, 1.0, 2.0, 3.0))
    assert one.score == pytest.approx(0.5) and one.mask_score == one.detector_score == one.score
    np.testing.assert_array_equal(one.mask, np.asarray(DETECTIONS.masks)[1])
    assert DETECTIONS[-1].label == "thing 2"
    assert [each.label for each in DETECTIONS] == list(DETECTIONS.labels)
    with pytest.raises(IndexError):
        DETECTIONS[3]


def test_encoded_masks_are_decoded_on_demand() -> None:
    encoded = DETECTIONS.encoded()
    assert encoded == DETECTIONS and encoded == DETECTIONS
    np.testing.assert_array_equal(encoded[1].mask, DETECTIONS[1].mask)
    assert encoded[1].rle == DETECTIONS[1].rle
    assert encoded[[2, 0]] == DETECTIONS[[2, 0]]
    assert encoded.encoded() is encoded
    assert (encoded + encoded)[3:] == DETECTIONS


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(detections(2), id="fewer"),
        pytest.param(detections(3, masks=False), id="no masks"),
        pytest.param(replace(DETECTIONS, labels=("a", "b", "c")), id="labels"),
        pytest.param(replace(DETECTIONS, class_ids=np.array([2, 1, 0])), id="class ids"),
        pytest.param(replace(DETECTIONS, track_ids=np.array([2, 1, 0])), id="track ids"),
        pytest.param(replace(DETECTIONS, xyxy=DETECTIONS.xyxy + 1), id="boxes"),
        pytest.param(replace(DETECTIONS, data={"area": np.ones(3)}), id="data"),
        pytest.param("three detections", id="another type"),
    ],
)
def test_detections_are_equal_by_value(other: Any) -> None:
    assert detections(3) == DETECTIONS == pickle.loads(pickle.dumps(DETECTIONS))
    assert other != DETECTIONS


def test_detections_are_concatenated() -> None:
    both = DETECTIONS[:1] + DETECTIONS[1:]
    assert both == DETECTIONS
    assert repr(both) == "Detections(3, masks: thing 0 0.90, thing 1 0.50, thing 2 0.10)"
    extra = replace(DETECTIONS, data={"area": np.arange(3)}, track_ids=np.arange(3))
    joined = extra + extra
    assert joined.data["area"].tolist() == [0, 1, 2, 0, 1, 2] == joined.track_ids.tolist()  # type: ignore[union-attr]
    assert (joined[4].track_id, joined[4].data) == (1, {"area": 1})


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(detections(1, masks=False), id="no masks"),
        pytest.param(replace(detections(1), track_ids=np.zeros(1, np.int64)), id="track ids"),
        pytest.param(replace(detections(1), data={"area": np.zeros(1)}), id="data"),
    ],
)
def test_detections_that_lack_what_the_others_have_are_not_concatenated(other: Detections) -> None:
    with pytest.raises(BadInput, match="only one side has|on one side"):
        detections(1) + other


def test_class_ids_follow_the_vocabulary_of_the_result() -> None:
    known = ("thing 2", "thing 1", "thing 0")
    made = Result("a.png", 10, 8, (), detections(2), RUN, np.zeros((8, 10, 3), np.uint8), labels=known)
    assert made.detections.class_ids.tolist() == [2, 1]
    named = replace(made, detections=made.detections.with_mask(MASK, "my thing", 0.5))
    assert named.classes[named.detections[-1].class_id] == "my thing"
