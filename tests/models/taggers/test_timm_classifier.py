"""A timm checkpoint as a tagger gives what timm's own model and transform give."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import openvocab
from openvocab.errors import BadWeights, UnknownName
from openvocab.models.taggers.timm_classifier import TimmClassifier
from tests.tiny import timm_classifier as tiny
from tests.weights.hub import environment, python, serving

SIZES = [(40, 40), (300, 190), (90, 330), (1, 1), (160, 160)]


@pytest.fixture(scope="module")
def images(make_image: Callable[..., Any]) -> list[Any]:
    return [make_image(height, width, seed) for seed, (height, width) in enumerate(SIZES)]


def _load(spec: str, dtype: str = "float32") -> TimmClassifier:
    tagger = openvocab.load_tagger(f"classifier:{spec}", "cpu", dtype)
    assert isinstance(tagger, TimmClassifier)
    return tagger


def _upstream(model: Any, images: list[Any]) -> Any:
    """(P, K) probabilities of timm's recipe for inference."""
    data = timm.data.resolve_model_data_config(model)
    transform = timm.data.create_transform(**data, is_training=False)
    with torch.inference_mode():
        return torch.cat([model(transform(Image.fromarray(each))[None]) for each in images]).softmax(-1).numpy()


@pytest.mark.parametrize("safe", [pytest.param(True, id="safetensors"), pytest.param(False, id="pytorch_model.bin")])
def test_a_folder_of_timm_answers_as_timm(safe: bool, tmp_path: Path, images: list[Any]) -> None:
    folder = tiny.write(tmp_path, safe=safe)
    tagger = _load(folder)
    expected = _upstream(timm.create_model(f"local-dir:{folder}", pretrained=True).eval(), images)
    assert expected.std(axis=0).max() > 1e-2, "the images must matter"
    np.testing.assert_allclose(tagger.score(images, ["tench", "goldfish", "crane"]), expected, atol=1e-5)
    assert tagger.names == ("tench, Tinca tinca", "goldfish, Carassius auratus", "crane")


def test_weights_alone_answer_as_timm_with_the_preprocessing_of_the_architecture(
    tmp_path: Path, images: list[Any]
) -> None:
    tagger = _load(tiny.write_weights(tmp_path / "weights.pth"))
    expected = _upstream(tiny.build(1000), images)
    np.testing.assert_allclose(np.exp(tagger.encode_images(images)), expected, atol=1e-5)
    np.testing.assert_allclose(tagger.score(images, ["dog"])[:, 0], expected[:, 151:269].sum(axis=1), atol=1e-5)


def test_weights_named_as_efficientnet_pytorch_names_them_are_renamed(tmp_path: Path, images: list[Any]) -> None:
    state = tiny.build(1000).state_dict()
    names = ["_conv_stem.weight", *(f"_blocks.{row}" for row in range(1, len(state)))]
    torch.save(dict(zip(names, state.values(), strict=True)), tmp_path / "other.pth")
    got = _load(f"timm/{tiny.ARCHITECTURE}@{tmp_path / 'other.pth'}").encode_images(images)
    expected = _load(tiny.write_weights(tmp_path / "own.pth")).encode_images(images)
    np.testing.assert_array_equal(got, expected)


def test_classes_without_names_are_imagenets_where_they_are_as_many(tmp_path: Path) -> None:
    folder = tiny.write(tmp_path, classes=1000)
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    for name in ("label_names", "label_descriptions"):
        config.pop(name, None)
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    tagger = _load(folder)
    assert tagger.names[0] == "tench, Tinca tinca"
    assert tagger.encode_labels(["dog"]).embeddings.sum() == 118


def test_a_repository_in_timms_layout_is_loaded_by_its_name(tmp_path: Path) -> None:
    folder = Path(tiny.write(tmp_path / "model"))
    code = """
        import openvocab
        tagger = openvocab.load_tagger("classifier:timm/tiny.test", "cpu", "float32")
        print(tagger.record.spec, tagger.record.sha256, *tagger.encode_labels(["tench", "crane"]).embeddings[:, 0])
    """
    with serving() as hub:
        hub.repositories["timm/tiny.test"] = {path.name: path.read_bytes() for path in folder.iterdir()}
        done = python(dedent(code), environment(hub, tmp_path))
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert done.stdout.split() == ["classifier:timm/tiny.test", digest, "1.0", "0.0"], done.stderr


def _without(**values: Any) -> Callable[[Path], str]:
    """Write a folder whose config.json has other values, or, for None, lacks one."""

    def write(folder: Path) -> str:
        spec = tiny.write(folder)
        config = json.loads((folder / "config.json").read_text("utf-8")) | values
        kept = {name: value for name, value in config.items() if value is not None}
        (folder / "config.json").write_text(json.dumps(kept), "utf-8")
        return spec

    return write


def _other_weights(folder: Path) -> str:
    torch.save({"weight": torch.zeros(2)}, folder / "other.pth")
    return f"{tiny.ARCHITECTURE}@{folder / 'other.pth'}"


def _other_shapes(folder: Path) -> str:
    torch.save({"_conv_stem.weight": torch.zeros(2)}, folder / "other.pth")
    return f"{tiny.ARCHITECTURE}@{folder / 'other.pth'}"


@pytest.mark.parametrize(
    ("write", "error", "message"),
    [
        pytest.param(_without(architecture="tset_vit"), UnknownName, "did you mean 'test_vit", id="architecture"),
        pytest.param(_without(architecture="test_vit"), BadWeights, "do not fit test_vit of timm", id="weights"),
        pytest.param(_without(label_names=None), BadWeights, "nothing names its 3 classes", id="no names"),
        pytest.param(_without(label_names=["a"]), BadWeights, "has 1 label_names for 3 classes", id="few names"),
        pytest.param(_without(architecture=None), BadWeights, "neither a model type nor an arch", id="no timm"),
        pytest.param(_other_weights, BadWeights, "do not fit test_efficientnet", id="other file"),
        pytest.param(_other_shapes, BadWeights, "are not those of a test_efficientnet", id="other EfficientNet"),
        pytest.param(lambda _: "test_vit@absent.pth", BadWeights, "no such file", id="no file"),
        pytest.param(lambda _: "tset_vit@absent.pth", UnknownName, "'test_vit", id="no architecture"),
        pytest.param(lambda _: "test_vit", UnknownName, "'classifier:tf_efficientnet_lite2'|lite2", id="no weights"),
    ],
)
def test_what_is_no_timm_classifier_is_refused(
    write: Callable[[Path], str], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        openvocab.load_tagger(f"classifier:{write(tmp_path)}", "cpu")


def test_a_gray_model_is_refused(tmp_path: Path) -> None:
    from timm.models import save_for_hf

    save_for_hf(tiny.build(in_chans=1), str(tmp_path), model_config={"label_names": list(tiny.LABELS)})
    with pytest.raises(BadWeights, match="takes 1 channels|do not fit"):
        openvocab.load_tagger(f"classifier:{tmp_path}", "cpu")


def test_bfloat16_is_close(tmp_path: Path, images: list[Any]) -> None:
    folder, labels = tiny.write(tmp_path), ["tench", "goldfish", "crane"]
    low = _load(folder, "bfloat16")
    assert low.record.dtype == "bfloat16"
    np.testing.assert_allclose(low.score(images, labels), _load(folder).score(images, labels), atol=0.03)
