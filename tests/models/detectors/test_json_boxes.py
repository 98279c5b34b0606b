"""Boxes are read from JSON that a model wrote: what is broken gives no box and a reason, never a crash."""

from __future__ import annotations

import pytest

from openvocab.models.detectors.json_boxes import match_labels, read_boxes

CAT = '{"bbox_2d": [10, 20, 30, 40], "label": "cat"}'
DOG = '{"bbox_2d": [0, 0, 1000, 1000], "label": "dog"}'
C, D = ("cat", (10, 20, 30, 40)), ("dog", (0, 0, 1000, 1000))


@pytest.mark.parametrize(
    ("text", "boxes"),
    [
        pytest.param(f"[{CAT}, {DOG}]", [C, D], id="a list"),
        pytest.param("[]", [], id="an empty list"),
        pytest.param(" [ ] \n", [], id="an empty list with spaces"),
        pytest.param(CAT, [C], id="one object"),
        pytest.param(f"```json\n[\n\t{CAT},\n\t{DOG}\n]\n```", [C, D], id="a block of code"),
        pytest.param(f"```\n{CAT}\n```\n", [C], id="a block without its language"),
        pytest.param('{"label": "cat", "color": "red", "bbox_2d": [10, 20, 30, 40]}', [C], id="another order and key"),
        pytest.param('{"bbox_2d": [10.0, 20, 3e1, 40], "label": "cat"}', [C], id="floats"),
        pytest.param('{"bbox_2d":[10,20,30,40],"label":"cat"}', [C], id="no spaces"),
        pytest.param('{"bbox_2d": [10, 20, 30, 40], "label": "\\u732b"}', [("猫", C[1])], id="an escape"),
        pytest.param('{"bbox_2d": [10, 20, 30, 40], "label": "] }, {"}', [("] }, {", C[1])], id="signs in a label"),
    ],
)
def test_what_is_well_formed_is_read(text: str, boxes: list[tuple[str, tuple[int, ...]]]) -> None:
    read = read_boxes(text, 1000)
    assert [(box.label, box.edges) for box in read.boxes] == boxes
    assert read.problems == ()


@pytest.mark.parametrize(
    ("text", "boxes", "problem"),
    [
        pytest.param("", [], "'' is no JSON", id="nothing"),
        pytest.param("There is no cat.", [], "'There is no cat.' is no JSON", id="prose"),
        pytest.param(f"Here: {CAT}", [], "is no JSON", id="prose before"),
        pytest.param(f"[{CAT}] I hope this helps", [C], "'I hope this helps' is no JSON", id="prose behind"),
        pytest.param(f"[{CAT}, {DOG}", [C, D], "the list has no end", id="no end"),
        pytest.param(f"[{CAT}, ", [C], "'' is no JSON", id="cut behind a comma"),
        pytest.param(f'[{CAT}, {{"bbox_2d": [1, 2', [C], "is no JSON", id="cut in a box"),
        pytest.param(f"```json\n[{CAT}", [C], "the list has no end", id="cut in a block"),
        pytest.param(f"[{CAT} {DOG}]", [C], "is no JSON", id="no comma"),
        pytest.param(f"[{CAT}, {DOG},]", [C, D], "']' is no JSON", id="a comma too many"),
        pytest.param("[[10, 20, 30, 40]]", [], "is no object", id="no object"),
        pytest.param("null", [], "'null' is no object", id="null"),
        pytest.param("[" * 100_000, [], "is no JSON", id="nested without an end"),
        pytest.param('{"bbox_2d": [10, 20, 30, 40]}', [], "has no label", id="no label"),
        pytest.param('{"bbox_2d": [10, 20, 30, 40], "label": " "}', [], "has no label", id="blank label"),
        pytest.param('{"bbox_2d": [10, 20, 30, 40], "label": 3}', [], "has no label", id="a number as label"),
        pytest.param('{"label": "cat"}', [], "no bbox_2d of four numbers", id="no box"),
        pytest.param('{"bbox_2d": [1, 2, 3], "label": "cat"}', [], "no bbox_2d of four", id="three edges"),
        pytest.param('{"bbox_2d": [1, 2, 3, "4"], "label": "cat"}', [], "no bbox_2d of four", id="text as edge"),
        pytest.param('{"bbox_2d": [0, 0, true, 4], "label": "cat"}', [], "no bbox_2d of four", id="true as edge"),
        pytest.param('{"bbox_2d": [0, 0, NaN, 4], "label": "cat"}', [], "no bbox_2d of four", id="NaN"),
        pytest.param('{"bbox_2d": [0, 0, 1e999, 4], "label": "cat"}', [], "no bbox_2d of four", id="infinite"),
        pytest.param('{"bbox_2d": "0, 0, 3, 4", "label": "cat"}', [], "no bbox_2d of four", id="a text as box"),
        pytest.param(
            '{"bbox_2d": [1, 2, 3, 4], "bbox_2d": [5, 6, 7, 8], "label": "cat"}', [], "no bbox_2d of four", id="twice"
        ),
        pytest.param('{"bbox_2d": [0, 0, 1001, 4], "label": "cat"}', [], "not within 0 to 1000", id="too large"),
        pytest.param('{"bbox_2d": [-1, 0, 3, 4], "label": "cat"}', [], "not within 0 to 1000", id="negative"),
        pytest.param('{"bbox_2d": [3, 0, 3, 4], "label": "cat"}', [], "is empty", id="empty"),
        pytest.param('{"bbox_2d": [30, 40, 10, 20], "label": "cat"}', [], "is empty", id="inside out"),
    ],
)
def test_what_is_not_gives_no_box_and_a_reason(
    text: str, boxes: list[tuple[str, tuple[int, ...]]], problem: str
) -> None:
    read = read_boxes(text, 1000)
    assert [(box.label, box.edges) for box in read.boxes] == boxes
    assert len(read.problems) == 1 and problem in read.problems[0]


def test_one_broken_object_takes_only_itself_away() -> None:
    read = read_boxes(f'[{CAT}, {{"bbox_2d": [], "label": "hen"}}, {DOG}]', 1000)
    assert [box.label for box in read.boxes] == ["cat", "dog"]
    assert len(read.problems) == 1


def test_digits_are_those_of_the_edges() -> None:
    text = '[{"label": "7 of 9", "bbox_2d": [10, 2.5, 300, 1000]}]'
    (box,) = read_boxes(text, 1000).boxes
    assert [text[start:end] for start, end in box.digits] == ["10", "2", "5", "300", "1000"]


@pytest.mark.parametrize(
    ("written", "labels", "places"),
    [
        pytest.param(["cat", "dog"], ["dog", "cat"], [1, 0], id="as they are"),
        pytest.param(["CAT", "hot  dog "], ["Cat", "Hot dog"], [0, 1], id="case and spaces"),
        pytest.param(["kitten", "dog"], ["cat", "dog"], [None, 1], id="another word"),
        pytest.param(["cats"], ["cat", "dog"], [None], id="a plural is another word"),
        pytest.param(["ｃａｔ", "か\u3099"], ["cat", "が"], [0, 1], id="other forms of a letter"),
        pytest.param(["kitten", "cat"], ["cat"], [0, 0], id="one label"),
        pytest.param([], ["cat", "dog"], [], id="nothing"),
    ],
)
def test_labels_are_matched(written: list[str], labels: list[str], places: list[int | None]) -> None:
    assert match_labels(written, labels) == places
