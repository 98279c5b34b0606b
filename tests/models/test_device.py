"""Devices and precisions are those the machine has, and a wrong name is met with the right ones."""

from __future__ import annotations

import pytest
import torch

from openvocab.errors import BadInput
from openvocab.models.device import dtype_of, pick_device, pick_dtype, unit

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("cuda", "mps", "best"),
    [
        pytest.param(True, True, "cuda", id="cuda first"),
        pytest.param(False, True, "mps", id="mps next"),
        pytest.param(False, False, "cpu", id="cpu else"),
    ],
)
def test_best_device(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, best: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert pick_device(None) == torch.device(best)
    assert pick_device("cpu") == CPU


@pytest.mark.parametrize("name", ["gpu", "cuda:99", ""])
def test_wrong_device_names_those_there_are(name: str) -> None:
    with pytest.raises(BadInput, match="there are: .*cpu"):
        pick_device(name)


@pytest.mark.parametrize(("avx", "amx"), [(False, False), (True, False), (False, True)])
def test_cpu_takes_bfloat16_where_it_has_products_for_it(monkeypatch: pytest.MonkeyPatch, avx: bool, amx: bool) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    assert pick_dtype(CPU, None) == (torch.bfloat16 if avx or amx else torch.float32)


def test_precision_by_name() -> None:
    assert pick_dtype(CPU, "float32") == torch.float32
    assert pick_dtype(CPU, "bfloat16") == dtype_of("bfloat16") == torch.bfloat16
    with pytest.raises(BadInput, match="bfloat16, float32"):
        pick_dtype(CPU, "float16")


def test_unit_rows_are_float32() -> None:
    rows = unit(torch.tensor([[3.0, 4.0], [0.0, 2.0]], dtype=torch.bfloat16))
    assert rows.dtype == torch.float32
    torch.testing.assert_close(rows, torch.tensor([[0.6, 0.8], [0.0, 1.0]]))
