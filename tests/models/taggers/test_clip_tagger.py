"""The open_clip adapter gives what open_clip's own recipe gives, and says what is wrong with a checkpoint."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from openvocab.errors import BadInput, BadOutput, BadWeights, OpenVocabWarning, UnknownName
from openvocab.models.taggers.clip_tagger import OpenClipTagger, preprocessing
from openvocab.pipeline.scores import sigmoid, softmax
from openvocab.prompts.templates import PromptSet
from openvocab.weights.files import sha256_of
from tests.tiny.open_clip import write_kind

LABELS = ["cat", "red kite", "aardvark", "fire engine", "teapot"]
SIZES = [(40, 40), (30, 90), (90, 30), (1, 1), (33, 47)]
ENSEMBLE = PromptSet("three", ("a photo of a {label}.", "{label}", "art of the {label}"))
KINDS = ["softmax", "sigmoid", "siglip", "coca", "pe", "mobileclip"]


@pytest.fixture(scope="module")
def clip_folders(clip_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of every kind: those of the whole test suite, SigLIP's text tower and CoCa's."""
    root = tmp_path_factory.mktemp("kinds")
    return clip_folders | {kind: Path(write_kind(root / kind, kind).removeprefix("local-dir:")) for kind in KINDS[2:]}


@pytest.fixture(scope="module")
def taggers(clip_folders: dict[str, Path]) -> dict[str, OpenClipTagger]:
    load = OpenClipTagger.load
    return {kind: load(f"local-dir:{folder}", "cpu", "float32") for kind, folder in clip_folders.items()}


@pytest.fixture(scope="module")
def images(make_image: Callable[..., Any]) -> list[Any]:
    return [make_image(height, width, seed) for seed, (height, width) in enumerate(SIZES)]


