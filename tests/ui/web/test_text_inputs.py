from __future__ import annotations

import pytest

pytest.importorskip("gradio")

from openvocab.errors import BadInput
from openvocab.ui.web.text_inputs import describe_labels, parse_labels, parse_template


@pytest.mark.parametrize(
    ("words", "labels"),
    [
        pytest.param("apple, guitar,dog", ("apple", "guitar", "dog"), id="commas"),
        pytest.param("apple\nguitar\r\ndog,", ("apple", "guitar", "dog"), id="lines"),
        pytest.param("apple; guitar;dog", ("apple", "guitar", "dog"), id="semicolons"),
        pytest.param("dog, cat, Dog , hot  dog, hot dog", ("dog", "cat", "hot dog"), id="duplicates"),
        pytest.param(["hot, dog", "cat"], ("hot, dog", "cat"), id="a list keeps its commas"),
        pytest.param(" voc ", 20, id="a label set"),
        pytest.param("/etc/passwd.txt", ("/etc/passwd.txt",), id="a path is a word, not a file"),
        pytest.param("قطة, 猫", ("قطة", "猫"), id="any script"),
        pytest.param("قطة، كلب", ("قطة", "كلب"), id="Arabic commas"),
        pytest.param("猫、黒い犬，鸟", ("猫", "黒い犬", "鸟"), id="Japanese and Chinese commas"),
    ],
)
def test_labels_are_parsed(words, labels):
    got = parse_labels(words)
    assert len(got) == labels if isinstance(labels, int) else got == labels


def test_paths_are_labels_not_files(tmp_path):
    path = tmp_path / "secret.txt"
    path.write_text("password one\n")
    assert parse_labels(str(path)) == (str(path),)
    with pytest.raises(BadInput, match="no place for the label"):
        parse_template(str(path))


@pytest.mark.parametrize(
    ("words", "says", "fine"),
    [
        pytest.param("", "Separate labels", True, id="nothing yet"),
        pytest.param("apple", "1 label", True, id="one"),
        pytest.param("coco", "80 labels", True, id="a set"),
        pytest.param("dog, Dog", "1 label", True, id="duplicates are merged"),
        pytest.param(", ,", "there are no labels", False, id="blanks"),
        pytest.param("a\x00b", "control character", False, id="NUL"),
    ],
)
def test_describe_labels_counts_labels_or_reports_the_error(words, says, fine):
    text, usable = describe_labels(words)
    assert says in text
    assert usable is fine


@pytest.mark.parametrize(
    ("sentence", "templates"),
    [
        pytest.param("", None, id="empty"),
        pytest.param("a {label}", ("a {label}",), id="one"),
        pytest.param("a {label}\n\n the {} ", ("a {label}", "the {label}"), id="several"),
    ],
)
def test_templates_are_parsed_by_line(sentence, templates):
    got = parse_template(sentence)
    assert (got and got.templates) == templates


@pytest.mark.parametrize("sentence", ["a photo", "{label} {label}", "{label.__class__}", "{0}"])
def test_invalid_templates_are_rejected(sentence):
    with pytest.raises(BadInput, match="template"):
        parse_template(sentence)
