import pytest

from openvocab.prompts.phrases import mentions


@pytest.mark.parametrize(
    ("text", "labels", "expected"),
    [
        pytest.param("A cat on a mat.", ["dog", "cat"], (1,), id="one of two"),
        pytest.param("A CAT and Dog", ["dog", "Cat"], (0, 1), id="case; in the order of labels"),
        pytest.param("a caterpillar", ["cat"], (), id="whole words only"),
        pytest.param("a hot dog on a plate", ["dog", "hot dog", "plate"], (1, 2), id="longest first"),
        pytest.param("a dog eats a hot dog", ["dog", "hot dog"], (0, 1), id="both, each in its own place"),
        pytest.param("fire engine room", ["fire engine", "engine room"], (0,), id="the left one of two that overlap"),
        pytest.param("two cats", ["cat"], (0,), id="plural in the text"),
        pytest.param("a cat", ["cats"], (0,), id="plural in the label"),
        pytest.param("a cat", ["cats", "cat"], (0, 1), id="both forms are labels"),
        pytest.param(
            "berries, boxes, knives and wolves", ["berry", "box", "knife", "wolf"], (0, 1, 2, 3), id="endings"
        ),
        pytest.param("women, firemen and children", ["woman", "fireman", "child"], (0, 1, 2), id="odd plurals"),
        pytest.param("people on horses", ["person", "horse"], (0, 1), id="people"),
        pytest.param("a glass of gas", ["glas", "ga", "glass"], (2,), id="an s that is no plural"),
        pytest.param("the dog's bone", ["dog"], (0,), id="possessive"),
        pytest.param("a T-shirt", ["t shirt", "shirt"], (0,), id="hyphen"),
        pytest.param("a cafe\u0301", ["caf\u00e9"], (0,), id="composition"),
        pytest.param("a cat", ["🐈"], (), id="a label without letters"),
        pytest.param("", ["cat"], (), id="no text"),
        pytest.param("a cat", [], (), id="no label"),
    ],
)
def test_mentions(text: str, labels: list[str], expected: tuple[int, ...]) -> None:
    assert mentions(text, labels) == expected


def test_order_of_labels_changes_nothing_else() -> None:
    labels = ["dog", "hot dog", "cats", "plate"]
    found = {labels[row] for row in mentions("cats near a hot dog", labels)}
    assert {labels[::-1][row] for row in mentions("cats near a hot dog", labels[::-1])} == found == {"hot dog", "cats"}
