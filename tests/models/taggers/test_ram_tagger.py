"""RAM and RAM++ answer as an independent plain reference does, on the published layout of weights and lists."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import openvocab
from openvocab.batch.relabel import relabel
from openvocab.errors import BadInput, BadWeights, UnknownName
from openvocab.models.taggers.clip_tagger import OpenClipTagger
from openvocab.models.taggers.ram_tagger import RamTagger
from openvocab.models.taggers.ram_tags import COMMON, RamTags
from openvocab.prompts.templates import prompt_set
from tests.models.taggers import ram_reference as plain
from tests.tiny import ram as tiny

KINDS = [
    pytest.param(tiny.write, tiny.Shape(), id="RAM++"),
    pytest.param(tiny.write_ram, tiny.Shape(descriptions=0), id="RAM"),
]
SIZES = [(64, 64), (40, 90), (9, 5), (1, 1)]


@pytest.fixture(scope="module")
def images(make_image: Callable[..., Any]) -> list[Any]:
    return [make_image(height, width, seed) for seed, (height, width) in enumerate(SIZES)]


@pytest.fixture(scope="module")
def plus(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.write(tmp_path_factory.mktemp("plus") / "ram")


def _load(spec: str) -> RamTagger:
    tagger = openvocab.load_tagger(f"ram:{spec}", "cpu", "float32")
    assert isinstance(tagger, RamTagger)
    return tagger


def _reference(kind: tiny.Shape, images: list[Any], labels: list[torch.Tensor] | None = None) -> Any:
    """(P, C) logits; for the checkpoint's own tags if labels is None."""
    state = tiny.state(kind)
    own = list(state["label_embed"].view(kind.tags, -1, kind.text)) if labels is None else labels
    rows = [plain.tokens(state, kind, plain.pixels(image, 4 * 4 * kind.window)) for image in images]
    return torch.stack([plain.logits(state, each, own) for each in rows]).numpy()


@pytest.mark.parametrize(("write", "kind"), KINDS)
def test_its_logits_are_those_of_a_plain_reference(write: Any, kind: Any, tmp_path: Path, images: list[Any]) -> None:
    tagger, expected = _load(write(tmp_path / "ram")), _reference(kind, images)
    assert min(expected.std(0).min(), expected.std(1).min()) > 0.05, "images and labels must matter"
    known = tagger.encode_labels(tiny.TAGS)
    np.testing.assert_allclose(tagger.raw_logits(tagger.encode_images(images), known), expected, atol=1e-5)


@pytest.mark.parametrize(("write", "kind"), KINDS)
def test_a_tag_passes_the_one_threshold_where_it_passes_its_own(
    write: Any, kind: Any, tmp_path: Path, make_image: Callable[..., Any]
) -> None:
    many = [make_image(30 + seed, 50, seed) for seed in range(24)]
    tagger = _load(write(tmp_path / "ram"))
    own = 1 / (1 + np.exp(-_reference(kind, many).astype(np.float64)))
    passed = own > np.array(tiny.THRESHOLDS)
    assert 0.1 < passed.mean() < 0.9 and not passed[:, 3].any()
    np.testing.assert_array_equal(tagger.score(many, list(tiny.TAGS)) >= COMMON, passed)
    pipe = openvocab.Pipeline(tagger, None, None, openvocab.Settings())
    assert pipe.settings.tag_threshold == COMMON
    tags = [{tag.label for tag in pipe(image, list(tiny.TAGS), max_tags=9).tags} for image in many]
    assert tags == [{tiny.TAGS[row] for row in np.flatnonzero(each)} for each in passed]


