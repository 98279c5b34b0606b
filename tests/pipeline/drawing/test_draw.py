"""Drawing: what must hold whatever the image; how it looks was judged by eye."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from PIL import Image

import openvocab
from openvocab.errors import BadInput, OpenVocabWarning
from openvocab.pipeline.detections import Detections
from openvocab.pipeline.drawing.draw import COLORS, color_rows, contact_sheet, draw
from openvocab.pipeline.drawing.lettering import fit, font_for, place_texts


def detections_of(boxes: list[list[int]], labels: list[str], size: tuple[int, int] | None = None) -> Detections:
    """Detections with those boxes; with size=(height, width) each mask fills its box."""
    xyxy = np.array(boxes, np.float32).reshape(-1, 4)
    scores = np.linspace(0.9, 0.5, len(labels)).astype(np.float32)
    if size is None:
        return Detections(xyxy, scores, tuple(labels), scores)
    masks = np.zeros((len(labels), *size), np.bool_)
    for mask, (left, top, right, bottom) in zip(masks, xyxy.astype(int), strict=True):
        mask[top:bottom, left:right] = True
    return Detections(xyxy, scores, tuple(labels), scores, scores, masks)


@pytest.mark.parametrize(
    ("shape", "drawn"),
    [
        pytest.param((64, 64), (768, 768), id="small is enlarged"),
        pytest.param((30, 60), (768, 384), id="small keeps its shape"),
        pytest.param((400, 900), (900, 400), id="large keeps its size"),
        pytest.param((1, 1), (768, 768), id="one pixel"),
        pytest.param((2, 1000), (1000, 2), id="thin"),
    ],
)
@pytest.mark.parametrize("masked", [True, False])
def test_size(shape, drawn, masked):
    detections = detections_of([[0, 0, shape[1], shape[0]]], ["dog"], shape if masked else None)
    assert draw(np.zeros((*shape, 3), np.uint8), detections).size == drawn


@pytest.mark.parametrize("detections", [Detections.none(), Detections.none(masks_of=(800, 800))])
def test_nothing_found_leaves_the_image_alone(detections):
    image = np.random.default_rng(0).integers(0, 256, (800, 800, 3), np.uint8)
    np.testing.assert_array_equal(np.asarray(draw(image, detections)), image)


def test_the_image_given_is_not_changed():
    image = np.full((800, 800, 3), 128, np.uint8)
    drawn = np.asarray(draw(image, detections_of([[100, 100, 300, 300]], ["dog"], (800, 800))))
    assert (image == 128).all()
    assert (drawn != 128).any()


def test_a_mask_is_tinted_in_its_color_in_rgb_order():
    detections = detections_of([[100, 100, 700, 700]], ["dog"], (800, 800))
    drawn = np.asarray(draw(np.zeros((800, 800, 3), np.uint8), detections))[400, 400]
    color = COLORS[color_rows(["dog"])[0]]
    wanted = [int(color[at : at + 2], 16) for at in (1, 3, 5)]
    np.testing.assert_allclose(drawn / max(drawn), np.array(wanted) / max(wanted), atol=0.02)


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(np.zeros((4, 4), np.uint8), id="gray"),
        pytest.param(np.zeros((4, 4, 4), np.uint8), id="four channels"),
        pytest.param(np.zeros((4, 4, 3), np.float32), id="float"),
        pytest.param(np.zeros((0, 4, 3), np.uint8), id="no pixel"),
    ],
)
def test_other_arrays_are_refused(image):
    with pytest.raises(BadInput, match="uint8 RGB"):
        draw(image, Detections.none())


def test_a_label_keeps_its_color():
    assert color_rows(["dog"])[0] == color_rows(["dog", "dog"])[1]
    assert list(color_rows(["dog", "cat", "dog"])) == list(color_rows(["cat", "dog", "cat"])[[1, 0, 1]])


@pytest.mark.parametrize("count", [2, 6, len(COLORS)])
def test_labels_of_one_image_differ_in_color(count):
    assert len(set(color_rows([f"label {number}" for number in range(count)]))) == count


def test_more_labels_than_colors_are_drawn_all_the_same():
    assert color_rows([f"label {number}" for number in range(50)]).max() < len(COLORS)


def overlaps(one: np.ndarray, two: np.ndarray) -> bool:
    return bool((np.maximum(one[:2], two[:2]) < np.minimum(one[2:], two[2:])).all())


@pytest.mark.parametrize(
    "boxes",
    [
        pytest.param([[300, 300, 400, 400]] * 6, id="six boxes in one place"),
        pytest.param([[0, 0, 20, 20], [0, 0, 30, 30], [0, 5, 25, 30]], id="in a corner"),
        pytest.param([[740, 740, 768, 768], [700, 750, 768, 768]], id="in the other corner"),
        pytest.param([[0, 0, 768, 768]] * 3, id="all over the image"),
        pytest.param([[-50, -50, 10, 10], [760, 0, 900, 40]], id="over the edge"),
    ],
)
def test_names_lie_inside_and_apart(boxes):
    places = place_texts(np.array(boxes, np.float64), [(150.0, 26.0)] * len(boxes), (768, 768))
    assert places.min() >= 0
    assert places.max() <= 768
    assert not any(overlaps(one, two) for one, two in combinations(places, 2))


def test_a_name_stays_at_its_box_where_there_is_room():
    place = place_texts(np.array([[300.0, 300, 400, 400]]), [(80.0, 20.0)], (768, 768))[0]
    np.testing.assert_array_equal(place, [300, 280, 380, 300])


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        pytest.param("dog", "dog", id="Latin"),
        pytest.param("chien à poil", "chien à poil", id="accents"),
        pytest.param("собака", "собака", id="Cyrillic"),
        pytest.param("σκύλος", "σκύλος", id="Greek"),
    ],
)
def test_the_bundled_font_draws(text, drawn):
    assert font_for(text, 20)[1] == drawn


def test_a_character_of_no_font_becomes_a_question_mark_with_a_warning():
    with pytest.warns(OpenVocabWarning, match="no installed font"):
        assert font_for("dog \U000fff00", 20)[1] == "dog ?"


@pytest.mark.parametrize(
    ("text", "lacking"),
    [
        pytest.param("Käse", "", id="drawn"),
        pytest.param("a\U000fff00b\U000fff00", "\U000fff00", id="each once"),
    ],
)
def test_undrawn_names_what_no_font_has(text, lacking):
    assert openvocab.undrawn(text) == lacking


def test_colors_of_are_those_of_the_drawing():
    labels = ["cat", "dog", "cat"]
    colors = openvocab.colors_of(labels)
    assert colors == tuple(COLORS[row] for row in color_rows(labels))
    assert colors[0] == colors[2] != colors[1]


def test_a_long_name_is_cut_and_its_score_kept():
    font, name = font_for("a very long name " * 50, 20)
    text = fit(font, name, " 0.50", 300)
    assert font.getlength(text) <= 300
    assert text.endswith("… 0.50")


@pytest.mark.parametrize(
    ("count", "columns", "grid"),
    [
        pytest.param(1, 4, (1, 1), id="one"),
        pytest.param(4, 2, (2, 2), id="square"),
        pytest.param(5, 2, (2, 3), id="a row that is not full"),
    ],
)
def test_contact_sheet(count, columns, grid):
    sheet = contact_sheet([Image.new("RGB", (100, 50), "red")] * count, columns)
    gap = 4
    assert sheet.size == (grid[0] * (100 + gap) + gap, grid[1] * (50 + gap) + gap)
    red = (np.asarray(sheet) == (255, 0, 0)).all(axis=2)
    assert red.sum() == count * 5000


@pytest.mark.parametrize(("count", "columns"), [pytest.param(0, 2, id="none"), pytest.param(1, 0, id="no column")])
def test_contact_sheet_refuses(count, columns):
    with pytest.raises(BadInput, match="contact sheet"):
        contact_sheet([Image.new("RGB", (4, 4))] * count, columns)
