"""imagenet.toml is made from WordNet's files alone, and its rules hold on a WordNet of nine synsets."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from openvocab.prompts.wordnet import build as module
from openvocab.prompts.wordnet import build_nouns, imagenet
from openvocab.prompts.wordnet.nouns import nouns

SYNSETS = {
    1: ("thing", ()),
    2: ("dog domestic_dog", (1,)),
    3: ("beagle", (2,)),
    4: ("pug", (2,)),
    5: ("bank piggy_bank", (1,)),
    6: ("bank riverside", ()),
    7: ("toy", (1,)),
    8: ("toy toy_dog", (2,)),
    9: ("chow", (8,)),
}
"""Number -> names and the synsets above."""

SENSES = {"bank": [6, 5], "toy": [7, 8]}
USES = ["bank%1:17:00:: 1 25", "toy%1:06:00:: 1 40", "toy%2:35:00:: 1 9", "toy%1:05:00:: 9 9"]
CLASSES = ["n00000003", "n00000004", "n00000005", "n00000007", "n00000009"]


@pytest.fixture(scope="module")
def made(folder: Path) -> Any:
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setattr(module, "NOT_UNDER", {"n00000002": ("n00000004",)})
        patch.setattr(module, "ALSO_UNDER", {"n00000007": ("n00000003",)})
        return tomllib.loads(module.build(folder, CLASSES))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """WordNet's database files with the synsets above."""
    folder = tmp_path_factory.mktemp("wordnet")
    license_lines = "  1 This software and database\n"
    data = [_data_line(number, *synset) for number, synset in SYNSETS.items()]
    (folder / "data.noun").write_text(license_lines + "\n".join(data) + "\n", "utf-8")
    words = {word: [number] for number, (names, _) in SYNSETS.items() for word in names.split()} | SENSES
    index = [f"{word} n {len(at)} 1 @ {len(at)} 0 {' '.join(f'{n:08}' for n in at)}" for word, at in words.items()]
    (folder / "index.noun").write_text(license_lines + "\n".join(index) + "\n", "utf-8")
    (folder / "cntlist.rev").write_text("\n".join(USES) + "\n", "utf-8")
    (folder / "noun.exc").write_text("doggen dog\nbanken shore bank\nshores shore\n", "utf-8")
    return folder


def _data_line(number: int, names: str, above: tuple[int, ...]) -> str:
    words = names.split()
    links = [f"@ {each:08} n 0000" for each in above] + ["~ 00000099 n 0000"]
    named = " ".join(f"{word} 0" for word in words)
    return f"{number:08} 03 n {len(words):02x} {named} {len(links):03} {' '.join(links)} | a gloss"


@pytest.mark.parametrize(
    ("synset", "names", "classes"),
    [
        pytest.param("n00000001", ["thing"], "0-4", id="the top has all"),
        pytest.param("n00000002", ["dog", "domestic dog"], "0,4", id="less what is not under it"),
        pytest.param("n00000003", ["beagle"], "0", id="a class"),
        pytest.param("n00000005", ["bank", "piggy bank"], "2", id="the only sense with a class"),
        pytest.param("n00000007", ["toy"], "0,3", id="with what is also under it"),
        pytest.param("n00000008", ["toy dog"], "4", id="a rare sense loses the name"),
    ],
)
def test_a_synset_has_its_names_and_the_classes_below(made: Any, synset: str, names: list[str], classes: str) -> None:
    assert made["synsets"][synset] == {"names": names, "classes": classes}


def test_what_has_no_class_below_is_left_out(made: Any) -> None:
    assert "n00000006" not in made["synsets"]


def test_irregular_plurals_of_its_names_are_kept(made: Any) -> None:
    assert made["plurals"] == {"banken": "bank", "doggen": "dog"}


def test_the_file_in_the_package_is_whole_and_small() -> None:
    path = Path(module.__file__).with_name("imagenet.toml")
    assert path.stat().st_size < 200_000
    assert "Princeton University" in path.read_text("utf-8")
    assert "WordNet 3.0 Copyright 2006" in path.with_name("LICENSE").read_text("utf-8")
    assert {row for rows in imagenet().classes.values() for row in rows} == set(range(1000))
    assert imagenet().rare <= set(imagenet().classes)
    assert set(imagenet().plurals.values()) <= set(imagenet().classes)


def test_nouns_stand_below_the_roots_with_one_sense_each(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_nouns, "LATER", ("n00000002",))
    lines = build_nouns.build_nouns(folder, ["n00000001"]).splitlines()
    assert lines == [
        "0\tthing",
        "1\tdog,domestic dog",
        "2\tbeagle",
        "2\tpug",
        "2\ttoy dog",
        "3\tchow",
        "1\tpiggy bank",  # a bank is usually no piggy bank
        "1\ttoy",  # no dog
        "",
        "doggen\tdog",
    ]


@pytest.mark.parametrize(
    ("label", "same", "above"),
    [
        pytest.param("Light-Bulbs", "light bulb", "lamp", id="case, hyphen and plural"),
        pytest.param("fungi", "fungus", "organism", id="an irregular plural"),
        pytest.param("couch", "sofa", "furniture", id="a synonym"),
        pytest.param("hot dog", "hotdog", "sandwich", id="two words"),
        pytest.param("dolphin", "dolphin", "mammal", id="the sense that images show"),
        pytest.param("tomato", "tomato", "vegetable", id="one of several parents"),
    ],
)
def test_a_label_is_found_among_the_nouns(label: str, same: str, above: str) -> None:
    synset = nouns().find(label)
    assert synset is not None
    assert synset == nouns().synsets[same]
    assert nouns().synsets[above] in set(nouns().ancestors(synset))


def test_the_nouns_are_whole_and_small() -> None:
    assert Path(build_nouns.__file__).with_name("nouns.txt.xz").stat().st_size < 200_000
    assert len(nouns().synsets) > 40_000
    assert all(parent != synset for synset, parents in enumerate(nouns().above) for parent in parents)
    assert nouns().find("zxcv") is None
