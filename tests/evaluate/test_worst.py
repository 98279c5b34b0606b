"""The sheet of the worst images: the worst first, at most twelve, readable at any size."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from openvocab.errors import BadInput
from openvocab.evaluate.chain import fates
from openvocab.evaluate.detection import Found, Truth
from openvocab.evaluate.worst import MOST, Side, worst_rows, worst_sheet, write_worst

LABELS = ("cat", "dog")


def side(name: str = "a.png", size: tuple[int, int] = (40, 30), said: str = "lost: cat (no box)") -> Side:
    return Side(name, Image.new("RGB", size, "navy"), Image.new("RGB", size, "olive"), said)


@pytest.mark.parametrize(
    "one",
    [
        pytest.param(side(), id="small"),
        pytest.param(side(size=(3000, 20)), id="wide"),
        pytest.param(side(size=(9, 2000)), id="tall"),
        pytest.param(side(name="x" * 5000, said="lost: " + "dog (no box), " * 500), id="long texts"),
        pytest.param(Side("gray", Image.new("L", (5, 5)), Image.new("RGBA", (5, 5)), ""), id="other modes"),
    ],
)
def test_a_row_has_its_room_whatever_the_image(one):
    alone, two = worst_sheet([one]), worst_sheet([one, side()])
    assert alone.width == two.width and alone.width < 1400 and alone.height < 800
    assert two.height > alone.height
    assert np.asarray(alone)[:, -8:].min() == 255  # nothing is written or drawn beyond the margin


def test_truth_is_left_and_prediction_right():
    pixels = np.asarray(worst_sheet([side()]))
    navy, olive = (np.flatnonzero((pixels == color).all(axis=2).any(axis=0)) for color in ((0, 0, 128), (128, 128, 0)))
    assert navy.max() < olive.min()


def test_at_most_twelve():
    assert worst_sheet([side()] * MOST).size == worst_sheet([side()] * (MOST + 5)).size


def test_no_row_is_refused_and_no_image_written(tmp_path):
    with pytest.raises(BadInput, match="there is no image to show"):
        worst_sheet([])
    write_worst(tmp_path, [side()])
    assert (tmp_path / "worst.png").is_file()
    write_worst(tmp_path, [])
    assert not (tmp_path / "worst.png").exists()


def test_the_worst_come_first_and_good_ones_not_at_all(tmp_path, make_image):
    names = [str(tmp_path / f"{number}.png") for number in range(3)]
    for number, name in enumerate(names):
        Image.fromarray(make_image(32, 32, number)).save(name)
    boxes = np.array([[2, 2, 12, 12], [16, 16, 30, 30]], np.float64)
    truth = [Truth(32, 32, boxes, np.array([0, 1]), np.zeros(2, bool))] * 3
    given = [boxes, boxes[:1], boxes[:0]]
    found = [Found(each.astype(np.float32), np.full(len(each), 0.5), np.arange(len(each))) for each in given]
    rows = worst_rows(names, truth, found, fates(truth, found, LABELS), LABELS)
    assert [row.name for row in rows] == [names[2], names[1]]
    assert [row.said for row in rows] == ["lost: cat (no box), dog (no box)", "lost: dog (no box)"]
