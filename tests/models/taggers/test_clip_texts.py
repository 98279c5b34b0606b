"""Texts cut at the longest of a batch are encoded as open_clip encodes them whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import open_clip
import pytest
import torch

from openvocab.models.taggers.clip_texts import encode_texts
from tests.tiny.open_clip import KINDS, write_kind

TEXTS = ["cat", "This is a photo of a red fire engine", "a", "very " * 60 + "long"]
CUT = {"clip", "custom text", "eos pool", "pe"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Any]]:
    root = tmp_path_factory.mktemp("texts")
    names = {kind: write_kind(root / kind.replace(" ", "-"), kind) for kind in KINDS}
    return {
        kind: (open_clip.create_model(name, precision="fp32").eval(), open_clip.get_tokenizer(name))
        for kind, name in names.items()
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("texts", [TEXTS[:1], TEXTS[:3], TEXTS], ids=["one", "short ones", "one is too long"])
def test_rows_are_those_of_upstream(kind: str, texts: list[str], models: dict[str, tuple[Any, Any]]) -> None:
    model, tokenizer = models[kind]
    tokens = tokenizer(texts)
    with torch.inference_mode():
        np.testing.assert_allclose(encode_texts(model, tokens), model.encode_text(tokens), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_only_causal_towers_are_cut(
    kind: str, models: dict[str, tuple[Any, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = models[kind]
    tower = model.transformer if kind == "clip" else model.text.transformer
    seen: list[int] = []
    forward = tower.forward

    def watched(x: torch.Tensor, **rest: Any) -> Any:
        seen.append(x.shape[1])
        return forward(x, **rest)

    monkeypatch.setattr(tower, "forward", watched)
    with torch.inference_mode():
        encode_texts(model, tokenizer(["a cat"]))
    assert seen == [4 if kind in CUT else 33 if kind == "coca" else 32]


def test_what_a_cut_would_do_elsewhere(models: dict[str, tuple[Any, Any]]) -> None:
    """SigLIP's tower attends to its padding: this is why it is not cut."""
    model, tokenizer = models["siglip"]
    with torch.inference_mode():
        whole, less = (model.encode_text(tokenizer(["a cat"])[:, :length]) for length in (32, 31))
        changed = encode_texts(model, tokenizer(["a cat"]))
    assert not torch.allclose(whole, less, atol=1e-2)
    torch.testing.assert_close(changed, whole)
