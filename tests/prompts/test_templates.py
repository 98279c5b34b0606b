"""Templates hold {label} once and nothing else in braces; every way to name a set leads to the right one."""

from __future__ import annotations

import pytest

from openvocab.errors import BadInput, UnknownName
from openvocab.prompts import PromptSet, prompt_set, prompt_sets


@pytest.mark.parametrize(
    ("template", "label", "filled"),
    [
        pytest.param("a {label}", "dog", "a dog", id="named placeholder"),
        pytest.param("a {}.", "dog", "a dog.", id="empty braces are the same"),
        pytest.param("{label}", "{label} {0} %s", "{label} {0} %s", id="braces in the label stay"),
        pytest.param("a {label}, 100%", "\N{DOG FACE}", "a \N{DOG FACE}, 100%", id="percent sign stays"),
    ],
)
def test_fill_replaces_literally(template, label, filled):
    assert PromptSet("x", (template,)).fill(label) == (filled,)


@pytest.mark.parametrize(
    ("template", "cause"),
    [
        pytest.param("a dog", "no place for the label", id="no placeholder"),
        pytest.param("", "no place for the label", id="empty"),
        pytest.param("a photo of %s", "no place for the label", id="percent"),
        pytest.param("{label} and {label}", "2 placeholders", id="twice"),
        pytest.param("{label} and {}", "2 placeholders", id="twice in two ways"),
        pytest.param("a {0}", "brace", id="index"),
        pytest.param("a {name}", "brace", id="another name"),
        pytest.param("a {label.__class__}", "brace", id="attribute"),
        pytest.param("a {label:>1000000000}", "brace", id="width"),
        pytest.param("a {label!r}", "brace", id="conversion"),
        pytest.param("a {{label}}", "brace", id="doubled braces"),
        pytest.param("a {label} }", "brace", id="stray brace"),
    ],
)
def test_bad_templates_are_named_with_the_remedy(template, cause):
    with pytest.raises(BadInput) as caught:
        PromptSet("x", (template,))
    assert repr(template) in str(caught.value)
    assert cause in str(caught.value)
    assert "write" in str(caught.value)


@pytest.mark.parametrize(
    "templates",
    [pytest.param((), id="none"), pytest.param("{label}", id="a bare string"), pytest.param((3,), id="a number")],
)
def test_a_prompt_set_needs_templates(templates):
    with pytest.raises(BadInput):
        PromptSet("x", templates)


@pytest.mark.parametrize(
    ("name", "count", "first"),
    [
        pytest.param("simple", 1, "This is a photo of a {label}", id="simple"),
        pytest.param("plain", 1, "{label}", id="plain"),
        pytest.param("openai7", 7, "itap of a {label}.", id="openai7"),
        pytest.param("openai80", 80, "a bad photo of a {label}.", id="openai80"),
        pytest.param("cifar18", 18, "a photo of a {label}.", id="cifar18"),
    ],
)
def test_named_sets(name, count, first):
    found = prompt_set(name)
    assert (found.name, len(found.templates), found.templates[0]) == (name, count, first)
    assert len(set(found.templates)) == count
    assert prompt_sets()[name] == found


def test_the_default_is_simple():
    assert prompt_set() == prompt_set(None) == prompt_set("simple")


@pytest.mark.parametrize(
    ("spec", "templates"),
    [
        pytest.param("a {}", ("a {label}",), id="one template"),
        pytest.param(["a {label}", "the {}"], ("a {label}", "the {label}"), id="a list"),
        pytest.param(PromptSet("custom", ("{label}!",)), ("{label}!",), id="a prompt set"),
    ],
)
def test_custom_sets(spec, templates):
    assert prompt_set(spec) == PromptSet("custom", templates)


def test_a_text_file_holds_one_template_a_line(tmp_path):
    path = tmp_path / "my templates.txt"
    path.write_bytes(b"\xef\xbb\xbf# mine\r\na {label}\r\n\r\nthe {}\r\n")
    assert prompt_set(str(path)).templates == ("a {label}", "the {label}")


@pytest.mark.parametrize(
    ("spec", "error", "hint"),
    [
        pytest.param("simpel", UnknownName, "did you mean 'simple'", id="near miss"),
        pytest.param("zzz", UnknownName, "known: cifar18, openai7", id="far off"),
        pytest.param("a photo of a dog", BadInput, "no place for the label", id="a sentence"),
        pytest.param("nowhere.txt", BadInput, "'nowhere.txt' is not a file", id="no such file"),
        pytest.param([], BadInput, "at least one", id="empty list"),
        pytest.param(3, BadInput, "not understood", id="a number"),
    ],
)
def test_what_no_set_can_be_made_from(spec, error, hint):
    with pytest.raises(error, match=hint):
        prompt_set(spec)


def test_the_digest_is_that_of_the_templates_alone():
    one, two = PromptSet("one", ("a {label}",)), PromptSet("two", ("a {}",))
    assert one.digest == two.digest
    assert len(one.digest) == 12
    assert len({found.digest for found in prompt_sets().values()}) == len(prompt_sets())
