"""The adapters of transformers' taggers give what its zero-shot-image-classification pipeline gives."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import openvocab
from openvocab.errors import BadInput, BadOutput, BadWeights, MissingExtra, OpenVocabWarning
from openvocab.models.taggers import dual_encoder
from openvocab.models.taggers.transformers_tagger import TransformersTagger
from openvocab.prompts.templates import PromptSet
from openvocab.weights.files import sha256_of
from tests.tiny import clip, metaclip2, siglip

LABELS = ["cat", "red kite", "Aardvark", "fire-engine, old", "teapot"]
CANONICAL = ["cat", "red kite", "aardvark", "fireengine old", "teapot"]
SIZES = [(40, 40), (30, 90), (90, 30), (1, 1), (33, 47), (1, 50)]
ENSEMBLE = PromptSet("three", ("a photo of a {label}.", "{label}", "art of the {label}"))
WRITERS = {
    "clip": ("clip", clip.write),
    "siglip": ("siglip", siglip.write),
    "siglip naflex": ("siglip", siglip.write_naflex),
    "metaclip2": ("metaclip2", metaclip2.write),
}
KINDS = sorted(WRITERS)
MAKERS = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("taggers")
    return {kind: write(root / kind.replace(" ", "-")) for kind, (_, write) in WRITERS.items()}


def _load(folders: dict[str, str], kind: str, dtype: str = "float32") -> TransformersTagger:
    tagger = openvocab.load_tagger(f"{WRITERS[kind][0]}:{folders[kind]}", "cpu", dtype)
    assert isinstance(tagger, TransformersTagger)
    return tagger


@pytest.fixture(scope="module")
def taggers(folders: dict[str, str]) -> dict[str, TransformersTagger]:
    return {kind: _load(folders, kind) for kind in KINDS}


@pytest.fixture(scope="module")
def images(make_image: Callable[..., Any]) -> list[Any]:
    return [make_image(height, width, seed) for seed, (height, width) in enumerate(SIZES)]


def _upstream(folder: str, images: list[Any], labels: list[str], template: str) -> Any:
    from transformers import pipeline

    classify = pipeline("zero-shot-image-classification", model=folder, device="cpu")
    rows = []
    for each in images:
        answer = classify(Image.fromarray(each), candidate_labels=labels, hypothesis_template=template)
        scores = {one["label"]: one["score"] for one in answer}
        rows.append([scores[label] for label in labels])
    return np.array(rows)


@MAKERS
def test_scores_are_those_of_the_pipeline(
    kind: str, taggers: dict[str, TransformersTagger], folders: dict[str, str], images: list[Any]
) -> None:
    got = taggers[kind].score(images, LABELS)
    canonical = kind.startswith("siglip")
    labels, template = (CANONICAL, "this is a photo of a {}") if canonical else (LABELS, "This is a photo of a {}")
    expected = _upstream(folders[kind], images, labels, template)
    assert got.dtype == np.float32
    assert taggers[kind].independent == kind.startswith("siglip")
    assert expected.std(axis=0).min() > 1e-3, "the images must matter"
    np.testing.assert_allclose(got, expected, atol=1e-5)


@MAKERS
def test_label_embeddings_are_the_mean_of_the_templates(kind: str, taggers: dict[str, TransformersTagger]) -> None:
    tagger = taggers[kind]
    got = tagger.encode_labels(LABELS, ENSEMBLE)
    alone = [tagger.encode_labels(LABELS, PromptSet("one", (each,))).embeddings for each in ENSEMBLE.templates]
    mean = np.mean(alone, axis=0)
    expected = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    np.testing.assert_allclose(got.embeddings, expected, atol=1e-5)
    assert (got.labels, got.prompts) == (tuple(LABELS), ENSEMBLE)


@MAKERS
@pytest.mark.parametrize("texts", [1, 3, 256], ids="{} texts a batch".format)
def test_longer_neighbors_change_no_sentence(
    kind: str, texts: int, taggers: dict[str, TransformersTagger], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sentences of a batch are as long as its longest; those of the pipeline's whole context are the measure."""
    monkeypatch.setattr(dual_encoder, "TEXTS_A_BATCH", texts)
    tagger = taggers[kind]
    given = tagger.tokenizer(
        [tagger._clean(f"This is a photo of a {label}") for label in LABELS],
        padding="max_length",
        max_length=tagger.context,
        truncation=True,
        return_tensors="pt",
    )
    with torch.inference_mode():
        rows = tagger.model.get_text_features(**given).pooler_output
    expected = torch.nn.functional.normalize(rows, dim=-1).numpy()
    np.testing.assert_allclose(tagger.encode_labels(LABELS).embeddings, expected, atol=1e-5)


