"""`openvocab labels`: the listings, and the check with its exit status."""

from __future__ import annotations

import json

import pytest

from openvocab.ui.cli.main import main


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        pytest.param(["voc"], 0, "", id="nothing found"),
        pytest.param(["sofa, couch"], 1, "synonym: 'sofa' and 'couch' mean the same", id="found"),
        pytest.param(["apple, sofa", "--tagger", "pocket"], 1, "vocabulary: 'sofa' is not in", id="by a tagger"),
        pytest.param(["apple, peach", "--tagger", "pocket", "--max-cosine", "0.5"], 1, "embedding: ", id="a limit"),
        pytest.param(["apple, peach", "--tagger", "pocket"], 0, "", id="no finding of a tagger"),
        pytest.param(["apple", "--template", "no place"], 2, "", id="a template without a place"),
        pytest.param(["apple", "--tagger", "nothing:x"], 2, "", id="no such tagger"),
    ],
)
def test_check_returns_1_if_it_finds_something(
    arguments: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["labels", "check", *arguments]) == status
    out = capsys.readouterr().out
    assert said in out
    assert bool(out) == bool(said)


def test_the_summary_counts_findings_and_says_what_was_not_checked(capsys: pytest.CaptureFixture[str]) -> None:
    main(["labels", "check", "sofa, couch, dog, poodle, cats, cat, cat"])
    err = capsys.readouterr().err
    assert "1 duplicate, 1 plural, 1 synonym, 1 parent\n" in err
    assert "only the words were checked" in err


def test_check_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["labels", "check", "dog, poodle", "--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed["tagger"] is None
    (finding,) = printed["findings"]
    assert (finding["kind"], finding["labels"]) == ("parent", ["dog", "poodle"])
    assert finding.keys() == {"kind", "labels", "cause", "remedy"}


@pytest.mark.parametrize("arguments", [["labels"], ["labels", "list"]], ids=" ".join)
def test_labels_alone_lists_the_sets(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    assert "coco" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--json", "list"], ["list", "--json"]], ids=" ".join)
def test_json_stands_before_or_after_the_action(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["labels", *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["coco"] == 80
