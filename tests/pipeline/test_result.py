import json
from typing import Any

import numpy as np
import pytest

from openvocab import BadInput, Regions, Result, RunRecord, Tag

RUN = RunRecord("0", None, None, None, ("{label}",), "x", "", {})


def regions(count: int, *, masks: bool = True, labels: tuple[str, ...] | None = None) -> Regions:
    xyxy = np.array([[i, i, i + 2, i + 3] for i in range(count)], np.float32).reshape(count, 4)
    scores = np.linspace(0.9, 0.1, count, dtype=np.float32)
    cut = np.zeros((count, 8, 10), bool)
    for row in range(count):
        cut[row, row : row + 3, row : row + 2] = True
    names = labels or tuple(f"thing {i}" for i in range(count))
    return Regions(xyxy, scores, names, scores, scores if masks else None, cut if masks else None)


@pytest.mark.parametrize("count", [pytest.param(0, id="none"), pytest.param(1, id="one"), pytest.param(3, id="many")])
@pytest.mark.parametrize("masks", [pytest.param(True, id="masks"), pytest.param(False, id="boxes")])
def test_regions_keep_their_shapes_whatever_their_number(count: int, masks: bool) -> None:
    made = regions(count, masks=masks)
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
    whole = regions(1)
    fields = {name: getattr(whole, name) for name in Regions.__slots__}
    with pytest.raises(BadInput, match=message):
        Regions(**(fields | change))


@pytest.mark.parametrize(
    ("rows", "labels"),
    [
        pytest.param([0], ("thing 0",), id="one row"),
        pytest.param([2, 0], ("thing 2", "thing 0"), id="order is the caller's"),
        pytest.param([], (), id="no row"),
    ],
)
def test_take_returns_those_rows(rows: list[int], labels: tuple[str, ...]) -> None:
    taken = regions(3).take(rows)
    assert taken.labels == labels
    assert taken.masks is not None and taken.masks.shape == (len(rows), 8, 10)


MASK = np.zeros((8, 10), bool)
MASK[2:5, 3:9] = True


@pytest.mark.parametrize(
    "before",
    [
        pytest.param(regions(2), id="after others"),
        pytest.param(regions(0), id="first"),
        pytest.param(regions(0, masks=False), id="first where no segmenter ran"),
    ],
)
def test_a_mask_that_a_person_named_is_the_last_region(before: Regions) -> None:
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
        pytest.param(regions(1), np.zeros((8, 10), bool), "a", 1.0, "mask marks nothing", id="nothing marked"),
        pytest.param(regions(1), MASK.astype(np.uint8), "a", 1.0, "mask must be bool", id="bytes"),
        pytest.param(regions(1), MASK[None], "a", 1.0, "mask must have shape", id="three axes"),
        pytest.param(regions(1), MASK[:7], "a", 1.0, "size of the others", id="another size"),
        pytest.param(regions(1, masks=False), MASK, "a", 1.0, "have no masks", id="others without masks"),
        pytest.param(regions(1), MASK, " ", 1.0, "has no label", id="no name"),
        pytest.param(regions(1), MASK, "a", 1.5, "scores must lie in 0 to 1", id="score"),
    ],
)
def test_a_mask_that_cannot_be_a_region_is_refused(
    before: Regions, mask: Any, label: str, score: float, message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        before.with_mask(mask, label, score)


@pytest.mark.parametrize("row", [-1, 2])
def test_a_row_that_is_not_there_cannot_be_left_out(row: int) -> None:
    assert regions(2).without(0).labels == ("thing 1",)
    with pytest.raises(BadInput, match="there is no region"):
        regions(2).without(row)


def result(count: int) -> Result:
    image = np.zeros((8, 10, 3), np.uint8)
    return Result("a.png", 10, 8, (Tag("thing 0", 0.5),), regions(count), RUN, image)


def test_an_empty_result_has_the_types_of_a_full_one() -> None:
    empty, full = result(0).to_dict(), result(2).to_dict()
    assert empty.keys() == full.keys()
    assert empty["regions"] == [] and len(full["regions"]) == 2
    json.dumps(full)


def test_masks_survive_run_length_encoding() -> None:
    from pycocotools import mask

    made = result(2)
    codes = [region["mask"] for region in made.to_dict()["regions"]]
    back = np.stack([mask.decode({**code, "counts": code["counts"].encode()}) for code in codes]).astype(bool)
    np.testing.assert_array_equal(back, made.regions.masks)


@pytest.mark.parametrize("count", [0, 3])
def test_to_supervision_keeps_boxes_names_and_masks(count: int) -> None:
    made = result(count)
    detections = made.to_supervision()
    assert len(detections) == count
    assert list(detections.data["class_name"]) == list(made.regions.labels)
    np.testing.assert_array_equal(detections.xyxy, made.regions.xyxy)


def test_an_image_of_another_size_is_refused() -> None:
    with pytest.raises(BadInput, match="image must have shape"):
        Result("a", 10, 9, (), Regions.none(), RUN, np.zeros((8, 10, 3), np.uint8))