@MAKERS
def test_order_of_labels_changes_nothing_else(
    kind: str, taggers: dict[str, TransformersTagger], images: list[Any]
) -> None:
    straight = taggers[kind].score(images, LABELS)
    turned = taggers[kind].score(images, LABELS[::-1])
    np.testing.assert_allclose(turned[:, ::-1], straight, atol=1e-5)


@MAKERS
@pytest.mark.parametrize("batch", [1, 2, 32])
def test_neighbors_in_a_batch_change_nothing(
    kind: str, batch: int, taggers: dict[str, TransformersTagger], images: list[Any]
) -> None:
    tagger = replace(taggers[kind], batch=batch)
    vocabulary = tagger.encode_labels(LABELS)
    alone = np.concatenate([tagger.score([each], vocabulary) for each in images])
    np.testing.assert_allclose(tagger.score(images, vocabulary), alone, atol=1e-5)


@MAKERS
def test_no_image_and_one_label(kind: str, taggers: dict[str, TransformersTagger], images: list[Any]) -> None:
    assert taggers[kind].score([], LABELS).shape == (0, len(LABELS))
    one = taggers[kind].score(images[:1], ["cat"])
    assert one.shape == (1, 1)
    assert kind.startswith("siglip") or one[0, 0] == 1


@MAKERS
def test_bfloat16_is_close(
    kind: str, taggers: dict[str, TransformersTagger], folders: dict[str, str], images: list[Any]
) -> None:
    low = _load(folders, kind, "bfloat16")
    assert (low.record.dtype, low.model.dtype) == ("bfloat16", torch.bfloat16)
    assert (low.scale, low.bias) == (taggers[kind].scale, taggers[kind].bias), "read before the precision is lowered"
    np.testing.assert_allclose(low.score(images, LABELS), taggers[kind].score(images, LABELS), atol=0.03)


@pytest.mark.parametrize("kind", ["siglip", "siglip naflex"])
@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        pytest.param("Fire_Engine", "fire engine", id="underscore and case"),
        pytest.param("  a  'Cat',\tmaybe! ", "a cat maybe", id="punctuation and spaces"),
        pytest.param("fish &amp; chips", "fish chips", id="entity"),
        pytest.param("ÉTAGÈRE", "étagère", id="accents"),
    ],
)
def test_siglip_reads_canonical_text(
    kind: str, written: str, canonical: str, taggers: dict[str, TransformersTagger]
) -> None:
    """SigLIP was trained on lower-cased text without punctuation; the tokenizer of SigLIP 2 keeps both."""
    plain = PromptSet("plain", ("{label}",))
    got, expected = (taggers[kind].encode_labels([text], plain).embeddings for text in (written, canonical))
    np.testing.assert_array_equal(got, expected)


def test_siglip_through_transformers_gets_the_tokens_of_open_clip(
    folders: dict[str, str], taggers: dict[str, TransformersTagger]
) -> None:
    from open_clip.tokenizer import HFTokenizer

    texts = ["This is a photo of a Fire-Engine, OLD.", "2 Cats & a_dog"]
    tagger, seen = taggers["siglip"], []
    expected = HFTokenizer(folders["siglip"], context_length=tagger.context, clean="canonicalize")(texts)
    text_tower = tagger.model.text_model.register_forward_pre_hook(
        lambda _, args, given: seen.append(given["input_ids"]), with_kwargs=True
    )
    try:
        with torch.inference_mode():
            tagger._embed_texts(texts)
    finally:
        text_tower.remove()
    assert seen[0].tolist() == expected.tolist()


