"""SAM-HQ's masks are drawn on the map that its transformer returns, whatever the installed transformers does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from openvocab.errors import BadWeights
from openvocab.models.segmenters.sam_hq_decoder import draw_on_mixed_map
from tests.tiny import sam_hq


@pytest.fixture
def decoder(tmp_path: Path) -> Any:
    from transformers import SamHQModel

    return SamHQModel.from_pretrained(sam_hq.write(tmp_path / "hq")).eval().mask_decoder


def mended(decoder: Any) -> Any:
    """Make the library's decoder upsample its transformer's map, by way of the convolution that begins it."""
    maps: list[Tensor] = []
    decoder.transformer.register_forward_hook(lambda module, args, output: maps.append(output[1]))
    decoder.upscale_conv1.register_forward_pre_hook(
        lambda module, args: (maps.pop().transpose(-1, -2).reshape(args[0].shape),)
    )
    return decoder


def answer(decoder: Any, prompts: int, side: int = 4) -> Tensor:
    draw = torch.Generator().manual_seed(prompts)
    image, place, dense = (torch.randn(1, 32, side, side, generator=draw) for _ in range(3))
    with torch.no_grad():
        masks: Tensor = decoder(
            image_embeddings=image,
            image_positional_embeddings=place,
            sparse_prompt_embeddings=torch.randn(1, prompts, 3, 32, generator=draw),
            dense_prompt_embeddings=dense,
            multimask_output=False,
            hq_token_only=False,
            intermediate_embeddings=[torch.randn(1, side, side, 32, generator=draw)],
        )[0]
    return masks


@pytest.mark.parametrize("prompts", [pytest.param(1, id="one prompt"), pytest.param(5, id="five prompts")])
def test_masks_are_drawn_on_the_transformers_map(decoder: Any, prompts: int) -> None:
    before = answer(decoder, prompts)
    draw_on_mixed_map(decoder)
    after = answer(decoder, prompts)
    for hooks in (decoder.transformer._forward_hooks, decoder.upscale_conv1._forward_hooks):
        hooks.clear()
    expected = answer(mended(decoder), prompts)
    assert (before - expected).abs().max() > 0.1
    torch.testing.assert_close(after, expected, atol=1e-5, rtol=1e-5)


def test_a_mended_release_is_left_alone(decoder: Any) -> None:
    hooks = len(mended(decoder).transformer._forward_hooks)
    draw_on_mixed_map(decoder)
    assert len(decoder.transformer._forward_hooks) == hooks


def test_mending_twice_changes_nothing(decoder: Any) -> None:
    draw_on_mixed_map(decoder)
    once, hooks = answer(decoder, 2), len(decoder.transformer._forward_hooks)
    draw_on_mixed_map(decoder)
    assert len(decoder.transformer._forward_hooks) == hooks
    torch.testing.assert_close(answer(decoder, 2), once)


def _renamed(decoder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder.two_way = decoder.transformer
    del decoder.transformer


def _positional(decoder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(image_embeddings: Tensor, **others: Any) -> None:
        decoder.transformer(others["sparse_prompt_embeddings"], image_embeddings, None, None)

    monkeypatch.setattr(decoder, "forward", forward)


def _bare(decoder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    own = decoder.transformer.forward
    monkeypatch.setattr(decoder.transformer, "forward", lambda **given: own(**given)[0])


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_renamed, id="the transformer has another name"),
        pytest.param(_positional, id="its arguments are given by position"),
        pytest.param(_bare, id="it returns no map"),
    ],
)
def test_an_unknown_decoder_is_refused_in_one_sentence(
    decoder: Any, change: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(decoder, monkeypatch)
    with pytest.raises(BadWeights, match="SAM-HQ's masks in a way that openvocab does not know"):
        draw_on_mixed_map(decoder)
