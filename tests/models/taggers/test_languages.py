"""Labels and templates in any script go whole into the text towers that read many languages, and come out unchanged."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

import openvocab
from openvocab.models.taggers.clip_tagger import OpenClipTagger
from openvocab.models.taggers.dual_encoder import DualEncoder
from openvocab.prompts.templates import PromptSet
from tests.tiny import metaclip2, siglip
from tests.tiny.open_clip import write_xlm_roberta

LABELS = ("猫", "黒い犬", "собака", "Größe", "قطة صغيرة", "कुत्ता", "หมา", "が", "é", "cat")
"""Of several scripts, with a label of two words, capitals, combining marks and right-to-left text."""
TEMPLATE = "это фото: {label}"
KEPT = ("ﬁsh", "ｃａｔ", "²")
"""A ligature, wide letters and a power: NFKC would turn them into others."""
LETTERS = "".join(sorted({each for each in "".join((*LABELS, *KEPT, TEMPLATE, "größe")) if not each.isascii()}))

WRITERS = {
    "siglip": ("siglip", siglip.write),
    "siglip naflex": ("siglip", siglip.write_naflex),
    "metaclip2": ("metaclip2", metaclip2.write),
    "xlm-roberta": ("open_clip", write_xlm_roberta),
}
CANONICAL = ("siglip", "siglip naflex")
"""Trained on text in lower case without ASCII punctuation; see SiglipTagger."""
KINDS = pytest.mark.parametrize("kind", WRITERS)


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("languages")
    return {
        kind: f"{family}:{write(root / kind.replace(' ', '-'), LETTERS)}" for kind, (family, write) in WRITERS.items()
    }


@pytest.fixture(scope="module")
def taggers(specs: dict[str, str]) -> dict[str, DualEncoder]:
    loaded: dict[str, Any] = {kind: openvocab.load_tagger(spec, "cpu", "float32") for kind, spec in specs.items()}
    return loaded


@KINDS
@pytest.mark.parametrize("label", LABELS)
def test_a_sentence_is_read_whole(label: str, kind: str, taggers: dict[str, DualEncoder]) -> None:
    sentence = PromptSet("own", (TEMPLATE,)).fill(label)[0]
    count, read = taggers[kind]._measure(sentence)
    expected = sentence.lower().replace(":", "") if kind in CANONICAL else sentence
    assert read == expected
    assert len(label) < count <= taggers[kind].context


@KINDS
def test_labels_come_out_as_they_were_written(kind: str, taggers: dict[str, DualEncoder]) -> None:
    known = taggers[kind].encode_labels(LABELS, PromptSet("own", (TEMPLATE,)))
    assert known.labels == LABELS and all(unicodedata.is_normalized("NFC", label) for label in LABELS)
    assert known.prompts.templates == (TEMPLATE,)
    cosines = known.embeddings @ known.embeddings.T
    assert max(cosines[one, other] for one, other in combinations(range(len(LABELS)), 2)) < 1 - 1e-6


@KINDS
def test_the_template_counts(kind: str, taggers: dict[str, DualEncoder]) -> None:
    own, other = (taggers[kind].encode_labels(LABELS, PromptSet("one", (each,))) for each in (TEMPLATE, "{label}"))
    assert not np.allclose(own.embeddings, other.embeddings, atol=1e-3)


@KINDS
def test_a_result_names_labels_and_template(
    kind: str, taggers: dict[str, DualEncoder], make_image: Callable[..., Any]
) -> None:
    pipe = openvocab.Pipeline(taggers[kind], None, None, openvocab.Settings(tag_threshold=0.0))
    result = pipe(make_image(40, 40, 1), LABELS, template=TEMPLATE)
    assert sorted(tag.label for tag in result.tags) == sorted(LABELS)
    assert result.classes == LABELS and result.run.templates == (TEMPLATE,)


def test_decomposed_labels_are_composed(taggers: dict[str, DualEncoder]) -> None:
    """The one change to a label is NFC, which looks the same."""
    known = taggers["metaclip2"].encode_labels([unicodedata.normalize("NFD", "が"), *KEPT])
    assert known.labels == ("が", *KEPT)


@KINDS
def test_labels_that_a_tokenizer_does_not_know_are_not_told_to_be_shorter(
    kind: str, taggers: dict[str, DualEncoder]
) -> None:
    with pytest.raises(openvocab.BadInput, match="'狗' and '鳥' are the same.*a model that reads their language"):
        taggers[kind].encode_labels(["cat", "狗", "鳥"])


def test_a_text_tower_of_transformers_is_loaded_from_a_folder(
    specs: dict[str, str],
    taggers: dict[str, DualEncoder],
    make_image: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """open_clip's own loading, told where the text tower's configuration is, gives the same embeddings."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    tagger, spec = taggers["xlm-roberta"], specs["xlm-roberta"].removeprefix("open_clip:")
    assert isinstance(tagger, OpenClipTagger)
    text = open_clip.get_model_config(spec)["text_cfg"]
    beside = {**text, "hf_model_name": spec.removeprefix("local-dir:"), "hf_model_pretrained": False}
    model, _, pixels = open_clip.create_model_and_transforms(spec, text_cfg=beside)
    image, sentences = make_image(40, 40, 1), [PromptSet("own", (TEMPLATE,)).fill(label)[0] for label in LABELS]
    with torch.no_grad():
        words = model.eval().encode_text(open_clip.get_tokenizer(spec)(sentences), normalize=True)
        looks = model.encode_image(pixels(Image.fromarray(image))[None], normalize=True)
    known = tagger.encode_labels(LABELS, PromptSet("own", (TEMPLATE,)))
    np.testing.assert_allclose(known.embeddings, words.numpy(), atol=1e-5)
    np.testing.assert_allclose(tagger.encode_images([image]), looks.numpy(), atol=1e-5)