@MAKERS
def test_text_preparation_tells_cleaning_apart(kind: str, taggers: dict[str, TransformersTagger]) -> None:
    """A cache of embeddings is keyed by it: one written before sentences were made canonical must not be read."""
    tagger = taggers[kind]
    raw = len(tagger.tokenizer(dual_encoder._PROBE).input_ids)
    assert (tagger.text_preparation.split()[1] == f"({raw},") == (not kind.startswith("siglip"))


def test_record_says_which_weights(folders: dict[str, str], taggers: dict[str, TransformersTagger]) -> None:
    record = taggers["clip"].record
    assert record.spec == f"clip:{folders['clip']}"
    assert record.sha256 == sha256_of(Path(folders["clip"]) / "model.safetensors")
    assert (record.device, record.dtype) == ("cpu", "float32")


@MAKERS
def test_too_long_label_is_named(kind: str, taggers: dict[str, TransformersTagger]) -> None:
    with pytest.warns(OpenVocabWarning, match="the tagger reads (32|64)"):
        taggers[kind].encode_labels(["cat", "zebra " * 20 + "long"])


@MAKERS
def test_labels_that_are_one_after_the_cut_are_refused(kind: str, taggers: dict[str, TransformersTagger]) -> None:
    with pytest.raises(BadInput, match="same text"):
        taggers[kind].encode_labels(["zebra " * 20 + "long", "zebra " * 20 + "short"])


def test_image_without_an_answer_is_named(taggers: dict[str, TransformersTagger], images: list[Any]) -> None:
    tagger, seen = taggers["clip"], []

    def broken(images: list[Any], **options: Any) -> Any:
        given = tagger.image_processor(images=images, **options)
        seen.append(given)
        return given if len(seen) < 3 else given.__class__({"pixel_values": given.pixel_values * float("nan")})

    with pytest.raises(BadOutput, match="image 2 "):
        replace(tagger, image_processor=broken, batch=2).encode_images(images)


def _other_type(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "owlvit"}), "utf-8")


def _no_tokenizer(folder: Path) -> None:
    for path in folder.glob("*token*"):
        path.unlink()


def _no_processor(folder: Path) -> None:
    for name in ("processor_config.json", "preprocessor_config.json"):
        (folder / name).unlink(missing_ok=True)


def _pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n", "utf-8")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(shutil.rmtree, "no such folder", id="absent"),
        pytest.param(_other_type, "no CLIP model but one of type 'owlvit'", id="another kind of model"),
        pytest.param(_no_tokenizer, "tokenizer", id="no tokenizer"),
        pytest.param(_no_processor, "preprocessing", id="no image processor"),
        pytest.param(_pointer, "Git LFS pointer", id="LFS pointer"),
    ],
)
def test_bad_folder_is_refused_in_one_sentence(
    tmp_path: Path, folders: dict[str, str], spoil: Callable[[Path], None], message: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(folders["clip"], folder)
    spoil(folder)
    with pytest.raises(BadWeights, match=message) as caught:
        openvocab.load_tagger(f"clip:{folder}", "cpu")
    assert "\n" not in str(caught.value)


def test_a_tokenizer_that_needs_a_package_says_which(
    tmp_path: Path, folders: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first SigLIP's tokenizer is a SentencePiece model, which transformers reads with a package of its own."""
    import transformers

    def absent(*args: Any, **options: Any) -> None:
        raise ImportError("\nSiglipTokenizer requires the SentencePiece library but it was not found")

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", absent)
    with pytest.raises(MissingExtra, match=r"pip install 'openvocab\[siglip\]'"):
        openvocab.load_tagger(f"siglip:{folders['siglip']}", "cpu")
