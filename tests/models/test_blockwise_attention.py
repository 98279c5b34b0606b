"""Attention block by block is torch's own, and models use it on processors without AMX only."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

import openvocab
from openvocab.models import blockwise_attention
from openvocab.models.blockwise_attention import attend, attend_by_blocks

MODULE = blockwise_attention.__name__


def _given(batch: int, heads: int, queries: int, keys: int, length: int) -> list[torch.Tensor]:
    made = torch.Generator().manual_seed(0)
    return [torch.randn(batch, heads, count, length, generator=made) for count in (queries, keys, keys)]


SHAPES = [
    pytest.param((1, 1, 1, 1, 8), id="one token"),
    pytest.param((2, 3, 300, 300, 16), id="two blocks, the second one shorter"),
    pytest.param((1, 2, 512, 70, 32), id="fewer keys than queries"),
]


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_torch_s_own_attention(shape: tuple[int, int, int, int, int]) -> None:
    query, key, value = _given(*shape)
    wanted = scaled_dot_product_attention(query, key, value, scale=0.3)
    torch.testing.assert_close(attend_by_blocks(query, key, value, 0.3), wanted, atol=1e-5, rtol=1e-5)


def test_bfloat16_is_close_to_float32() -> None:
    query, key, value = _given(1, 2, 1500, 1500, 64)
    wanted = scaled_dot_product_attention(query, key, value)
    got = attend_by_blocks(query.bfloat16(), key.bfloat16(), value.bfloat16(), 64**-0.5).float()
    assert float((got - wanted).norm() / wanted.norm()) < 0.02


@pytest.mark.parametrize("amx", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "tokens",
    [
        pytest.param(16, id="few tokens"),
        pytest.param(257, id="those of an embedded tower"),
        pytest.param(1030, id="many tokens, by blocks"),
    ],
)
def test_every_way_attends_alike(tokens: int, dtype: str, amx: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{MODULE}.cpu_has_amx", lambda: amx)
    query, key, value = _given(2, 3, tokens, tokens, 48)
    wanted, precision = scaled_dot_product_attention(query, key, value), getattr(torch, dtype)
    got = attend(query.to(precision), key.to(precision), value.to(precision))
    assert float((got.float() - wanted).norm() / wanted.norm()) < (0.02 if dtype == "bfloat16" else 1e-5)


@pytest.mark.parametrize(
    ("amx", "dtype", "expected"),
    [
        pytest.param(False, "bfloat16", "openvocab_blocks", id="no AMX: by blocks"),
        pytest.param(True, "bfloat16", "sdpa", id="AMX: the fused kernel"),
        pytest.param(False, "float32", "sdpa", id="float32: the fused kernel"),
    ],
)
@pytest.mark.parametrize("family", ["owlvit", "owlv2", "sam2"])
def test_the_processor_decides_how_models_attend(
    family: str, amx: bool, dtype: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{MODULE}.cpu_has_amx", lambda: amx)
    spec = f"{family}:{import_module(f'tests.tiny.{family}').write(tmp_path / 'model')}"
    load: Any = openvocab.load_segmenter if family == "sam2" else openvocab.load_detector
    model = load(spec, "cpu", dtype).model
    part = model.vision_encoder if family == "sam2" else model.base_model.vision_model
    assert {each.config._attn_implementation for each in part.modules() if hasattr(each, "config")} == {expected}


@pytest.mark.parametrize("family", ["owlvit", "owlv2", "sam2"])
def test_answers_by_blocks_are_those_of_the_fused_kernel(
    family: str, tmp_path: Path, make_image: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{MODULE}._MANY", 1)
    spec = f"{family}:{import_module(f'tests.tiny.{family}').write(tmp_path / 'model')}"
    load: Any = openvocab.load_segmenter if family == "sam2" else openvocab.load_detector
    image, answers = make_image(64, 64), []
    for amx in (True, False):
        monkeypatch.setattr(f"{MODULE}.cpu_has_amx", lambda amx=amx: amx)
        made = load(spec, "cpu", "bfloat16").encode(image)
        answers.append(torch.cat([each.flatten() for each in (made.maps if family == "sam2" else [made.features])]))
    fused, blocks = answers
    assert float((fused - blocks).norm() / fused.norm()) < 0.02


def test_a_library_that_answers_otherwise_keeps_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{MODULE}.cpu_has_amx", lambda: False)
    monkeypatch.setattr(f"{MODULE}._alike", lambda kind: False)
    spec = f"owlv2:{import_module('tests.tiny.owlv2').write(tmp_path / 'model')}"
    model: Any = openvocab.load_detector(spec, "cpu", "bfloat16")
    assert model.model.base_model.vision_model.config._attn_implementation == "sdpa"
