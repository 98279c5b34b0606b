"""Labels: what is tidied, what is refused and with which words, and where they are read from."""

from __future__ import annotations

import json
import tomllib
import warnings
from importlib.resources import files

import numpy as np
import pytest

from openvocab.errors import BadInput, OpenVocabWarning, UnknownName
from openvocab.prompts import check_context, check_labels, check_threshold, label_set, label_sets, read_labels


@pytest.mark.parametrize(
    ("given", "checked"),
    [
        pytest.param(["cat", "dog"], ("cat", "dog"), id="as they are"),
        pytest.param([" hot \t dog\n"], ("hot dog",), id="spaces"),
        pytest.param(["cafe\u0301"], ("caf\u00e9",), id="composed"),
        pytest.param(["Cat"], ("Cat",), id="case is kept"),
        pytest.param(["\N{MAN}\u200d\N{WOMAN}"], ("\N{MAN}\u200d\N{WOMAN}",), id="joiner is kept"),
        pytest.param(["x" * 1000], ("x" * 1000,), id="longest"),
    ],
)
def test_labels_are_tidied(given, checked):
    assert check_labels(given) == checked


@pytest.mark.parametrize(
    ("given", "words"),
    [
        pytest.param([], ["no labels", "at least one"], id="none"),
        pytest.param("cat, dog", ["list of strings", "str"], id="a bare string"),
        pytest.param({"cat", "dog"}, ["list of strings", "set"], id="a set has no order"),
        pytest.param(3, ["list of strings", "int"], id="a number"),
        pytest.param(["cat", 3], ["label 2", "int"], id="a number among them"),
        pytest.param(["cat", " "], ["label 2 is blank"], id="blank"),
        pytest.param(["\u200b\ufeff"], ["label 1 is blank"], id="nothing to see"),
        pytest.param(["dog", "cat", "dog "], ["labels 1 and 3", "'dog'", "remove one"], id="twice"),
        pytest.param(["Stra\u00dfe", "STRASSE"], ["'Stra\u00dfe'", "'STRASSE'"], id="same but for case"),
        pytest.param(["caf\u00e9", "cafe\u0301"], ["labels 1 and 2"], id="same but for composition"),
        pytest.param(["a\0b"], ["U+0000", "'a\\x00b'", "remove it"], id="NUL"),
        pytest.param(["a\x1b[31mb"], ["U+001B"], id="escape"),
        pytest.param(["a\ud800"], ["U+D800"], id="half a surrogate pair"),
        pytest.param(["cat", "x" * 1001], ["label 2", "1001 characters", "1000"], id="too long"),
    ],
)
def test_what_is_refused(given, words):
    with pytest.raises(BadInput) as caught:
        check_labels(given)
    assert all(word in str(caught.value) for word in words)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("spec", "labels"),
    [
        pytest.param("cat, dog", ("cat", "dog"), id="commas"),
        pytest.param("cat,dog,", ("cat", "dog"), id="trailing comma"),
        pytest.param("cat\r\nhot dog\n\n", ("cat", "hot dog"), id="lines"),
        pytest.param("cat,\n\ndog", ("cat", "dog"), id="commas and lines"),
        pytest.param("elephant", ("elephant",), id="one word"),
        pytest.param("rocket", ("rocket",), id="one word, like a set's name"),
        pytest.param("cocoa", ("cocoa",), id="another word like a set's name"),
        pytest.param("coco,", ("coco",), id="a comma makes it a label"),
        pytest.param(["a, b"], ("a, b",), id="a list is not split"),
        pytest.param("St. Bernard", ("St. Bernard",), id="a full stop"),
        pytest.param('["cat", "hot, dog"]', ("cat", "hot, dog"), id="a JSON list"),
    ],
)
def test_labels_written_out(spec, labels):
    assert read_labels(spec) == labels


@pytest.mark.parametrize(
    ("spec", "error", "words"),
    [
        pytest.param("", BadInput, "no labels", id="nothing"),
        pytest.param(",", BadInput, "label 1 is blank", id="a comma alone"),
        pytest.param("cat,,dog", BadInput, "label 2 is blank", id="a hole"),
        pytest.param("COCO", UnknownName, "did you mean 'coco'", id="case of a set's name"),
        pytest.param("cifar-10", UnknownName, "did you mean 'cifar10'", id="dash in a set's name"),
        pytest.param("voc2012", UnknownName, "did you mean 'voc'", id="year behind a set's name"),
        pytest.param("pokcet", UnknownName, "did you mean 'pocket'", id="swapped letters"),
        pytest.param("cocoo", UnknownName, "did you mean 'coco'", id="doubled letter"),
        pytest.param("lables.txt", BadInput, "'lables.txt' does not exist", id="no such file"),
    ],
)
def test_slips_are_met_with_the_right_name(spec, error, words):
    with pytest.raises(error, match=words):
        read_labels(spec)


