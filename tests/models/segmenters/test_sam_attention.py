"""Attention without a mask is upstream's attention with decomposed relative positions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from segment_anything.modeling.image_encoder import Attention, Block
from segment_anything.modeling.transformer import TwoWayTransformer

from openvocab.models.segmenters.sam_attention import MaskFreeAttention, contiguous_positions, mask_free


def _random(module: Any) -> Any:
    torch.manual_seed(0)
    for value in module.parameters():
        torch.nn.init.normal_(value, std=0.3)
    return module.eval()


@pytest.mark.parametrize("by_rows", [False, True], ids=["longer keys", "by rows"])
@pytest.mark.parametrize(
    ("size", "width", "heads"),
    [
        pytest.param((4, 4), 32, 2, id="square"),
        pytest.param((3, 7), 32, 2, id="wide"),
        pytest.param((7, 3), 48, 4, id="tall, heads of 12"),
        pytest.param((14, 14), 128, 2, id="a window, heads of 64"),
        pytest.param((1, 1), 16, 1, id="one place"),
    ],
)
def test_features_are_those_of_upstream(size: tuple[int, int], width: int, heads: int, by_rows: bool) -> None:
    attention = _random(Attention(width, heads, use_rel_pos=True, input_size=size))
    given = torch.randn(2, *size, width)
    with torch.no_grad():
        expected = attention(given)
        got = MaskFreeAttention(attention, heads, False, by_rows)(given)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("amx", "precision", "expected"),
    [
        pytest.param(True, torch.bfloat16, [False, False], id="AMX: longer keys"),
        pytest.param(False, torch.bfloat16, [False, True], id="no AMX: the global block by rows"),
        pytest.param(False, torch.float32, [False, False], id="no AMX, float32: longer keys"),
    ],
)
def test_the_processor_decides_how_global_blocks_are_computed(
    amx: bool, precision: torch.dtype, expected: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{mask_free.__module__}.cpu_has_amx", lambda: amx)
    sizes = [(3, (32, 32)), (0, (32, 32))]
    blocks = [Block(32, 2, use_rel_pos=True, window_size=window, input_size=size) for window, size in sizes]
    mask_free(blocks, precision=precision)
    assert [block.attn.by_rows for block in blocks] == expected


def test_rows_in_bfloat16_are_close_to_upstream() -> None:
    attention = _random(Attention(128, 2, use_rel_pos=True, input_size=(32, 32)))
    given = torch.randn(1, 32, 32, 128)
    with torch.no_grad():
        expected = attention(given).flatten()
        got = MaskFreeAttention(attention.bfloat16(), 2, False, True)(given.bfloat16()).float().flatten()
    assert torch.nn.functional.cosine_similarity(got, expected, 0) > 0.999


def test_a_relative_position_changes_the_answer() -> None:
    attention = _random(Attention(32, 2, use_rel_pos=True, input_size=(4, 4)))
    given = torch.randn(1, 4, 4, 32)
    with torch.no_grad():
        before = MaskFreeAttention(attention, 2, False)(given)
        attention.rel_pos_w[1] += 1
        after = MaskFreeAttention(attention, 2, False)(given)
    assert not torch.allclose(before, after, atol=1e-3)


@pytest.mark.parametrize("window", [0, 3], ids=["global", "windows that do not fill the grid"])
def test_only_the_blocks_that_are_given_change(window: int) -> None:
    one, other = (_random(Block(32, 2, use_rel_pos=True, window_size=window, input_size=(4, 4))) for _ in range(2))
    names = list(one.state_dict())
    given = torch.randn(1, 4, 4, 32)
    mask_free([one])
    assert (type(one.attn), type(other.attn)) == (MaskFreeAttention, Attention)
    assert list(one.state_dict()) == names
    with torch.no_grad():
        torch.testing.assert_close(one(given), other(given), atol=1e-4, rtol=1e-4)


def test_attention_without_relative_positions_is_left_alone() -> None:
    block = Block(32, 2, use_rel_pos=False)
    mask_free([block])
    assert type(block.attn) is Attention


def test_the_layout_of_maps_changes_no_answer_of_the_decoder() -> None:
    mixer = _random(TwoWayTransformer(depth=2, embedding_dim=32, mlp_dim=64, num_heads=2))
    maps, places, tokens = torch.randn(3, 32, 4, 4), torch.randn(1, 32, 4, 4), torch.randn(3, 5, 32)
    with torch.no_grad():
        expected = mixer(maps, places.expand(3, -1, -1, -1), tokens)
        contiguous_positions(mixer)
        got = mixer(maps, places.expand(3, -1, -1, -1), tokens)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
