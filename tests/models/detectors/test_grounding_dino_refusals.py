"""What the Grounding DINO adapters refuse, and what they warn of."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from openvocab.errors import BadInput, BadOutput, BadWeights, OpenVocabWarning
from openvocab.models.detectors.grounding_dino_detector import GroundingDinoDetector, MMGroundingDinoDetector
from tests.tiny.grounding_dino import write

LFS = "version https://git-lfs.github.com/spec/v1"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(write(tmp_path_factory.mktemp("dino") / "model"))


@pytest.fixture(scope="module")
def detector(sound: Path) -> GroundingDinoDetector:
    return GroundingDinoDetector.load(str(sound), "cpu", "float32")


@pytest.fixture(scope="module")
def square(make_image: Callable[..., Any]) -> Any:
    return make_image(60, 60)


@pytest.mark.parametrize(
    ("label", "read"),
    [
        pytest.param("st. bernard", "st bernard", id="full stop"),
        pytest.param("cat. dog.", "cat dog", id="a prompt"),
        pytest.param("dog?", "dog", id="question mark"),
        pytest.param("cat[SEP]dog", "cat[sep]dog", id="the name of a special token"),
    ],
)
def test_label_cannot_end_itself(label: str, read: str, detector: GroundingDinoDetector, square: Any) -> None:
    with pytest.warns(OpenVocabWarning, match="the detector reads label"):
        queries = detector.encode_labels(["thing", label])
    ends = {101, 102, 1012, 1029}
    assert [[token in ends for token in block].index(True) for block in queries.embeddings.blocks] == [
        len(block) - 1 for block in queries.embeddings.blocks
    ]
    assert set(detector.detect([square], queries, 0.0)[0].label_index) <= {0, 1}
    if "[" not in read:
        assert queries.embeddings.blocks == detector.encode_labels(["thing", read]).embeddings.blocks


def test_too_long_label_is_cut_and_named(detector: GroundingDinoDetector, square: Any) -> None:
    with pytest.warns(OpenVocabWarning, match="reads 64"):
        queries = detector.encode_labels(["cat", "dog " * 80])
    assert len(queries.embeddings.blocks[1]) == 62
    detector.detect([square], queries, 0.5)


@pytest.mark.parametrize(
    ("labels", "template", "message"),
    [
        pytest.param(["dog " * 80 + "cat", "dog " * 80 + "dog"], None, "same text", id="the same after the cut"),
        pytest.param(["st bernard", "st. bernard"], None, "same text", id="the same without separators"),
        pytest.param(["café", "cafe"], None, "same text", id="the same without accents"),
        pytest.param(["cat", "..."], None, "nothing but separators", id="only separators"),
        pytest.param(["cat"], "a photo", "label", id="template without a place"),
        pytest.param([], None, "no labels", id="no label"),
    ],
)
def test_bad_labels_are_refused(
    detector: GroundingDinoDetector, labels: list[str], template: str | None, message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        detector.encode_labels(labels, template)


def test_label_without_features_is_named(sound: Path) -> None:
    broken = GroundingDinoDetector.load(str(sound), "cpu", "float32")
    cat = broken.encode_labels(["cat"]).embeddings.blocks[0][0]
    with torch.no_grad():
        broken.model.model.text_backbone.embeddings.word_embeddings.weight[cat] = float("nan")
    with pytest.raises(BadOutput, match="label 'cat'"):
        broken.encode_labels(["dog", "cat"])


def _drop(name: str, folder: Path) -> None:
    (folder / name).unlink()


def _write(name: str, text: str, folder: Path) -> None:
    (folder / name).write_text(text, "utf-8")


def _set(key: str, value: Any, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text("utf-8"))
    part = config if key in config else config["backbone_config"]
    part[key] = value
    (folder / "config.json").write_text(json.dumps(config), "utf-8")


def _other_words(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    words = tokenizer["model"]["vocab"]
    words["."], words["cat"] = words["cat"], words["."]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(shutil.rmtree, "no such folder", id="absent"),
        pytest.param(partial(_drop, "config.json"), "no Grounding DINO model", id="no configuration"),
        pytest.param(partial(_write, "config.json", "{"), "no Grounding DINO model", id="broken configuration"),
        pytest.param(partial(_set, "model_type", "owlv2"), "of type 'owlv2'", id="another model"),
        pytest.param(partial(_drop, "model.safetensors"), "no weights", id="no weights"),
        pytest.param(partial(_write, "model.safetensors", LFS), "LFS", id="LFS pointer"),
        pytest.param(partial(_drop, "tokenizer.json"), "tokenizer|preprocessing", id="no tokenizer"),
        pytest.param(_other_words, "the tokenizer has the ids", id="tokenizer of another model"),
        pytest.param(partial(_set, "encoder_layers", 3), "lack", id="more layers than the weights have"),
        pytest.param(partial(_set, "d_model", 128), "cannot be loaded", id="other shapes"),
        pytest.param(partial(_set, "embedding_init_target", False), "choose its queries", id="other queries"),
    ],
)
def test_bad_folder_is_refused_in_one_sentence(
    tmp_path: Path, sound: Path, spoil: Callable[[Path], object], message: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(sound, folder)
    spoil(folder)
    with pytest.raises(BadWeights, match=message) as caught:
        GroundingDinoDetector.load(str(folder), "cpu")
    assert "\n" not in str(caught.value)


def test_each_kind_refuses_the_other(sound: Path) -> None:
    with pytest.raises(BadWeights, match="no MM-Grounding-DINO model but one of type 'grounding-dino'"):
        MMGroundingDinoDetector.load(str(sound), "cpu")


def test_name_that_cannot_be_fetched_is_refused() -> None:
    with pytest.raises(BadWeights, match="org/absent: config.json is not in the cache"):
        GroundingDinoDetector.load("org/absent", "cpu")
