from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import openvocab
from openvocab.errors import BadInput
from openvocab.ui.web.desk import Desk, Desks, encode, tight_box


def desk(source: str = "scene.png") -> Desk:
    return Desk(source, "pocket", openvocab.Encoded(np.zeros((20, 30, 3), np.uint8)))


def mask(left: int, top: int, right: int, bottom: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    made = np.zeros((20, 30), bool)
    made[top:bottom, left:right] = True
    return made


class Pipe:
    """A pipeline without models."""

    segmenter = None


@pytest.mark.parametrize(
    ("change", "names"),
    [
        pytest.param(lambda it: it, ["cat", "dog"], id="as it is"),
        pytest.param(lambda it: it.without(1), ["dog"], id="deleted"),
        pytest.param(lambda it: it.renamed(1, "  tom   cat "), ["tom cat", "dog"], id="renamed and trimmed"),
        pytest.param(lambda it: it.renamed(2, " "), ["cat", "object"], id="a blank name"),
        pytest.param(lambda it: it.undone(), ["cat"], id="undo an addition"),
        pytest.param(lambda it: it.without(1).undone(), ["cat", "dog"], id="undo a deletion"),
        pytest.param(lambda it: it.renamed(1, "bat").undone(), ["cat", "dog"], id="undo a new name"),
        pytest.param(lambda it: it.undone().undone(), [], id="undo all"),
    ],
)
def test_changes(change, names):
    made = change(desk().added(mask(1, 2, 5, 6), 0.9, "cat").added(mask(3, 3, 9, 9), 0.5, "dog"))
    assert [thing.name for thing in made.things] == names


def test_a_number_is_never_used_again():
    made = desk().added(mask(1, 2, 5, 6), 0.9, "cat").undone().added(mask(1, 2, 5, 6), 0.9, "dog")
    assert [thing.number for thing in made.things] == [2]


def test_the_result_has_the_masks_in_the_order_of_acceptance():
    one, two = mask(1, 2, 5, 6), mask(3, 3, 9, 9)
    result = desk().added(one, 0.5, "cat").added(two, 0.75, "dog").result(Pipe())  # type: ignore[arg-type]
    assert (result.source, result.width, result.height, result.detections.labels) == (
        "scene.png",
        30,
        20,
        ("cat", "dog"),
    )
    assert result.detections.masks is not None and np.array_equal(result.detections.masks, np.stack([one, two]))
    assert result.detections.xyxy.tolist() == [[1, 2, 5, 6], [3, 3, 9, 9]]
    assert result.detections.scores.tolist() == [0.5, 0.75]
    alone = openvocab.Detections.none((20, 30)).with_mask(one, "cat", 0.5)
    assert alone.xyxy.tolist() == result.detections.xyxy[:1].tolist()


def test_the_result_of_no_object_has_no_row():
    detections = desk().result(Pipe()).detections  # type: ignore[arg-type]
    assert len(detections) == 0 and detections.masks is not None and detections.masks.shape == (0, 20, 30)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda it: it.without(7), "not there any more", id="delete what is gone"),
        pytest.param(lambda it: it.renamed("1", "cat"), "not there any more", id="a number as text"),
        pytest.param(lambda it: it.renamed(1, "a\x00b"), "control character", id="a control character"),
        pytest.param(lambda it: it.renamed(1, "a" * 1001), "1001 characters", id="a long name"),
        pytest.param(lambda it: it.added(mask(0, 0, 0, 0), 0.9, "cat"), "this mask is empty", id="an empty mask"),
        pytest.param(lambda it: it.undone().undone(), "nothing to undo", id="nothing to undo"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(change, message):
    with pytest.raises(BadInput, match=message):
        change(desk().added(mask(1, 2, 5, 6), 0.9, "cat"))


def test_the_number_of_objects_is_bounded():
    made = desk()
    for _ in range(500):
        made = made.added(mask(1, 2, 5, 6), 0.9, "cat")
    with pytest.raises(BadInput, match="500 objects"):
        made.added(mask(1, 2, 5, 6), 0.9, "cat")
    assert len(made.past) == 50


def test_tight_boxes_are_half_open():
    assert tight_box(mask(4, 5, 5, 6)) == (4, 5, 5, 6)


def test_without_a_segmenter_nothing_is_encoded():
    with pytest.raises(BadInput, match="cuts nothing out by clicks"):
        encode(Pipe(), np.zeros((4, 4, 3), np.uint8))  # type: ignore[arg-type]


def test_desks_keep_apart_and_lose_no_change():
    desks = Desks(10**9)
    one, other = desks.keep(desk("one.png")), desks.keep(desk("other.png"))

    def work() -> None:
        for _ in range(20):
            desks.change(one, lambda it: it.added(mask(1, 2, 5, 6), 0.9, "cat"))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [thing.number for thing in desks.get(one).things] == list(range(1, 81))
    assert (desks.get(other).source, desks.get(other).things) == ("other.png", ())
    desks.drop(one)
    with pytest.raises(BadInput, match="no longer held"):
        desks.change(one, Desk.undone)
    assert len(desks) == 1


def test_desks_make_room():
    desks = Desks(2 * 20 * 30 * 3)
    tokens = [desks.keep(desk(f"{number}.png")) for number in range(3)]
    assert len(desks) == 2
    with pytest.raises(BadInput, match="choose it again"):
        desks.get(tokens[0])
