"""The device and dtype that a model runs in, chosen from what this machine has, and arithmetic that adapters share."""

from __future__ import annotations

from typing import TypeAlias

import torch

from openvocab.errors import BadInput

__all__ = ["DeviceLike", "DtypeLike", "cpu_has_amx", "dtype_of", "pick_device", "pick_dtype", "to_device", "unit"]

DeviceLike: TypeAlias = str | torch.device | None
DtypeLike: TypeAlias = str | torch.dtype | None

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


def _devices() -> list[str]:
    """Return the names of this machine's devices, best first."""
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    indexed = [f"cuda:{index}" for index in range(torch.cuda.device_count())] + ["mps:0"] * mps
    return ["cuda"] * cuda + ["mps"] * mps + [*indexed, "cpu"]


def pick_device(device: DeviceLike) -> torch.device:
    """Return a device by its name, or the best there is for None: cuda, mps, cpu.

    Raises:
        BadInput: This machine has no such device.
    """
    here = _devices()
    name = here[0] if device is None else str(device)
    if name not in here:
        raise BadInput(f"no device {name!r} here; there are: {', '.join(here)}")
    return torch.device(name)


def pick_dtype(device: torch.device, dtype: DtypeLike) -> torch.dtype:
    """Return a dtype by its name; for None, bfloat16 if the hardware multiplies it fast, else float32.

    Raises:
        BadInput: It is neither float32, bfloat16 nor float16.
    """
    return dtype_of(dtype if dtype is not None else "bfloat16" if _fast_bfloat16(device) else "float32")


def dtype_of(dtype: str | torch.dtype) -> torch.dtype:
    """Return the dtype that ModelRecord.dtype names.

    Raises:
        BadInput: It is neither float32, bfloat16 nor float16.
    """
    name = str(dtype).removeprefix("torch.")
    if name not in _DTYPES:
        raise BadInput(f"no precision {name!r}; there are: {', '.join(_DTYPES)}")
    return _DTYPES[name]


def _fast_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and _cpu_has_bfloat16()


def _cpu_has_bfloat16() -> bool:
    """Return whether the processor has bfloat16 products (AVX-512 BF16 or AMX); False if torch cannot tell."""
    queries = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(bool(query()) for query in queries if query is not None)


def cpu_has_amx() -> bool:
    """Return whether the processor multiplies matrices in tiles (AMX); True if torch cannot tell."""
    query = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return query is None or bool(query())


def to_device(tensor: torch.Tensor, device: str | torch.device) -> torch.Tensor:
    """Return a tensor on a device; to CUDA it goes through pinned memory, and the copy does not wait for the device."""
    if torch.device(device).type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def unit(rows: torch.Tensor) -> torch.Tensor:
    """Return (N, D) rows as float32, each divided by its length."""
    return torch.as_tensor(rows.float() / torch.linalg.vector_norm(rows.float(), dim=-1, keepdim=True))
