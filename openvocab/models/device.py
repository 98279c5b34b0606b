"""Where a model runs and in which precision, decided from what this machine has, and arithmetic shared by adapters."""

from __future__ import annotations

import torch

from openvocab.errors import BadInput

__all__ = ["dtype_of", "pick_device", "pick_dtype", "unit"]

_DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


def _devices() -> list[str]:
    """Return the devices there are, best first."""
    found = ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available()
    return [*found, *(f"cuda:{index}" for index in range(torch.cuda.device_count())), "cpu"]


def pick_device(name: str | None) -> torch.device:
    """Return the device of that name, or the best there is: cuda, mps, cpu.

    Raises:
        BadInput: this machine has no such device.
    """
    here = _devices()
    if name is not None and name not in here:
        raise BadInput(f"no device {name!r} here; there are: {', '.join(here)}")
    return torch.device(name or here[0])


def pick_dtype(device: torch.device, name: str | None) -> torch.dtype:
    """Return the precision of that name; without one, bfloat16 where the hardware multiplies it fast, else float32.

    Raises:
        BadInput: the name is neither "float32" nor "bfloat16".
    """
    return dtype_of(name or ("bfloat16" if _fast_bfloat16(device) else "float32"))


def dtype_of(name: str) -> torch.dtype:
    """Return the precision that ModelRecord.dtype names.

    Raises:
        BadInput: the name is neither "float32" nor "bfloat16".
    """
    if name not in _DTYPES:
        raise BadInput(f"no precision {name!r}; there are: {', '.join(sorted(_DTYPES))}")
    return _DTYPES[name]


def _fast_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and _cpu_has_bfloat16()


def _cpu_has_bfloat16() -> bool:
    """Say whether the processor has bfloat16 products (AVX-512 BF16 or AMX); False where torch cannot tell."""
    queries = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(bool(query()) for query in queries if query is not None)


def unit(rows: torch.Tensor) -> torch.Tensor:
    """Return (N, D) rows as float32, each divided by its length."""
    return torch.as_tensor(rows.float() / torch.linalg.vector_norm(rows.float(), dim=-1, keepdim=True))