@pytest.mark.parametrize(
    ("spec", "labels", "words"),
    [
        pytest.param("cat;dog", ("cat;dog",), "'cat;dog' is taken as one label; write commas in place of ';'", id=";"),
        pytest.param("cat, hen | dog", ("cat", "hen | dog"), "write commas in place of '|'", id="|"),
        pytest.param("猫、犬", ("猫、犬",), "write commas in place of '、'", id="a Japanese comma"),
        pytest.param("[cat, dog]", ("[cat", "dog]"), "no JSON list.*put labels in quotes", id="a list without quotes"),
        pytest.param(
            "poket", ("poket",), "taken as a label; the label set is called 'pocket'", id="nearly a set's name"
        ),
    ],
)
def test_a_text_that_was_probably_meant_otherwise_is_told(spec, labels, words):
    with pytest.warns(OpenVocabWarning, match=words):
        assert read_labels(spec) == labels


@pytest.mark.parametrize("as_text", [pytest.param(True, id="str"), pytest.param(False, id="Path")])
@pytest.mark.parametrize(
    ("name", "data"),
    [
        pytest.param("a.txt", b"cat\nhot dog\n", id="lines"),
        pytest.param("b.txt", b"\xef\xbb\xbfcat\r\n# no\r\n\r\n hot dog", id="mark, CRLF, comment, blank line"),
        pytest.param("c.json", b'["cat", "hot dog"]', id="JSON"),
        pytest.param("d, e.JSON", b'\xef\xbb\xbf["cat", "hot dog"]', id="JSON with mark, comma in the name"),
    ],
)
def test_labels_in_files(tmp_path, name, data, as_text):
    path = tmp_path / name
    path.write_bytes(data)
    assert read_labels(str(path) if as_text else path) == ("cat", "hot dog")


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        pytest.param("a.txt", b"caf\xe9\n", "not UTF-8", id="Latin-1"),
        pytest.param("a.txt", b"# only\n", "no labels", id="only comments"),
        pytest.param("a.txt", b"a\0b", "control character", id="NUL"),
        pytest.param("a.json", b"[", "not valid JSON", id="broken JSON"),
        pytest.param("a.json", b'{"cat": 1}', "must be a list of words", id="JSON object of numbers"),
        pytest.param("a.json", b"3", "does not hold a list", id="JSON number"),
        pytest.param("a.json", b"[1]", "label 1 is of type int", id="JSON numbers"),
        pytest.param("a.json", b"[" * 100_000, "not valid JSON", id="deep JSON"),
        pytest.param("a.csv", b"cat", "must end in .txt", id="another suffix"),
    ],
)
def test_files_that_hold_no_labels(tmp_path, name, data, words):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadInput, match=words):
        read_labels(str(tmp_path / name))


def test_label_sets_and_their_sizes():
    assert label_sets().items() >= {"cifar10": 10, "coco": 80, "pocket": len(label_set("pocket")), "voc": 20}.items()
    assert list(label_sets()) == sorted(label_sets())


@pytest.mark.parametrize("name", sorted(label_sets()))
def test_every_label_set_keeps_the_rules(name):
    assert check_labels(label_set(name)) == label_set(name) == read_labels(name)


def test_pocket_is_the_vocabulary_of_the_embedded_models():
    text = files("openvocab").joinpath("weights/pocket/labels.toml").read_text("utf-8")
    assert label_set("pocket") == tuple(tomllib.loads(text)["labels"])


def test_a_label_set_that_does_not_exist():
    with pytest.raises(UnknownName, match="did you mean 'coco'"):
        label_set("cocos")


def test_many_labels_are_read_whole(tmp_path):
    many = [f"label {number}" for number in range(100_000)]
    (tmp_path / "many.json").write_text(json.dumps(many))
    assert read_labels(tmp_path / "many.json") == tuple(many)


@pytest.mark.parametrize(
    ("value", "number"),
    [pytest.param(0, 0.0, id="0"), pytest.param(1, 1.0, id="1"), pytest.param(np.float32(0.5), 0.5, id="NumPy's")],
)
def test_thresholds(value, number):
    assert check_threshold("box threshold", value) == number


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(-0.01, id="below"),
        pytest.param(1.01, id="above"),
        pytest.param(float("nan"), id="nan"),
        pytest.param(float("inf"), id="infinite"),
        pytest.param(True, id="bool"),
        pytest.param("0.5", id="text"),
        pytest.param(None, id="nothing"),
    ],
)
def test_thresholds_that_are_refused(value):
    with pytest.raises(BadInput, match="box threshold must .* 0 to 1"):
        check_threshold("box threshold", value)


def test_a_label_that_is_cut_is_warned_of_with_what_is_kept():
    with pytest.warns(OpenVocabWarning) as caught:
        check_context(["cat", "d" * 100], [5, 80], 77, ["cat", "ddd"], "the text tower")
    (message,) = [str(warning.message) for warning in caught]
    assert "d" * 57 + "..." in message
    assert "d" * 58 not in message
    assert "80 tokens" in message
    assert "'ddd'" in message


def test_labels_that_fit_are_not_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_context(["cat", "dog"], [5, 77], 77, ["cat", "dog"], "the text tower")


def test_labels_that_are_one_after_the_cut_are_refused():
    with pytest.raises(BadInput, match="'a b c' and 'a b d' are the same text to the text tower"):
        check_context(["a b c", "a b d"], [5, 5], 4, ["a b", "a b"], "the text tower")
