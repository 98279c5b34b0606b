"""The sheet of the worst images: the worst first, at most twelve, readable at any size."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from openvocab.errors import BadInput
from openvocab.evaluate.metrics.detection import GroundTruth, Predictions
from openvocab.evaluate.metrics.error_types import image_errors
from openvocab.evaluate.reports.worst_images import MAX_IMAGES, ImagePair, image_sheet, worst_images, worst_png

LABELS = ("cat", "dog")


def side(name: str = "a.png", size: tuple[int, int] = (40, 30), errors: str = "objects: cat (missed)") -> ImagePair:
    return ImagePair(name, Image.new("RGB", size, "navy"), Image.new("RGB", size, "olive"), errors)


@pytest.mark.parametrize(
    "one",
    [
        pytest.param(side(), id="small"),
        pytest.param(side(size=(3000, 20)), id="wide"),
        pytest.param(side(size=(9, 2000)), id="tall"),
        pytest.param(side(name="x" * 5000, errors="objects: " + "dog (missed), " * 500), id="long texts"),
        pytest.param(ImagePair("gray", Image.new("L", (5, 5)), Image.new("RGBA", (5, 5)), ""), id="other modes"),
    ],
)
def test_a_row_has_its_size_whatever_the_image(one):
    alone, two = image_sheet([one]), image_sheet([one, side()])
    assert alone.width == two.width and alone.width < 1400 and alone.height < 800
    assert two.height > alone.height
    assert np.asarray(alone)[:, -8:].min() == 255  # nothing is written or drawn beyond the margin


def test_truth_is_left_and_prediction_right():
    pixels = np.asarray(image_sheet([side()]))
    navy, olive = (np.flatnonzero((pixels == color).all(axis=2).any(axis=0)) for color in ((0, 0, 128), (128, 128, 0)))
    assert navy.max() < olive.min()


def test_at_most_twelve():
    assert image_sheet([side()] * MAX_IMAGES).size == image_sheet([side()] * (MAX_IMAGES + 5)).size


def test_no_row_is_refused_and_no_image_written():
    with pytest.raises(BadInput, match="there is no image to show"):
        image_sheet([])
    assert list(worst_png([side()])) == ["worst.png"] and worst_png([]) == {}


def test_the_worst_come_first_and_images_without_an_error_not_at_all(tmp_path, make_image):
    names = [str(tmp_path / f"{number}.png") for number in range(3)]
    for number, name in enumerate(names):
        Image.fromarray(make_image(32, 32, number)).save(name)
    boxes = np.array([[2, 2, 12, 12], [16, 16, 30, 30]], np.float64)
    truth = [GroundTruth(32, 32, boxes, np.array([0, 1]), np.zeros(2, bool))] * 3
    given = [boxes, boxes[:1], boxes[:0]]
    predictions = [
        Predictions(each.astype(np.float32), np.full(len(each), 0.5), np.arange(len(each))) for each in given
    ]
    rows = worst_images(names, truth, predictions, image_errors(truth, predictions, LABELS), LABELS)
    assert [row.name for row in rows] == [names[2], names[1]]
    assert [row.errors for row in rows] == ["objects: cat (missed), dog (missed)", "objects: dog (missed)"]
