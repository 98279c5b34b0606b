from __future__ import annotations

import pytest

pytest.importorskip("gradio")

from openvocab.errors import BadInput
from openvocab.ui.web.words import labels_of, said, template_of


@pytest.mark.parametrize(
    ("words", "labels"),
    [
        pytest.param("apple, guitar,dog", ("apple", "guitar", "dog"), id="commas"),
        pytest.param("apple\nguitar\r\ndog,", ("apple", "guitar", "dog"), id="lines"),
        pytest.param(["hot, dog", "cat"], ("hot, dog", "cat"), id="a list keeps its commas"),
        pytest.param(" voc ", 20, id="a label set"),
        pytest.param("/etc/passwd.txt", ("/etc/passwd.txt",), id="a path is a word, not a file"),
        pytest.param("قطة, 猫", ("قطة", "猫"), id="any script"),
    ],
)
def test_labels_are_what_was_typed(words, labels):
    got = labels_of(words)
    assert len(got) == labels if isinstance(labels, int) else got == labels


def test_a_file_on_the_server_is_never_read(tmp_path):
    path = tmp_path / "secret.txt"
    path.write_text("password one\n")
    assert labels_of(str(path)) == (str(path),)
    with pytest.raises(BadInput, match="no place for the label"):
        template_of(str(path))


@pytest.mark.parametrize(
    ("words", "says", "fine"),
    [
        pytest.param("", "Separate words", True, id="nothing yet"),
        pytest.param("apple", "1 label", True, id="one"),
        pytest.param("coco", "80 labels", True, id="a set"),
        pytest.param("dog, Dog", "are the same", False, id="twins"),
        pytest.param(", ,", "there are no labels", False, id="blanks"),
        pytest.param("a\x00b", "control character", False, id="NUL"),
    ],
)
def test_said_counts_or_says_what_is_wrong(words, says, fine):
    text, usable = said(words)
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
def test_templates_are_lines(sentence, templates):
    got = template_of(sentence)
    assert (got and got.templates) == templates


@pytest.mark.parametrize("sentence", ["a photo", "{label} {label}", "{label.__class__}", "{0}"])
def test_a_template_that_cannot_be_used_is_refused(sentence):
    with pytest.raises(BadInput, match="template"):
        template_of(sentence)