def test_labels_of_the_user_are_their_descriptions_in_clip(plus: str, tmp_path: Path, images: list[Any]) -> None:
    told = {"Sofa Bed": ["a long seat", "a soft bed", "cat"], "cat": ["a small dog"]}
    file = tmp_path / "tags.json"
    file.write_text(json.dumps([{label: texts} for label, texts in told.items()]), "utf-8")
    weights, _, clip = plus.partition("@")
    tagger, tower = _load(f"{weights}@{file}@{clip}"), OpenClipTagger.load(clip, "cpu", "float32")

    def embedded(texts: list[str]) -> torch.Tensor:
        with torch.inference_mode():
            rows: torch.Tensor = tower.model.encode_text(tower.tokenizer(texts))
        return torch.nn.functional.normalize(rows, dim=-1)

    sentences = ["a {label} here", "one {label}"]
    state = tiny.state(tiny.Shape())
    labels = [embedded(told["Sofa Bed"]), embedded(["a owl here", "one owl"]), embedded(told["cat"])]
    labels.append(state["label_embed"].view(5, 3, 16)[1])
    known = tagger.encode_labels(["sofa bed", "owl", "cat", "RED  dog"], prompt_set(sentences))
    got = tagger.raw_logits(tagger.encode_images(images), known)
    np.testing.assert_allclose(got, _reference(tiny.Shape(), images, labels), atol=1e-5)
    shifts = tagger.logits(tagger.encode_images(images), known) - got
    odds = [np.log(COMMON / (1 - COMMON)) - np.log(own / (1 - own)) for own in (0.5, 0.5, 0.65, 0.8)]
    np.testing.assert_allclose(shifts, np.tile(odds, (len(images), 1)), atol=1e-4)


def test_ram_averages_the_sentences_of_a_label(tmp_path: Path, images: list[Any]) -> None:
    spec = tiny.write_ram(tmp_path / "ram")
    tagger, tower = _load(spec), OpenClipTagger.load(spec.partition("@")[2], "cpu", "float32")
    sentences = prompt_set(["a {label} here", "one {label}", "{label}", "my {label}"])
    own = torch.from_numpy(tower.encode_labels(["owl"], sentences).embeddings)
    got = tagger.raw_logits(tagger.encode_images(images), tagger.encode_labels(["owl"], sentences))
    np.testing.assert_allclose(got, _reference(tiny.Shape(descriptions=0), images, [own]), atol=1e-5)


def test_the_text_tower_is_not_loaded_for_tags_alone(plus: str) -> None:
    tagger = _load(plus.partition("@")[0] + "@local-dir:/nowhere")
    assert len(tagger.encode_labels(["cat", "bird"]).labels) == 2
    with pytest.raises(BadWeights, match="nowhere"):
        tagger.encode_labels(["cat", "sofa"])


def test_features_of_a_run_are_relabeled(plus: str, tmp_path: Path, make_image: Callable[..., Any]) -> None:
    from PIL import Image

    for seed in range(3):
        Image.fromarray(make_image(40, 60, seed)).save(tmp_path / f"{seed}.png")
    tagger = _load(plus)
    pipe = openvocab.Pipeline(tagger, None, None, openvocab.Settings())
    pipe.run_to(tmp_path / "run", sorted(tmp_path.glob("*.png")), labels=["kite"], features="float32")
    labels = ["cat", "red dog", "kite"]
    run, vocabulary = openvocab.read_run(tmp_path / "run"), pipe.vocabulary(labels)
    relabel(run, tagger, tmp_path / "again", vocabulary, pipe.settings)
    again = [list(row.tags) for row in openvocab.read_run(tmp_path / "again")]
    expected = [list(pipe(tmp_path / f"{seed}.png", labels).tags) for seed in range(3)]
    assert any(again) and [[tag.label for tag in tags] for tags in again] == [
        [tag.label for tag in tags] for tags in expected
    ]


