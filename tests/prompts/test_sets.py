"""A label set: what a file may hold, what is refused and with which words, and how phrases stand in rows."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openvocab import BadInput, LabelSet, label_findings, read_label_set, read_labels

SET = LabelSet(
    ["tent", "vehicle", "car", "bus"],
    synonyms={"tent": ["camping tent", "wigwam"], "car": ["automobile"]},
    children={"vehicle": ["car", "bus"]},
    negatives=["handbag"],
)
YAML = """
tent: [camping tent, wigwam]   # other words for one label
vehicle:
  children: [car, bus]
car: automobile
negatives: [handbag]
"""
PLAIN = {
    "tent": ["camping tent", "wigwam"],
    "vehicle": {"children": {"car": {"synonyms": ["automobile"]}, "bus": []}},
    "negatives": ["handbag"],
}


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        pytest.param("a.yaml", YAML, SET, id="YAML"),
        pytest.param("a.yml", YAML, SET, id="yml"),
        pytest.param("a.json", json.dumps(PLAIN), SET, id="JSON, nested"),
        pytest.param("a.yaml", json.dumps(PLAIN), SET, id="JSON is YAML"),
        pytest.param("a.yaml", "- tent\n- bus\n", LabelSet(["tent", "bus"]), id="a YAML list"),
        pytest.param("a.yaml", "tent:\nbus:\n", LabelSet(["tent", "bus"]), id="labels alone"),
        pytest.param("a.yaml", "no: [1, off]\n2.0: ~\n", LabelSet(["no", "2.0"], {"no": ["1", "off"], "2.0": ["~"]}),
            id="words that YAML reads otherwise stay words"),
        pytest.param("a.json", '["tent", "bus"]', LabelSet(["tent", "bus"]), id="a JSON list"),
        pytest.param("a.txt", "tent\nbus\n", LabelSet(["tent", "bus"]), id="lines"),
    ],
)  # fmt: skip
def test_a_file_of_labels(name: str, text: str, expected: LabelSet, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text, "utf-8")
    assert read_label_set(path) == read_label_set(str(path)) == expected
    assert read_label_set(str(path)).digest == expected.digest
    assert read_labels(path) == tuple(expected.labels)


def test_plain_types_are_what_a_file_holds() -> None:
    assert LabelSet.of(PLAIN) == SET
    assert read_label_set(SET) is SET
    assert pickle.loads(pickle.dumps(SET)) == SET
    assert read_label_set("tent, bus") == LabelSet(["tent", "bus"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("", "does not hold a list or a mapping of labels", id="empty"),
        pytest.param("tent: [", "is not valid YAML", id="not YAML"),
        pytest.param("tent", "does not hold a list or a mapping", id="a word"),
        pytest.param("a: &x [b]\nc: *x\n", "uses an alias", id="alias"),
        pytest.param("tent: [a]\ntent: [b]\n", "has 'tent' twice", id="a key twice"),
        pytest.param("[a]: b\n", "has a key that is no text", id="a key that is a list"),
        pytest.param("vehicle: {kids: [car]}", "'vehicle' in .* has the unknown entry 'kids'; known: children, syn",
            id="an unknown entry"),
        pytest.param("vehicle: {children: [[car]]}", "children of 'vehicle' .* must be a list of words", id="nested"),
        pytest.param("negatives: {a: b}\nc:\n", "negatives of .* must be a list of words", id="negatives"),
        pytest.param("negatives: [a]\n", "there are no labels", id="negatives alone"),
        pytest.param("tent: [wigwam]\nhut: [Wigwam]\n",
            "'Wigwam' stands for the label 'tent' and for the label 'hut'; leave it out of one", id="shared"),
        pytest.param("tent: [tent]\n", "'tent' stands twice for the label 'tent'", id="its own synonym"),
        pytest.param("tent: [hut]\nhut:\n", "'hut' stands for the label 'hut' and for the label 'tent'", id="a label"),
        pytest.param("tent: [hut]\nnegatives: [hut]\n", "for the label 'tent' and for the negatives", id="a negative"),
        pytest.param("tent: [' ']\n", "label 1 is blank", id="blank"),
        pytest.param("a: {children: [c]}\nb: {children: [c]}\n", "'c' is below 'a' and below 'b'", id="two parents"),
        pytest.param("a: {children: [b]}\nb: {children: [a]}\n", "is above a label that is above it", id="a circle"),
        pytest.param("a: {children: [a]}\n", "is above a label that is above it", id="its own child"),
        pytest.param("a: " + "[" * 5000, "is not valid YAML", id="deep"),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "set.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(BadInput, match=says) as caught:
        read_label_set(path)
    assert "label file " in str(caught.value) and "set.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        pytest.param({"synonyms": {"hut": ["a"]}}, "'hut' has synonyms and is no label; add it", id="synonyms"),
        pytest.param({"children": {"tent": ["hut"]}}, "'hut' is below 'tent' and is no label; add it", id="child"),
        pytest.param({"synonyms": {"tent": "wigwam"}}, "must be a list of strings, got str", id="a bare string"),
    ],
)
def test_arguments_that_are_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        LabelSet(["tent"], **given)


def test_the_digest_is_that_of_the_meaning() -> None:
    synonyms = {"car": ["automobile"], "tent": ["wigwam", "camping tent"]}
    same = LabelSet(SET.labels, synonyms, SET.children, SET.negatives)
    others = [
        LabelSet(SET.labels[::-1], SET.synonyms, SET.children, SET.negatives),
        LabelSet(SET.labels, {"tent": ["wigwam"], "car": ["automobile"]}, SET.children, SET.negatives),
        LabelSet(SET.labels, SET.synonyms, {"vehicle": ["car"]}, SET.negatives),
        LabelSet(SET.labels, SET.synonyms, SET.children),
    ]
    assert same.digest == SET.digest
    assert len({SET.digest, *(each.digest for each in others)}) == 5
    assert (LabelSet(["a", "b"]).digest, LabelSet(["a", "b"]).is_plain, SET.is_plain) == ("", True, False)


def test_phrases_of_a_label_stand_together_and_the_best_counts() -> None:
    assert SET.phrases == ("tent", "camping tent", "wigwam", "vehicle", "car", "automobile", "bus", "handbag")
    assert SET.columns == ("tent", "vehicle", "car", "bus", "handbag")
    rows = np.array([[0.1, 0.5, 0.2, 0.3, 0.4, 0.6, 0.1, 0.9]], np.float32)
    np.testing.assert_array_equal(SET.best(rows), np.array([[0.5, 0.3, 0.6, 0.1, 0.9]], np.float32))
    np.testing.assert_array_equal(SET.best(rows[:0]), np.zeros((0, 5), np.float32))
    np.testing.assert_array_equal(SET.reported(SET.best(rows)), np.array([[0.5, 0.6, 0.6, 0.1]], np.float32))
    assert SET.rows_of(np.array([2])).tolist() == [4, 5, 7]


def test_a_grandparent_has_the_best_below_it() -> None:
    deep = LabelSet(["car", "thing", "vehicle"], children={"vehicle": ["car"], "thing": ["vehicle"]})
    np.testing.assert_array_equal(deep.reported(np.array([0.9, 0.1, 0.2], np.float32)), np.full(3, 0.9, np.float32))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        pytest.param(["vehicle"], LabelSet(["vehicle"], {"vehicle": ["car", "automobile", "bus"]}, {}, ["handbag"]),
            id="a parent: its children are phrases of it"),
        pytest.param(["car", "vehicle"], LabelSet(["vehicle", "car"], {"vehicle": ["bus"], "car": ["automobile"]},
            {"vehicle": ["car"]}, ["handbag"]), id="a parent and a child"),
        pytest.param([" tent "], LabelSet(["tent"], {"tent": SET.synonyms["tent"]}, {}, ["handbag"]), id="a label"),
    ],
)  # fmt: skip
def test_some_labels_of_a_set(wanted: list[str], expected: LabelSet, tmp_path: Path) -> None:
    path = tmp_path / "set.yaml"
    path.write_text(YAML, "utf-8")
    assert SET.only(*wanted) == read_label_set(f"{path}:{','.join(wanted)}") == expected


def test_a_label_that_the_set_lacks_is_refused() -> None:
    with pytest.raises(BadInput, match="'hut' is no label of the set; it has tent, vehicle, car, bus"):
        SET.only("hut")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("sofa: [couch]\ndog: {children: [poodle]}\n", [], id="what is meant is no finding"),
        pytest.param("tent: [wigwam]\nhut: [wigwam]\n", [("synonym", ("tent", "hut"))], id="a shared synonym"),
        pytest.param("settee: [sofa]\nchair: [couch]\n", [("synonym", ("sofa", "couch"))],
            id="synonyms of two labels that mean the same"),
        pytest.param("sofa:\nnegatives: [couch]\n", [("synonym", ("sofa", "couch"))], id="a negative"),
        pytest.param("poodle: [Poodle]\n", [("duplicate", ("poodle", "Poodle"))], id="its own synonym"),
        pytest.param("dog:\npoodle:\n", [("parent", ("dog", "poodle"))], id="a parent that is not said"),
    ],
)  # fmt: skip
def test_labels_are_checked_with_their_synonyms(
    text: str, found: list[tuple[str, tuple[str, ...]]], tmp_path: Path
) -> None:
    path = tmp_path / "set.yaml"
    path.write_text(text, "utf-8")
    assert [(each.kind, each.labels) for each in label_findings(str(path))] == found


def test_a_shared_synonym_is_named(tmp_path: Path) -> None:
    path = tmp_path / "set.yaml"
    path.write_text("tent: [wigwam]\nhut: [Wigwam]\n", "utf-8")
    (finding,) = label_findings(path)
    assert str(finding) == "'wigwam' stands for 'tent' and for 'hut'; leave it out of one, or chance decides"
