from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import openvocab
from openvocab.errors import BadInput
from openvocab.pipeline.verdict import VERIFICATION, Verdict
from openvocab.ui.web.workspace import Workspace, encode, tight_box
from openvocab.ui.web.workspace_store import WorkspaceStore


def workspace(source: str = "scene.png") -> Workspace:
    return Workspace(source, "", "pocket", openvocab.Encoded(np.zeros((20, 30, 3), np.uint8)))


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
        pytest.param(lambda it: it, ["cat", "dog"], id="unchanged"),
        pytest.param(lambda it: it.remove("added-1"), ["dog"], id="deleted"),
        pytest.param(lambda it: it.rename(["added-1"], "  tom   cat "), ["tom cat", "dog"], id="renamed and trimmed"),
        pytest.param(lambda it: it.rename(["added-2"], " "), ["cat", "object"], id="a blank name"),
        pytest.param(lambda it: it.undo(), ["cat"], id="undo an addition"),
        pytest.param(lambda it: it.remove("added-1").undo(), ["cat", "dog"], id="undo a deletion"),
        pytest.param(lambda it: it.rename(["added-1"], "bat").undo(), ["cat", "dog"], id="undo a new name"),
        pytest.param(lambda it: it.undo().undo(), [], id="undo all"),
        pytest.param(lambda it: it.undo().undo().redo(), ["cat"], id="redo"),
        pytest.param(lambda it: it.clear(), [], id="clear"),
        pytest.param(lambda it: it.clear().undo(), ["cat", "dog"], id="undo clear"),
        pytest.param(lambda it: it.rename_all("cat", "dog"), ["dog", "dog"], id="merged"),
    ],
)
def test_changes_to_a_workspace(change, names):
    made = change(workspace().add(mask(1, 2, 5, 6), 0.9, "cat").add(mask(3, 3, 9, 9), 0.5, "dog"))
    assert [each.label for each in made.objects()] == names


def rejecting(*verdicts: Verdict) -> Workspace:
    """A workspace whose models found a cat, and rejected a dog by each verdict."""
    count = len(verdicts)
    boxes = np.array([[row, 2, row + 5, 9] for row in range(count)], np.float32).reshape(-1, 4)
    scores = np.full(count, 0.25, np.float32)
    given = openvocab.Detections(boxes, scores, ("dog",) * count, scores, data={VERIFICATION: verdicts})
    one = np.ones(1, np.float32)
    found = openvocab.Detections(np.array([[1, 1, 4, 4]], np.float32), one, ("cat",), one)
    record = openvocab.RunRecord("", None, None, None, (), "", "")
    plain = workspace()
    stored = openvocab.Result("a.png", 30, 20, (), found, record, plain.encoded.image, labels=(), rejected=given)
    return replace(plain, stored=stored)


LOOKS = Verdict("looks_like", "big cat", 0.71)


@pytest.mark.parametrize(
    ("change", "names", "left"),
    [
        pytest.param(lambda it, _: it, ["cat"], 2, id="rejected"),
        pytest.param(lambda it, keys: it.restore(keys[0]), ["cat", "dog"], 1, id="brought back"),
        pytest.param(lambda it, keys: it.restore(keys[0], relabel=True), ["cat", "big cat"], 1, id="as another"),
        pytest.param(lambda it, keys: it.restore(keys[1], relabel=True), ["cat", "dog"], 1, id="as itself"),
        pytest.param(lambda it, keys: it.restore(keys[0]).undo(), ["cat"], 2, id="undo"),
        pytest.param(lambda it, keys: it.restore(keys[0]).undo().redo(), ["cat", "dog"], 1, id="redo"),
        pytest.param(lambda it, keys: it.restore(keys[0]).remove(keys[0]), ["cat"], 2, id="deleted again"),
        pytest.param(lambda it, keys: it.restore(keys[0]).rename(keys[:1], "x"), ["cat", "x"], 1, id="renamed"),
    ],
)
def test_rejected_boxes_are_brought_back(change, names, left):
    start = rejecting(LOOKS, Verdict("unlikely", "dog", 0.31))
    made = change(start, [each.key for each in start.rejected()])
    assert [each.label for each in made.objects()] == names == list(made.result().detections.labels)
    assert len(made.rejected()) == left
    assert all(each.by_hand and each.verdict == Verdict() for each in made.objects()[1:])