def _recipe(folder: Path, images: list[Any], labels: list[str]) -> Any:
    """The scores as open_clip's README computes them."""
    name = f"local-dir:{folder}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    model.eval()
    pixels = torch.stack([preprocess(Image.fromarray(each)) for each in images])
    text = open_clip.get_tokenizer(name)([f"This is a photo of a {label}" for label in labels])
    with torch.no_grad():
        image_features = model.encode_image(pixels)
        text_features = model.encode_text(text)
        image_features /= image_features.norm(dim=-1, keepdim=True)
        text_features /= text_features.norm(dim=-1, keepdim=True)
        logits = model.logit_scale.exp() * image_features @ text_features.T
        if model.logit_bias is not None:
            return (logits + model.logit_bias).sigmoid().numpy()
        return logits.softmax(dim=-1).numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_the_upstream_recipe(
    kind: str, taggers: dict[str, OpenClipTagger], clip_folders: dict[str, Path], images: list[Any]
) -> None:
    got = taggers[kind].score(images, LABELS)
    assert got.shape == (len(SIZES), len(LABELS))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, _recipe(clip_folders[kind], images, LABELS), atol=1e-5)
    assert taggers[kind].independent == (kind in ("sigmoid", "siglip"))
    if not taggers[kind].independent:
        np.testing.assert_allclose(got.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("texts", [3, 7, 256], ids="{} texts a batch".format)
def test_label_embeddings_are_the_upstream_zero_shot_weights(
    kind: str, texts: int, taggers: dict[str, OpenClipTagger], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openvocab.models.taggers.dual_encoder.TEXTS_A_BATCH", texts)
    tagger = taggers[kind]
    got = tagger.encode_labels(LABELS, ENSEMBLE)
    fill = [template.replace("{label}", "{}") for template in ENSEMBLE.templates]
    expected = open_clip.build_zero_shot_classifier(tagger.model, tagger.tokenizer, LABELS, fill)
    np.testing.assert_allclose(got.embeddings, expected.T.numpy(), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(got.embeddings, axis=1), 1, rtol=1e-5)
    assert (got.labels, got.prompts) == (tuple(LABELS), ENSEMBLE)


def test_order_of_labels_changes_nothing_else(taggers: dict[str, OpenClipTagger], images: list[Any]) -> None:
    straight = taggers["softmax"].score(images, LABELS)
    turned = taggers["softmax"].score(images, LABELS[::-1])
    np.testing.assert_allclose(turned[:, ::-1], straight, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 2, 32])
def test_neighbors_in_a_batch_change_nothing(batch: int, taggers: dict[str, OpenClipTagger], images: list[Any]) -> None:
    tagger = replace(taggers["softmax"], batch=batch)
    vocabulary = tagger.encode_labels(LABELS)
    alone = np.concatenate([tagger.score([each], vocabulary) for each in images])
    np.testing.assert_allclose(tagger.score(images, vocabulary), alone, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_no_image_gives_no_row(kind: str, taggers: dict[str, OpenClipTagger]) -> None:
    assert taggers[kind].score([], LABELS).shape == (0, len(LABELS))


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_is_close(
    kind: str, clip_folders: dict[str, Path], taggers: dict[str, OpenClipTagger], images: list[Any]
) -> None:
    low = OpenClipTagger.load(f"local-dir:{clip_folders[kind]}", "cpu", "bfloat16")
    assert (low.record.dtype, next(low.model.parameters()).dtype) == ("bfloat16", torch.bfloat16)
    assert (low.scale, low.bias) == (taggers[kind].scale, taggers[kind].bias), "read before the precision is lowered"
    np.testing.assert_allclose(low.score(images, LABELS), taggers[kind].score(images, LABELS), atol=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_quick_pixels_change_scores_by_less_than_a_thousandth(
    kind: str, taggers: dict[str, OpenClipTagger], make_image: Callable[..., Any]
) -> None:
    """What bfloat16 weights are given, here with float32 ones, so that the difference is that of the pixels alone."""
    tagger = taggers[kind]
    quick = preprocessing(tagger.model, tagger.preprocess, torch.bfloat16)
    seen = [make_image(height, width, 7) for height, width in [(48, 64), (64, 64), (30, 90), (90, 30), (120, 160)]]
    got = replace(tagger, preprocess=quick).score(seen, LABELS)
    np.testing.assert_allclose(got, tagger.score(seen, LABELS), atol=1e-3)


def test_record_says_which_weights(clip_folders: dict[str, Path], taggers: dict[str, OpenClipTagger]) -> None:
    record = taggers["softmax"].record
    assert record.spec == f"open_clip:local-dir:{clip_folders['softmax']}"
    assert record.sha256 == sha256_of(clip_folders["softmax"] / "open_clip_model.safetensors")
    assert (record.device, record.dtype) == ("cpu", "float32")


def test_too_long_label_is_named(taggers: dict[str, OpenClipTagger]) -> None:
    with pytest.warns(OpenVocabWarning, match="reads 24"):
        taggers["softmax"].encode_labels(["cat", "very " * 40 + "long"])


def test_labels_that_are_one_after_the_cut_are_refused(taggers: dict[str, OpenClipTagger]) -> None:
    with pytest.raises(BadInput, match="same text"):
        taggers["softmax"].encode_labels(["very " * 40 + "long", "very " * 40 + "short"])


def test_image_without_an_answer_is_named(taggers: dict[str, OpenClipTagger], images: list[Any]) -> None:
    tagger = taggers["softmax"]
    seen: list[int] = []

    def broken(image: Any) -> torch.Tensor:
        seen.append(1)
        return tagger.preprocess(image) * (float("nan") if len(seen) == 4 else 1)

    with pytest.raises(BadOutput, match="image 3 "):
        replace(tagger, preprocess=broken, batch=2).encode_images(images)


def _no_config(folder: Path) -> None:
    (folder / "open_clip_config.json").unlink()


def _broken_config(folder: Path) -> None:
    (folder / "open_clip_config.json").write_text("{", "utf-8")


def _no_weights(folder: Path) -> None:
    (folder / "open_clip_model.safetensors").unlink()


def _pointer(folder: Path) -> None:
    (folder / "open_clip_model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n", "utf-8")


def _other_width(folder: Path) -> None:
    config = json.loads((folder / "open_clip_config.json").read_text("utf-8"))
    config["model_cfg"]["text_cfg"]["width"] = 64
    (folder / "open_clip_config.json").write_text(json.dumps(config), "utf-8")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(shutil.rmtree, "no such folder", id="absent"),
        pytest.param(_no_config, "no open_clip_config.json", id="no configuration"),
        pytest.param(_broken_config, "do not fit|configuration", id="broken configuration"),
        pytest.param(_no_weights, "no weights", id="no weights"),
        pytest.param(_pointer, "Git LFS pointer", id="LFS pointer"),
        pytest.param(_other_width, "do not fit the architecture", id="other architecture"),
    ],
)
def test_bad_folder_is_refused_in_one_sentence(
    tmp_path: Path, clip_folders: dict[str, Path], spoil: Callable[[Path], None], message: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(clip_folders["softmax"], folder)
    spoil(folder)
    with pytest.raises(BadWeights, match=message) as caught:
        OpenClipTagger.load(f"local-dir:{folder}", "cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        pytest.param("ViT-B-32", BadInput, "names no weights", id="no weights named"),
        pytest.param("ViT-B-33/openai", UnknownName, "did you mean 'ViT-B-32'", id="unknown architecture"),
        pytest.param("zzz/openai", UnknownName, r"^.{,200} others$", id="nothing near, and not all names there are"),
        pytest.param("tests", BadInput, "is a folder; write it as local-dir:tests$", id="a folder alone"),
        pytest.param("ViT-B-32/laion2b_s34b_b79", UnknownName, "laion2b_s34b_b79k", id="unknown tag"),
        pytest.param("ViT-B-32/absent/weights.pth", BadWeights, "no such file", id="absent file"),
        pytest.param("hf-hub:org/absent", BadWeights, "not in the cache|could not be", id="not on the hub"),
    ],
)
def test_bad_spec_is_refused(
    spec: str, error: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tests").mkdir()
    with pytest.raises(error, match=message):
        OpenClipTagger.load(spec, "cpu")


@pytest.fixture(scope="module")
def architecture(clip_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The softmax model's architecture, made known to open_clip by a name."""
    config = json.loads((clip_folders["softmax"] / "open_clip_config.json").read_text("utf-8"))["model_cfg"]
    path = tmp_path_factory.mktemp("architecture") / "tiny-softmax.json"
    path.write_text(json.dumps(config), "utf-8")
    open_clip.add_model_config(path)
    return path.stem


def test_architecture_with_a_file(
    architecture: str, clip_folders: dict[str, Path], taggers: dict[str, OpenClipTagger]
) -> None:
    path = clip_folders["softmax"] / "open_clip_model.safetensors"
    tagger = OpenClipTagger.load(f"{architecture}/{path}", "cpu", "float32")
    expected = taggers["softmax"].encode_labels(LABELS).embeddings
    np.testing.assert_allclose(tagger.encode_labels(LABELS).embeddings, expected, atol=1e-6)
    assert tagger.record.sha256 == taggers["softmax"].record.sha256


def test_architecture_with_a_file_of_another_one_is_refused(architecture: str, clip_folders: dict[str, Path]) -> None:
    with pytest.raises(BadWeights, match="do not fit the architecture"):
        OpenClipTagger.load(f"{architecture}/{clip_folders['sigmoid'] / 'open_clip_model.safetensors'}", "cpu")


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        pytest.param([[0.0, 0.0]], [[0.5, 0.5]], id="even"),
        pytest.param([[1000.0, 0.0]], [[1.0, 0.0]], id="far apart"),
        pytest.param([[-1000.0, -1000.0]], [[0.5, 0.5]], id="very low"),
    ],
)
def test_softmax(logits: list[list[float]], expected: list[list[float]]) -> None:
    np.testing.assert_allclose(softmax(np.array(logits, np.float32)), expected)


def test_sigmoid_of_any_logit() -> None:
    np.testing.assert_allclose(
        sigmoid(np.array([-1000.0, 0.0, 1000.0, 2.0])), [0, 0.5, 1, 1 / (1 + np.exp(-2))], rtol=1e-6
    )


def test_no_logit_at_all() -> None:
    assert softmax(np.zeros((0, 3))).shape == (0, 3)
    assert sigmoid(np.zeros((0, 3))).shape == (0, 3)
