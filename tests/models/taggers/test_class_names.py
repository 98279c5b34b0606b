"""What a label means to a classifier: its own classes, and for ImageNet-1k what WordNet puts above them."""

from __future__ import annotations

from pathlib import Path

import pytest
from timm.data import ImageNetInfo

import openvocab
from openvocab.errors import BadInput, OpenVocabWarning
from openvocab.models.taggers.class_names import ClassNames
from tests.tiny import classifier

NAMES = tuple(ImageNetInfo().label_descriptions())


@pytest.fixture(scope="module")
def imagenet() -> ClassNames:
    return ClassNames.of(NAMES)


def _named(known: ClassNames, label: str) -> list[str]:
    return [known.names[row].partition(",")[0] for row in known.find(label)]


@pytest.mark.parametrize(
    ("label", "count", "among"),
    [
        pytest.param("dog", 118, "beagle", id="breeds"),
        pytest.param("Canis familiaris", 118, "beagle", id="another name of it"),
        pytest.param("Dogs", 118, "beagle", id="plural"),
        pytest.param("fruit", 16, "strawberry", id="fruit"),
        pytest.param("vehicle", 71, "minibus", id="vehicle, buses included"),
        pytest.param("musical instrument", 26, "accordion", id="two words"),
        pytest.param("musical instruments", 26, "accordion", id="two words, plural"),
        pytest.param("truck", 7, "pickup", id="truck, without minivans"),
        pytest.param("car", 10, "minivan", id="car, with minivans"),
        pytest.param("cat", 7, "tabby", id="the usual sense alone"),
        pytest.param("table", 3, "dining table", id="two senses"),
        pytest.param("plant", 3, "daisy", id="two senses far apart"),
        pytest.param("wolves", 4, "timber wolf", id="irregular plural"),
        pytest.param("buses", 3, "school bus", id="plural in es"),
        pytest.param("cell phones", 1, "cellular telephone", id="two words for one, plural"),
        pytest.param("piano", 2, "upright", id="piano"),
        pytest.param("crane", 2, "crane", id="two classes of one name"),
        pytest.param("cardigan", 1, "cardigan", id="a whole name goes before another's part"),
        pytest.param("plane", 1, "airliner", id="the usual sense goes before a part of a name"),
        pytest.param("tench, Tinca tinca", 1, "tench", id="a whole name with its comma"),
    ],
)
def test_a_label_means_the_classes_below_it(label: str, count: int, among: str, imagenet: ClassNames) -> None:
    named = _named(imagenet, label)
    assert (len(named), among in named) == (count, True)


def test_a_minivan_is_no_truck(imagenet: ClassNames) -> None:
    assert "minivan" not in _named(imagenet, "truck")
    assert "minivan" in _named(imagenet, "van")


@pytest.mark.parametrize(
    ("label", "nearest"),
    [
        pytest.param("elefant", "'elephant'", id="misspelled"),
        pytest.param("snowman", "nearest: .*snow", id="not there"),
        pytest.param("sky", "'sky|'ski", id="short"),
    ],
)
def test_a_label_that_no_class_stands_for_is_refused_with_the_nearest(
    label: str, nearest: str, imagenet: ClassNames
) -> None:
    with pytest.raises(BadInput, match=f"none of the 1000 classes .* and no name above them; .*{nearest}"):
        imagenet.find(label)


def test_a_word_for_something_else_is_accepted_with_a_warning(imagenet: ClassNames) -> None:
    with pytest.warns(OpenVocabWarning, match="'bank' usually means .* here it means: piggy bank"):
        assert _named(imagenet, "bank") == ["piggy bank"]


@pytest.mark.parametrize(
    ("names", "label", "rows"),
    [
        pytest.param(("background", *NAMES), "tabby", (282,), id="a class for the background before them"),
        pytest.param(tuple(name.partition(",")[0] for name in NAMES), "tabby", (281,), id="first names alone"),
        pytest.param(tuple(name.replace(" ", "_") for name in NAMES), "tabby", (281,), id="underscores"),
    ],
)
def test_imagenet_is_recognized_by_its_names(names: tuple[str, ...], label: str, rows: tuple[int, ...]) -> None:
    known = ClassNames.of(names)
    assert known.find(label) == rows
    assert len(known.find("dog")) == 118


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(tuple(f"kind {row}" for row in range(1000)), id="a thousand others"),
        pytest.param(NAMES[:100], id="a hundred of ImageNet"),
        pytest.param(NAMES[::-1], id="another order"),
    ],
)
def test_other_classifiers_keep_their_own_names_alone(names: tuple[str, ...]) -> None:
    known = ClassNames.of(names)
    with pytest.raises(BadInput, match="of this classifier; nearest"):
        known.find("dog")
    assert known.find(names[3]) == (3,)


def test_every_name_of_every_class_and_of_what_is_above_is_a_label(imagenet: ClassNames) -> None:
    from openvocab.prompts.wordnet import imagenet as wordnet

    assert set(wordnet().classes) <= set(imagenet.rows)
    assert all(rows and rows == tuple(sorted(set(rows))) for rows in wordnet().classes.values())
    assert wordnet().classes["entity"] == tuple(range(1000))
    for row, name in enumerate(NAMES):
        assert row in imagenet.find(name)


def test_a_vit_of_imagenet_answers_for_what_is_above_its_classes(tmp_path: Path) -> None:
    tagger = openvocab.load_tagger(f"classifier:{classifier.write(tmp_path, NAMES)}", "cpu", "float32")
    assert tagger.encode_labels(["dog", "tench"]).embeddings.sum(axis=1).tolist() == [118, 1]