def test_a_box_that_is_not_rejected_is_not_brought_back():
    start = rejecting(LOOKS)
    with pytest.raises(BadInput, match="not among the rejected"):
        start.restore(start.objects()[0].key)


def test_numbers_are_never_reused():
    made = workspace().add(mask(1, 2, 5, 6), 0.9, "cat").undo().add(mask(1, 2, 5, 6), 0.9, "dog")
    assert [each.key for each in made.objects()] == ["added-2"]


def test_the_result_has_the_masks_in_the_order_in_which_they_were_added():
    one, two = mask(1, 2, 5, 6), mask(3, 3, 9, 9)
    result = workspace().add(one, 0.5, "cat").add(two, 0.75, "dog").result()
    assert (result.source, result.width, result.height, result.detections.labels) == (
        "scene.png",
        30,
        20,
        ("cat", "dog"),
    )
    assert result.detections.masks is not None
    assert np.array_equal(np.asarray(result.detections.masks), np.stack([one, two]))
    assert result.detections.xyxy.tolist() == [[1, 2, 5, 6], [3, 3, 9, 9]]
    assert result.detections.scores.tolist() == [0.5, 0.75]
    alone = openvocab.Detections.none((20, 30)).with_mask(one, "cat", 0.5)
    assert alone.xyxy.tolist() == result.detections.xyxy[:1].tolist()


def test_the_result_of_an_empty_workspace_is_empty():
    detections = workspace().result().detections
    assert len(detections) == 0 and detections.masks is not None and detections.masks.shape == (0, 20, 30)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda it: it.remove("added-7"), "does not exist anymore", id="delete an unknown key"),
        pytest.param(lambda it: it.rename(["1"], "cat"), "does not exist anymore", id="rename an unknown key"),
        pytest.param(lambda it: it.rename(["added-1"], "a\x00b"), "control character", id="a control character"),
        pytest.param(lambda it: it.rename(["added-1"], "a" * 1001), "1001 characters", id="a long name"),
        pytest.param(lambda it: it.add(mask(0, 0, 0, 0), 0.9, "cat"), "this mask is empty", id="an empty mask"),
        pytest.param(lambda it: it.undo().undo(), "nothing to undo", id="nothing to undo"),
        pytest.param(lambda it: it.undo().add(mask(1, 2, 5, 6), 1, "x").redo(), "nothing to redo", id="no redo"),
    ],
)
def test_invalid_changes_raise_one_sentence(change, message):
    with pytest.raises(BadInput, match=message):
        change(workspace().add(mask(1, 2, 5, 6), 0.9, "cat"))


def test_the_number_of_objects_is_bounded():
    made = workspace()
    for _ in range(500):
        made = made.add(mask(1, 2, 5, 6), 0.9, "cat")
    with pytest.raises(BadInput, match="500 objects, the maximum"):
        made.add(mask(1, 2, 5, 6), 0.9, "cat")
    assert len(made.past) == 200


def test_tight_boxes_are_half_open():
    assert tight_box(mask(4, 5, 5, 6)) == (4, 5, 5, 6)


def test_encoding_needs_a_segmenter():
    with pytest.raises(BadInput, match="no segmenter for point prompts"):
        encode(Pipe(), np.zeros((4, 4, 3), np.uint8))  # type: ignore[arg-type]


def test_concurrent_updates_are_not_lost_and_store_are_isolated():
    store = WorkspaceStore(10**9)
    one, other = store.put(workspace("one.png")), store.put(workspace("other.png"))

    def update() -> None:
        for _ in range(20):
            store.update(one, lambda it: it.add(mask(1, 2, 5, 6), 0.9, "cat"))

    threads = [threading.Thread(target=update) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each.key for each in store.get(one).objects()] == [f"added-{number}" for number in range(1, 81)]
    assert (store.get(other).source, store.get(other).objects()) == ("other.png", ())
    store.discard(one)
    with pytest.raises(BadInput, match="no longer stored"):
        store.update(one, Workspace.undo)
    assert len(store) == 1


def test_the_oldest_workspace_is_evicted():
    store = WorkspaceStore(2 * 20 * 30 * 3)
    tokens = [store.put(workspace(f"{number}.png")) for number in range(3)]
    assert len(store) == 2
    with pytest.raises(BadInput, match="choose it again"):
        store.get(tokens[0])
