from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from openvocab.errors import BadInput
from openvocab.pipeline.prompting.strokes import stroke_points
from openvocab.ui.web.point_prompts import parse_prompts

WIDTH, HEIGHT = 200, 100


def point(x: Any, y: Any, inside: Any = True) -> dict[str, Any]:
    return {"kind": "point", "at": [x, y], "inside": inside}


def box(*xyxy: Any) -> dict[str, Any]:
    return {"kind": "box", "xyxy": list(xyxy)}


def stroke(*path: Any, inside: bool = True) -> dict[str, Any]:
    return {"kind": "stroke", "path": [list(each) for each in path], "inside": inside}


@pytest.mark.parametrize(
    ("given", "points", "labels", "wanted_box"),
    [
        pytest.param([point(10, 20)], [[10, 20]], [1], None, id="a click"),
        pytest.param([point(1.5, 2), point(3, 4, False)], [[1.5, 2], [3, 4]], [1, 0], None, id="object and background"),
        pytest.param([box(10, 20, 30, 40)], [], [], [10, 20, 30, 40], id="a box"),
        pytest.param([box(30, 40, 10, 20)], [], [], [10, 20, 30, 40], id="a box from its last corner"),
        pytest.param([box(0, 0, 9, 9), box(10, 20, 30, 40)], [], [], [10, 20, 30, 40], id="the last box counts"),
        pytest.param([box(-5, -5, 900, 900)], [], [], [0, 0, 200, 100], id="a box is clipped to the image"),
        pytest.param([point(-1, 1000)], [[0, 100]], [1], None, id="a point is clipped to the image"),
        pytest.param([stroke((50, 50))], [[50, 50]], [1], None, id="a stroke of one point"),
        pytest.param([stroke((0, 50), (16, 50), inside=False)], [[4, 50], [12, 50]], [0, 0], None, id="a short stroke"),
        pytest.param([point(1, 2), box(1, 2, 3, 4)], [[1, 2]], [1], [1, 2, 3, 4], id="point and box"),
    ],
)
def test_prompts_become_points_and_a_box(given, points, labels, wanted_box):
    prompts = parse_prompts(given, WIDTH, HEIGHT)
    np.testing.assert_allclose(prompts.points, np.array(points, np.float32).reshape(-1, 2))
    assert prompts.points.dtype == np.float32
    assert prompts.point_labels.tolist() == labels
    assert (None if prompts.box is None else prompts.box.tolist()) == wanted_box
    arguments = prompts.arguments
    assert (arguments["points"] is None) == (arguments["point_labels"] is None) == (not points)


@pytest.mark.parametrize(
    ("length", "count"),
    [
        pytest.param(0.0, 1, id="no length"),
        pytest.param(7.9, 1, id="under the spacing"),
        pytest.param(24.0, 3, id="three spacings"),
        pytest.param(180.0, 8, id="never more than eight"),
    ],
)
def test_strokes_are_sampled_evenly_without_their_ends(length, count):
    path = np.stack([np.linspace(0, length, 50), np.full(50, 5.0)], axis=1)
    points = stroke_points(path, WIDTH)
    np.testing.assert_allclose(points[:, 0], (np.arange(count) + 0.5) / count * length, atol=1e-9)
    np.testing.assert_allclose(points[:, 1], 5)


def test_drawing_speed_does_not_matter():
    even = np.array([[0.0, 0.0], [100.0, 0.0]])
    slow = np.array([[0.0, 0.0], *([[1.0, 0.0]] * 40), [100.0, 0.0]])
    np.testing.assert_allclose(stroke_points(even, WIDTH), stroke_points(slow, WIDTH))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param([], "no prompt on the image", id="none"),
        pytest.param(None, "no prompt on the image", id="null"),
        pytest.param("point", "no prompt on the image", id="a string"),
        pytest.param([point(1, 1)] * 201, "201 prompts", id="too many"),
        pytest.param([{"kind": "circle"}], "a point, a stroke or a box, got 'circle'", id="another kind"),
        pytest.param(["point"], "a point, a stroke or a box", id="no mapping"),
        pytest.param([point(float("nan"), 1)], "two finite numbers", id="not finite"),
        pytest.param([point(float("inf"), 1)], "two finite numbers", id="infinite"),
        pytest.param([point("1", 1)], "two finite numbers", id="text for a number"),
        pytest.param([point(True, 1)], "two finite numbers", id="truth for a number"),
        pytest.param([{"kind": "point", "at": [1]}], "two finite numbers", id="one number"),
        pytest.param([{"kind": "point"}], "two finite numbers", id="no coordinates"),
        pytest.param([box(1, 2, 3)], "four numbers", id="a box of three"),
        pytest.param([{"kind": "box"}], "four numbers", id="a box of none"),
        pytest.param([box(5, 5, 5, 50)], "no area inside", id="a box without width"),
        pytest.param([box(300, 0, 400, 50)], "no area inside", id="a box beside the image"),
        pytest.param([stroke()], "1 to 2000 points", id="an empty stroke"),
        pytest.param([stroke(*[(1, 1)] * 2001)], "1 to 2000 points", id="an endless stroke"),
        pytest.param([{"kind": "stroke", "path": "ab"}], "1 to 2000 points", id="a stroke of letters"),
    ],
)
def test_invalid_prompts_are_rejected_in_one_sentence(given, message):
    with pytest.raises(BadInput, match=message):
        parse_prompts(given, WIDTH, HEIGHT)