@pytest.mark.parametrize(
    ("file", "change", "why"),
    [
        pytest.param("ram_tag_list.txt", lambda text: text + "\nowl", "6 tags .* do not fit the 15", id="more tags"),
        pytest.param("ram_tag_list.txt", lambda text: text.replace("bird", "Cat"), "a tag twice", id="a tag twice"),
        pytest.param("ram_tag_list.txt", lambda text: "", "0 tags", id="no tags"),
        pytest.param("ram_tag_list_threshold.txt", lambda text: text + "0.5\n", "must have 5 numbers", id="thresholds"),
        pytest.param("ram_tag_list_threshold.txt", lambda text: text.replace("0.9", "x"), "no number", id="a word"),
        pytest.param("ram_tag_list_threshold.txt", lambda text: text.replace("0.9", "1.9"), "up to 1", id="over 1"),
    ],
)
def test_companion_files_that_do_not_fit_are_refused(file: str, change: Any, why: str, tmp_path: Path) -> None:
    spec = tiny.write(tmp_path / "ram")
    path = tmp_path / "ram" / file
    path.write_text(change(path.read_text("utf-8")), "utf-8")
    with pytest.raises(BadWeights, match=why):
        _load(spec)
    path.unlink()
    with pytest.raises(BadWeights, match="there is no such file; put the authors' ram_tag_list.txt"):
        _load(spec)


def test_another_order_of_tags_is_another_model(plus: str, tmp_path: Path) -> None:
    spec = tiny.write(tmp_path / "ram")
    assert _load(spec).record.sha256 == _load(plus).record.sha256
    path = tmp_path / "ram" / "ram_tag_list.txt"
    path.write_text("\n".join(tiny.TAGS[::-1]), "utf-8")
    assert _load(spec).record.sha256 != _load(plus).record.sha256


def test_the_published_number_of_tags_in_another_order_is_refused() -> None:
    names = [f"tag {row}" for row in range(4585)]
    with pytest.raises(BadWeights, match="others or in another order"):
        RamTags.of(names, ["0.5"] * 4585, np.zeros((4585, 2), np.float32), Path("folder"))


@pytest.mark.parametrize(
    ("lacks", "why"),
    [
        pytest.param("fc.weight", "not a complete RAM", id="a weight"),
        pytest.param("label_embed", "do not fit the 0 label embeddings", id="label embeddings"),
        pytest.param("visual_encoder.patch_embed.proj.weight", "not the weights of RAM", id="what gives a size"),
    ],
)
def test_incomplete_weights_are_refused(lacks: str, why: str, tmp_path: Path) -> None:
    spec = tiny.write(tmp_path / "ram")
    state = tiny.state(tiny.Shape())
    del state[lacks]
    torch.save({"model": state}, tmp_path / "ram" / "ram_plus_tiny.pth")
    with pytest.raises(BadWeights, match=why):
        _load(spec)


def test_the_older_name_of_the_decoder_is_read(plus: str, tmp_path: Path, images: list[Any]) -> None:
    spec = tiny.write(tmp_path / "ram")
    state = {name.replace("tagging_head", "vision_multi"): each for name, each in tiny.state(tiny.Shape()).items()}
    torch.save({"model": state}, tmp_path / "ram" / "ram_plus_tiny.pth")
    labels = list(tiny.TAGS)
    np.testing.assert_array_equal(_load(spec).score(images, labels), _load(plus).score(images, labels))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        pytest.param("{", "cannot be read as JSON", id="no JSON"),
        pytest.param('{"cat": "a sentence"}', "write descriptions", id="no list"),
        pytest.param("[1]", "write descriptions", id="no mapping"),
        pytest.param("[]", "write descriptions", id="nothing"),
    ],
)
def test_descriptions_in_another_form_are_refused(content: str, why: str, plus: str, tmp_path: Path) -> None:
    (tmp_path / "tags.json").write_text(content, "utf-8")
    with pytest.raises(BadWeights, match=why):
        _load(f"{plus.partition('@')[0]}@{tmp_path / 'tags.json'}")


def test_more_descriptions_than_the_checkpoint_has_are_refused(plus: str) -> None:
    with pytest.raises(BadInput, match="'sofa' has 4 descriptions; RAM\\+\\+ takes 3 at most"):
        _load(plus).encode_labels(["sofa"], prompt_set(["a {}", "b {}", "c {}", "d {}"]))


def test_a_name_without_a_file_is_that_of_published_weights() -> None:
    with pytest.raises(UnknownName, match="ram_plus_swin_large_14m"):
        _load("ram_plus_swin_large")
