"""Labels are checked by their words: what cannot be used, and which labels compete with each other."""

from __future__ import annotations

import random

import pytest

from openvocab.prompts.check import KINDS, check_words, usable
from openvocab.prompts.wordnet.nouns import nouns


@pytest.mark.parametrize(
    ("labels", "names", "found"),
    [
        pytest.param(["cat", "dog"], ("cat", "dog"), [], id="nothing"),
        pytest.param(["cat", " ", "dog"], ("cat", "dog"), [("invalid", (" ",))], id="blank"),
        pytest.param(["a\0b", 3], (), [("invalid", ("a\0b",)), ("invalid", (3,))], id="no label at all"),
        pytest.param(["cat", " cat "], ("cat",), [("duplicate", ("cat",))], id="twice"),
        pytest.param(
            ["Light-Bulb", "lightbulb", "light bulb"],
            ("Light-Bulb",),
            [("duplicate", ("Light-Bulb", "lightbulb", "light bulb"))],
            id="spellings of one label",
        ),
        pytest.param(["!", "?"], ("!", "?"), [], id="signs differ"),
    ],
)
def test_labels_that_cannot_stand_together_are_found(
    labels: list[str], names: tuple[str, ...], found: list[tuple[str, tuple[str, ...]]]
) -> None:
    kept, findings = usable(labels)
    assert kept == names
    assert [(each.kind, each.labels) for each in findings] == found


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        pytest.param(["cat", "dog", "traffic light"], [], id="nothing"),
        pytest.param(["wine glasses", "wine glass"], [("plural", ("wine glass", "wine glasses"))], id="plural"),
        pytest.param(["mouse", "Mice"], [("plural", ("mouse", "Mice"))], id="an irregular plural"),
        pytest.param(["fungus", "fungi"], [("plural", ("fungus", "fungi"))], id="an irregular plural of WordNet"),
        pytest.param(["glass", "glasses"], [("plural", ("glass", "glasses"))], id="spectacles look like a plural"),
        pytest.param(["sofa", "chair", "couch"], [("synonym", ("sofa", "couch"))], id="synonyms"),
        pytest.param(["sofas", "couch"], [("synonym", ("sofas", "couch"))], id="a synonym in the plural"),
        pytest.param(["poodle", "animal", "dog"], [("parent", ("dog", "poodle")), ("parent", ("animal", "dog"))],
            id="nearest"),
        pytest.param(["hot dog", "dog", "person"], [], id="a hot dog is neither a dog nor a show-off"),
        pytest.param(["mug", "person", "face"], [], id="a mug is neither a fool nor a face"),
        pytest.param(["cherry", "peach", "tree"], [], id="fruit is no tree"),
        pytest.param(["water", "facility", "bank", "slope"], [("parent", ("slope", "bank"))],
            id="rare senses do not count"),
        pytest.param(["plant", "factory", "rose"], [("parent", ("plant", "rose"))], id="a plant is no factory"),
    ],
)  # fmt: skip
def test_labels_that_compete_are_found(labels: list[str], found: list[tuple[str, tuple[str, ...]]]) -> None:
    assert [(each.kind, each.labels) for each in check_words(labels)] == found


def test_a_finding_says_cause_and_remedy() -> None:
    (finding,) = check_words(["sofa", "couch"])
    assert str(finding) == "'sofa' and 'couch' mean the same in WordNet; keep one"
    assert finding.kind in KINDS


def test_findings_grow_with_the_list_and_not_with_its_square() -> None:
    labels = random.Random(0).sample(sorted(nouns().synsets), 3_000)
    assert 0 < len(check_words(usable(labels)[0])) < 2 * len(labels)
