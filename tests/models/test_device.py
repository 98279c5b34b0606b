"""Devices and precisions are those the machine has, and a wrong name is met with the right ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import openvocab
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


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_dtype_by_name_or_as_an_object(name: str) -> None:
    expected = getattr(torch, name)
    assert pick_dtype(CPU, name) == pick_dtype(CPU, expected) == dtype_of(name) == expected


@pytest.mark.parametrize("wrong", ["float64", torch.float64, "half", ""])
def test_wrong_dtype_names_those_there_are(wrong: str | torch.dtype) -> None:
    with pytest.raises(BadInput, match="there are: bfloat16, float16, float32"):
        pick_dtype(CPU, wrong)


def test_devices_are_names_or_objects() -> None:
    assert pick_device(CPU) == pick_device("cpu") == CPU
    with pytest.raises(BadInput, match="no device 'meta' here"):
        pick_device(torch.device("meta"))


@pytest.mark.parametrize("load", [openvocab.load_tagger, openvocab.load_segmenter])
def test_loaders_take_objects(load: Callable[..., Any]) -> None:
    record = load("pocket", torch.device("cpu"), torch.float32).record
    assert (record.device, record.dtype) == ("cpu", "float32")


def test_load_takes_objects() -> None:
    pipe = openvocab.load("pocket", device=CPU, dtype=torch.float16, tags_alone=True)
    assert pipe.tagger is not None and pipe.tagger.record.dtype == "float16"


def test_unit_rows_are_float32() -> None:
    rows = unit(torch.tensor([[3.0, 4.0], [0.0, 2.0]], dtype=torch.bfloat16))
    assert rows.dtype == torch.float32
    torch.testing.assert_close(rows, torch.tensor([[0.6, 0.8], [0.0, 1.0]]))
