"""Which weights, activation, pixels and tokenizer an open_clip SPEC means, with no weights at hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest

from openvocab.errors import BadWeights
from openvocab.models.taggers import clip_checkpoints
from openvocab.models.taggers.clip_tagger import OpenClipTagger
from openvocab.weights.manifest import published

PAIRS = open_clip.list_pretrained()
OTHER_FLAG = {("roberta-ViT-B-32", "laion2b_s12b_b32k")}
"""Pairs whose tag states no activation while the architecture has QuickGELU, which it was trained with."""


class Built(Exception):
    """What a model would have been built of."""


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """No file is fetched and no model built; what the model's class was given is kept instead."""
    given: list[dict[str, Any]] = []

    def model_class(**config: Any) -> None:
        given.append(config)
        raise Built

    def fetched(repository: str, name: str, revision: str | None = None) -> Path:
        path = tmp_path / name
        path.touch()
        return path

    for name in ("CLIP", "CustomTextCLIP", "CoCa"):
        monkeypatch.setattr(open_clip.factory, name, model_class)
    monkeypatch.setattr(clip_checkpoints, "hub_file", fetched)
    return given


def test_every_pretrained_tag_gets_the_activation_that_it_was_trained_with(no_weights: list[dict[str, Any]]) -> None:
    changed = []
    for architecture, tag in PAIRS:
        with pytest.raises(BadWeights):
            clip_checkpoints.build(clip_checkpoints.find(f"{architecture}/{tag}"))
        stated = open_clip.get_pretrained_cfg(architecture, tag).get("quick_gelu", False)
        upstream = open_clip.get_model_config(architecture).get("quick_gelu", False)
        if (architecture, tag) in OTHER_FLAG:
            stated = True
        assert no_weights[-1].get("quick_gelu", False) == stated, f"{architecture}/{tag}"
        changed += [(architecture, tag)] if stated != upstream else []
    assert len(no_weights) == len(PAIRS)
    assert ("ViT-B-32", "openai") in changed and ("ViT-B-32", "laion400m_e32") in changed


@pytest.fixture
def tag(clip_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A pretrained tag of a tiny architecture without QuickGELU; its weights lie in a folder that stands for a hub."""
    folder = clip_folders["softmax"]
    config = json.loads((folder / "open_clip_config.json").read_text("utf-8"))["model_cfg"]
    path = tmp_path / "tiny-tagged.json"
    path.write_text(json.dumps(config), "utf-8")
    open_clip.add_model_config(path)
    pixels = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4), "interpolation": "bilinear", "resize_mode": "squash"}
    entry: dict[str, Any] = {"hf_hub": "org/tiny/", "url": "", **pixels}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny-tagged", {"theirs": entry})

    def fetched(repository: str, name: str, revision: str | None = None) -> Path | None:
        assert (repository, revision) == ("org/tiny", None)
        return folder / name if (folder / name).is_file() else None

    monkeypatch.setattr(clip_checkpoints, "hub_file", fetched)
    return entry


@pytest.mark.parametrize("quick", [True, False], ids=["QuickGELU", "GELU"])
def test_scores_of_a_tag_are_those_of_its_activation_and_pixels(
    quick: bool, tag: dict[str, Any], clip_folders: dict[str, Path], make_image: Any, recwarn: pytest.WarningsRecorder
) -> None:
    from PIL import Image

    tag["quick_gelu"] = quick
    tagger = OpenClipTagger.load("tiny-tagged/theirs", "cpu", "float32")
    weights = str(clip_folders["softmax"] / "open_clip_model.safetensors")
    model, transform = open_clip.create_model_from_pretrained(
        "tiny-tagged",
        weights,
        force_quick_gelu=quick,
        image_mean=tag["mean"],
        image_std=tag["std"],
        image_interpolation="bilinear",
        image_resize_mode="squash",
    )
    one = make_image(30, 90, 1)
    expected = model.eval().encode_image(transform(Image.fromarray(one))[None], normalize=True).detach().numpy()
    np.testing.assert_allclose(tagger.encode_images([one]), expected, atol=1e-6)
    assert ("QuickGELU" in repr(tagger.model)) == quick
    assert not [each for each in recwarn if "QuickGELU" in str(each.message)]


def test_weights_and_tokenizer_are_of_the_pinned_revision(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked, tokenizers = [], []

    def fetched(repository: str, name: str, revision: str | None = None) -> Path:
        asked.append((f"open_clip:{spec}", repository, name, revision))
        return tmp_path / name

    monkeypatch.setattr(clip_checkpoints, "hub_file", fetched)
    monkeypatch.setattr(open_clip, "get_tokenizer", lambda name, **more: tokenizers.append(more))
    rows = [each for each in published().values() if each.family == "open_clip"]
    for row in rows:
        spec = row.spec.partition(":")[2]
        found = clip_checkpoints.find(spec)
        assert found.source == row.sources(row.files[0])[-1 if row.revision else 0], spec
        clip_checkpoints.load_tokenizer(found)
    assert asked == [(row.spec, row.repository, row.files[0].name, row.revision) for row in rows]
    pinned = {"open_clip-siglip2-b-16"}
    assert [more.get("revision") for more in tokenizers] == [
        row.revision if row.name in pinned else None for row in rows
    ]
