"""What a person points at is checked before any model sees it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from openvocab import BadInput
from openvocab.models.segmenters.prompts import Prompt

SIZE = (40, 60)


@pytest.mark.parametrize(
    ("points", "labels", "box", "clipped"),
    [
        pytest.param([[1, 2]], [1], None, None, id="a point"),
        pytest.param([[0, 0], [60, 40]], [0, 1], None, None, id="corners"),
        pytest.param(None, None, [1, 2, 3, 4], [1, 2, 3, 4], id="a box"),
        pytest.param([], [], [-5, 2, 99, 99], [0, 2, 60, 40], id="a box over the edge, no point"),
        pytest.param(np.array([[1.5, 2.5]]), np.array([True]), (1, 2, 3, 4), [1, 2, 3, 4], id="both"),
    ],
)
def test_what_is_asked_is_kept(points: Any, labels: Any, box: Any, clipped: Any) -> None:
    made = Prompt.of(points, labels, box, SIZE)
    if points is None or not len(points):
        assert made.points is None and made.labels is None
    else:
        assert made.points is not None and made.labels is not None
        assert (made.points.dtype.name, made.labels.dtype.name) == ("float32", "int64")
        np.testing.assert_array_equal(made.points, points)
        np.testing.assert_array_equal(made.labels, labels)
    assert (None if made.box is None else made.box.tolist()) == clipped


@pytest.mark.parametrize(
    ("points", "labels", "box", "message"),
    [
        pytest.param(None, None, None, "needs a point or a box", id="nothing"),
        pytest.param([], [], None, "needs a point or a box", id="no point"),
        pytest.param([[1, 2]], [1, 1], None, "1 point needs as many labels", id="labels too many"),
        pytest.param([[1, 2]], None, None, "1 point needs as many labels", id="no labels"),
        pytest.param([[1, 2]], [2], None, "labels of points must be 1 on the object and 0", id="another label"),
        pytest.param([[1, 2]], [[1]], None, "labels of points must be", id="labels of another shape"),
        pytest.param([[1, 2, 3]], [1], None, r"points must be finite numbers of shape \(1, 2\)", id="three numbers"),
        pytest.param([[1, float("nan")]], [1], None, "points must be finite numbers", id="NaN"),
        pytest.param([[1, 2], [3]], [1, 0], None, "points must be finite numbers", id="ragged"),
        pytest.param([[61, 2]], [1], None, r"point \[61.0, 2.0\] lies outside the image of 60 x 40", id="outside"),
        pytest.param(None, None, [1, 2, 3], r"a box must be finite numbers of shape \(4,\)", id="three edges"),
        pytest.param(None, None, [9, 2, 3, 4], "holds nothing of the image of 60 x 40", id="edges swapped"),
        pytest.param(None, None, [70, 2, 80, 4], "holds nothing of the image", id="a box beside the image"),
    ],
)
def test_what_says_nothing_is_refused(points: Any, labels: Any, box: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Prompt.of(points, labels, box, SIZE)
