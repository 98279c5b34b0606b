"""The label sets of large data sets are whole, in their order, and can be used as labels."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from pathlib import Path

import pytest

import openvocab
from openvocab.prompts.labels import check_labels, label_set, set_synonyms


@pytest.mark.parametrize(
    ("name", "count", "some"),
    [
        pytest.param("coco", 80, {0: "person", 79: "toothbrush"}, id="coco"),
        pytest.param("imagenet", 1000, {0: "tench", 744: "projectile", 999: "toilet paper"}, id="imagenet"),
        pytest.param("lvis", 1203, {0: "aerosol can", 1202: "zucchini"}, id="lvis"),
        pytest.param("objects365", 365, {0: "Person", 364: "Table Tennis"}, id="objects365"),
        pytest.param("openimages", 601, {0: "Tortoise", 600: "Helmet"}, id="openimages"),
        pytest.param("ade20k", 150, {0: "wall", 12: "person", 149: "flag"}, id="ade20k"),
        pytest.param("ram", 4585, {0: "3D CG rendering", 4584: "zoo"}, id="ram"),
    ],
)  # fmt: skip
def test_a_set_is_whole_and_in_order(name: str, count: int, some: dict[int, str]) -> None:
    labels = openvocab.read_labels(name)
    assert openvocab.label_sets()[name] == len(labels) == count
    assert {row: labels[row] for row in some} == some
    assert check_labels(labels) == labels


@pytest.mark.parametrize(
    ("name", "label", "synonyms"),
    [
        pytest.param("lvis", "alligator", ("gator",), id="lvis"),
        pytest.param("ade20k", "road", ("route",), id="ade20k"),
        pytest.param("coco", "couch", None, id="a set without synonyms"),
    ],
)
def test_synonyms_are_those_of_the_data_set(name: str, label: str, synonyms: tuple[str, ...] | None) -> None:
    assert set_synonyms(name).get(label) == synonyms
    names = [*label_set(name), *(each for row in set_synonyms(name).values() for each in row)]
    assert len({each.casefold() for each in names}) == len(names)


def test_imagenet_agrees_with_open_clip() -> None:
    package = importlib.util.find_spec("open_clip")
    assert package is not None
    assert package.origin is not None
    tree = ast.parse(Path(package.origin).with_name("zero_shot_metadata.py").read_text("utf-8"))
    values = {ast.unparse(each.targets[0]): each.value for each in tree.body if isinstance(each, ast.Assign)}
    theirs = ast.literal_eval(values["IMAGENET_CLASSNAMES"])
    assert {row for row, name in enumerate(theirs) if name != label_set("imagenet")[row]} == {744, 836}


def test_openimages_keeps_the_bytes_that_were_compared_with_the_official_file() -> None:
    text = "\n".join(label_set("openimages"))
    assert hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() == "c496b20304cd71bd62f7b76f3b4f9a18"


@pytest.mark.parametrize("word", ["arm", "objects"])
def test_a_noun_is_no_misspelled_set(word: str) -> None:
    assert openvocab.read_labels(word) == (word,)
