import pytest

from openvocab.errors import counted, unknown


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param((0, "row"), "0 rows", id="none"),
        pytest.param((1, "row"), "1 row", id="one"),
        pytest.param((2, "row"), "2 rows", id="two"),
        pytest.param((1, "class", "classes"), "1 class", id="one of an irregular noun"),
        pytest.param((3, "class", "classes"), "3 classes", id="three of an irregular noun"),
    ],
)
def test_a_number_agrees_with_its_noun(given, expected):
    assert counted(*given) == expected


@pytest.mark.parametrize(
    ("known", "see", "expected"),
    [
        pytest.param(["cat", "dog"], "", "no pet named 'cta'; did you mean 'cat'? known: cat, dog", id="few"),
        pytest.param(["dog"], "pets list", "no pet named 'cta'; known: dog; see: pets list", id="a command lists them"),
        pytest.param(
            [f"pet-{number}" for number in range(40)], "pets list", "and 35 others; see: pets list", id="many of them"
        ),
    ],
)
def test_an_unknown_name_says_what_is_known(known, see, expected):
    assert str(unknown("pet", "cta", known, see=see)).endswith(expected)
