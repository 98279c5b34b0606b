"""Masks as polygons and back: what an unmoved polygon keeps, holes, and polygons that are refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import openvocab
from openvocab.errors import BadInput

pytest.importorskip("gradio")

from openvocab.ui.web.context import Context
from openvocab.ui.web.polygons import trace
from openvocab.ui.web.polygons.fill import filled, parse_rings
from openvocab.ui.web.polygons.trace import rings_of
from openvocab.ui.web.workspace_handlers import WorkspaceHandlers

SCENES = openvocab.example_scenes()
MASKS = [
    (f"{scene.path.stem} {label}", mask)
    for scene in SCENES
    for label, mask in zip(scene.labels, scene.masks(), strict=True)
]


def iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((one & other).sum() / (one | other).sum())


def ring() -> NDArray[np.bool_]:
    y, x = np.mgrid[:90, :120]
    far = np.hypot(x - 60, y - 45)
    return np.asarray((far < 40) & (far > 15))


SHAPES = [
    pytest.param(np.ones((7, 5), bool), id="the whole image"),
    pytest.param(np.pad(np.ones((1, 1), bool), 3), id="one pixel"),
    pytest.param(np.eye(9, dtype=bool), id="pixels that touch at corners"),
    pytest.param(ring(), id="a hole"),
    pytest.param(np.pad(ring(), ((0, 0), (0, 120))) | np.pad(ring(), ((0, 0), (120, 0))), id="two parts with holes"),
    pytest.param(np.random.default_rng(7).random((50, 40)) < 0.5, id="noise"),
    pytest.param(np.kron(ring(), np.ones((20, 20), bool)), id="a large mask"),
]


@pytest.mark.parametrize("mask", [*SHAPES, *(pytest.param(mask, id=name) for name, mask in MASKS)])
def test_an_unmoved_polygon_is_the_mask(mask):
    rings = rings_of(mask)
    assert iou(filled(rings, *mask.shape), mask) >= 0.98
    assert all(len(each) >= 3 for each in rings)


@pytest.mark.parametrize("mask", SHAPES)
def test_the_outline_along_pixels_is_exact(mask):
    assert (filled(trace._traced(mask), *mask.shape) == mask).all()


def test_a_drawn_object_has_few_corners():
    counts = [sum(map(len, rings_of(mask))) for _, mask in MASKS]
    assert np.median(counts) <= 60


def test_the_hole_of_a_ring_is_a_ring_of_its_own():
    rings = rings_of(ring())
    assert len(rings) == 2 and max(map(len, rings)) <= 40
    assert not filled(rings, 90, 120)[45, 60]


def test_an_empty_mask_has_no_ring():
    assert rings_of(np.zeros((4, 5), bool)) == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        pytest.param(None, "a list of 1 to", id="nothing"),
        pytest.param([], "a list of 1 to", id="no ring"),
        pytest.param([[[0, 0], [1, 1]]], "three or more points", id="two points"),
        pytest.param(["abc"], "three or more points", id="text"),
        pytest.param([[[0, 0], [1, 1], [2, "x"]]], "two finite numbers", id="no number"),
        pytest.param([[[0, 0], [1, 1], [2, float("nan")]]], "two finite numbers", id="not finite"),
        pytest.param([[[0, 0]] * 20_001], "at most 20000 corners", id="too many corners"),
        pytest.param([[[0, 0]] * 3] * 1001, "a list of 1 to", id="too many rings"),
    ],
)
def test_polygons_that_are_refused(given, words):
    with pytest.raises(BadInput, match=words):
        parse_rings(given, 9, 9)


def test_corners_outside_are_clipped_to_the_image():
    (ring,) = parse_rings([[[-5, -5], [20, -5], [20, 20], [-5, 20]]], 8, 9)
    assert filled([ring], 8, 9).all()


@pytest.fixture
def edit(server: Any) -> Any:
    """A function that does an action of the page on an image with one object."""
    handlers = WorkspaceHandlers(Context(server.context.models))
    _, _, token = handlers.open(str(SCENES[0].path), "pocket", None)
    prompts = [{"kind": "point", "at": [96, 59], "inside": True}]
    act: Any = SimpleNamespace(serial=1, do="accept", prompts=prompts, choice=0, name="tent")
    assert not handlers.act(token, act).get("failed")

    def done(do: str, **more: Any) -> dict[str, Any]:
        event: Any = SimpleNamespace(serial=2, do=do, **more)
        return handlers.edit(token, event)

    return done


def test_a_polygon_is_an_edit_with_undo_and_redo(edit):
    outline = edit("outline", key="added-1")["polygon"]
    before = edit("rename", keys=["added-1"], name="tent")["objects"][0]["mask"]
    rings = [[[x + 3, y] for x, y in ring] for ring in outline["rings"]]
    after = edit("polygon", key="added-1", rings=rings)["objects"][0]
    assert after["mask"] != before
    assert edit("undo")["objects"][0]["mask"] == before
    assert edit("redo")["objects"][0] == after


@pytest.mark.parametrize("rings", [[[[1, 1], [1, 1], [1, 1]]], [[[1, 1], [2, 2]]]], ids=["no area", "no ring"])
def test_a_polygon_that_is_refused_changes_nothing(edit, rings):
    before = edit("outline", key="added-1")
    reply = edit("polygon", key="added-1", rings=rings)
    assert reply["failed"] and "objects" not in reply
    assert edit("outline", key="added-1") == before
