"""Labels are checked by what a tagger makes of them: length, vocabulary, embeddings that nearly coincide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import openvocab
from openvocab.pipeline.protocols import TextEmbeddings
from openvocab.prompts.templates import PromptSet, prompt_set
from openvocab.testing import FakeTagger


@dataclass(frozen=True)
class Angles(FakeTagger):
    """A tagger whose embeddings are given by their angles in degrees, and which reads eight tokens."""

    angles: Any = None
    context: int = 8

    def encode_labels(self, labels: Sequence[str], prompts: PromptSet | None = None) -> TextEmbeddings:
        """Return (C, 2) unit rows; labels without an angle are refused."""
        for label in labels:
            if label not in self.angles:
                raise openvocab.BadInput(f"no class {label!r}; choose another")
        turns = np.radians([self.angles[label] for label in labels])
        rows = np.stack([np.cos(turns), np.sin(turns)], axis=1).astype(np.float32)
        return TextEmbeddings(tuple(labels), prompts or prompt_set(), rows)

    def token_counts(self, labels: Sequence[str], prompts: PromptSet) -> list[int]:
        """Return the number of words of the longest sentence, and two."""
        return [max(len(text.split()) for text in prompts.fill(label)) + 2 for label in labels]


ANGLES = {"tent": 0, "moon": 5, "dog": 90, "comb": 178, "lamp": 184, "king": 187}


@pytest.mark.parametrize(
    ("labels", "more", "found"),
    [
        pytest.param("tent, dog, comb", {}, [], id="nothing"),
        pytest.param("dog, moon, tent", {}, [("embedding", ("moon", "tent"))], id="a pair once"),
        pytest.param(
            "comb, lamp, king", {}, [("embedding", ("comb", "lamp")), ("embedding", ("lamp", "king"))], id="nearest"
        ),
        pytest.param("tent, moon, dog", {"max_cosine": 0.999}, [], id="another limit"),
        pytest.param("tent, cup", {}, [("vocabulary", ("cup",))], id="a label that it refuses"),
        pytest.param("cup", {}, [("vocabulary", ("cup",))], id="nothing but labels that it refuses"),
        pytest.param("a very old tent", {}, [("length", ("a very old tent",))],
            id="a label that is too long is not compared"),
        pytest.param("tent", {"template": ["{label}", "one of the many photos of a {label}"]}, [("length", ("tent",))],
            id="the longest template counts"),
        pytest.param("tent, moon, Tent", {}, [("duplicate", ("tent", "Tent")), ("embedding", ("tent", "moon"))],
            id="in the order of kinds"),
        pytest.param("tent", {}, [], id="one label"),
    ],
)  # fmt: skip
def test_a_tagger_adds_findings(labels: str, more: dict[str, Any], found: list[tuple[str, tuple[str, ...]]]) -> None:
    template = {"template": "{label}"} | more
    findings = openvocab.label_findings(labels, Angles(angles=ANGLES, context=5), **template)
    assert [(each.kind, each.labels) for each in findings] == found


def test_many_labels_are_compared_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    angles = {f"{number} x": number * 2 for number in range(50)} | {"90.5 x": 90.5}
    whole = openvocab.label_findings(list(angles), Angles(angles=angles), "{label}", max_cosine=0.9998)
    monkeypatch.setattr("openvocab.pipeline.label_check._BLOCK", 7)
    assert openvocab.label_findings(list(angles), Angles(angles=angles), "{label}", max_cosine=0.9998) == whole
    assert [each.labels for each in whole if each.kind == "embedding"] == [("45 x", "90.5 x")]


def test_without_a_tagger_the_words_alone_are_checked(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("sofa\ncouch\nsofa\n", "utf-8")
    assert [each.kind for each in openvocab.label_findings(file)] == ["duplicate", "synonym"]
    assert openvocab.label_findings("voc") == ()


@pytest.mark.parametrize(
    ("labels", "more", "said"),
    [
        pytest.param([], {}, "no labels", id="no labels"),
        pytest.param("a, b", {"max_cosine": 1.5}, "max_cosine must lie in 0 to 1", id="max_cosine"),
        pytest.param("nowhere.txt", {}, "does not exist", id="no file"),
    ],
)
def test_what_cannot_be_checked_is_refused(labels: Any, more: dict[str, Any], said: str) -> None:
    with pytest.raises(openvocab.BadInput, match=said):
        openvocab.label_findings(labels, **more)


def test_the_embedded_tagger_names_what_it_was_not_trained_on() -> None:
    tagger = openvocab.load_tagger("pocket", "cpu", "float32")
    long = "tent beside a river " * 10
    found = openvocab.label_findings(["tent", "lightbulb", "steam engine", long], tagger)
    assert [(each.kind, each.labels[0], each.remedy.split(",")[0]) for each in found] == [
        ("length", long.strip(), "shorten it"),
        ("vocabulary", "lightbulb", "write 'light bulb'"),
        ("vocabulary", "steam engine", "choose other models"),
        ("vocabulary", long.strip(), "choose other models"),
    ]
    assert "makes 98 tokens, and the tagger reads 32" in found[0].cause
    assert openvocab.label_findings("tent, light bulb", tagger) == ()


def test_a_tagger_without_a_limit_is_not_asked_for_tokens() -> None:
    assert openvocab.label_findings(["tent " * 90], replace(FakeTagger(), label_scores={})) == ()
