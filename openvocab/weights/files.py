"""Weights files: compute digests, and read tensors without running code from the file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openvocab.errors import BadWeights

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["first_line", "read_state", "refuse_stand_ins", "sha256_of", "verify"]

_PICKLED = (".pth", ".pt", ".bin", ".ckpt")
_WRAPPERS = ("state_dict", "model")
_PAGES = (b"<!doctype", b"<html", b"<head", b"<body", b"<?xml", b"<!--")


def first_line(error: Exception) -> str:
    """Return the first line of an upstream error, cut to 160 characters; for a list with a heading, its first item."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = lines[1] if len(lines) > 1 and lines[0].endswith(":") else (lines or [type(error).__name__])[0]
    return line if len(line) <= 160 else line[:157] + "..."


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, as 64 hexadecimal digits.

    Raises:
        BadWeights: there is no such file.
    """
    _present(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(path: Path, expected_sha256: str, name: str) -> str:
    """Return the digest of path if it is the expected one.

    Raises:
        BadWeights: the file is absent or another one.
    """
    digest = sha256_of(path)
    if digest != expected_sha256:
        raise BadWeights(f"{name}: {path} has sha256 {digest[:12]}, but {expected_sha256[:12]} was expected")
    return digest


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the named tensors of a .safetensors, .pth, .pt, .bin or .ckpt file, on the CPU.

    A dictionary that a training run wrapped under "state_dict" or "model" is unwrapped.

    Raises:
        BadWeights: the file is absent, a Git LFS pointer, a web page, cut short, unpacks to more than it is, holds
            objects other than tensors, or a tensor of them has NaN or an axis of stride 0.
    """
    refuse_stand_ins(path)
    if path.suffix == ".safetensors":
        return _checked(path, _read_safetensors(path))
    if path.suffix in _PICKLED:
        return _checked(path, _tensors(path, _read_pickled(path)))
    raise BadWeights(f"{path}: weights are read from {', '.join(('.safetensors', *_PICKLED))}, not {path.suffix!r}")


def _present(path: Path) -> None:
    if not path.is_file():
        raise BadWeights(f"{path}: there is no such file")


def refuse_stand_ins(path: Path) -> None:
    """Refuse files that are often found in place of weights, such as Git LFS pointers.

    Raises:
        BadWeights: the file is absent, empty, a Git LFS pointer or a web page.
    """
    _present(path)
    with path.open("rb") as file:
        head = file.read(256)
    if not head:
        raise BadWeights(f"{path}: the file is empty")
    if head.startswith(b"version https://git-lfs.github.com/spec"):
        raise BadWeights(f"{path}: this is a Git LFS pointer, not the weights; run: git lfs pull")
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_PAGES):
        raise BadWeights(f"{path}: this is a web page, not weights; the download went wrong")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise BadWeights(f"{path}: the file is cut short or is not in the safetensors format") from error


def _read_pickled(path: Path) -> Any:
    """Read what torch.save wrote, with an unpickler that builds tensors and nothing else."""
    import pickle

    import torch

    _refuse_compressed(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BadWeights(f"{path}: refused, because it is not a plain file of tensors") from error
    except Exception as error:  # a damaged file fails anywhere: zip reader, unpickler, storage
        raise BadWeights(f"{path}: the file is cut short, damaged, or no file of tensors") from error


def _refuse_compressed(path: Path) -> None:
    """Refuse a zip whose members unpack to more than they take: torch.save compresses nothing."""
    import zipfile

    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise BadWeights(f"{path}: the file is cut short, damaged, or no file of tensors") from error
    if unpacked > path.stat().st_size:
        raise BadWeights(f"{path}: refused, because its members unpack to more than the file; save it with torch.save")


def _checked(path: Path, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state after checking that no tensor shares memory by a stride of 0 or contains NaN."""
    for name, value in state.items():
        if any(stride == 0 and size > 1 for stride, size in zip(value.stride(), value.shape, strict=True)):
            raise BadWeights(f"{path}: {name} repeats one number over a whole axis (stride 0); save it contiguous")
        if value.is_floating_point() and bool(value.isnan().any()):
            raise BadWeights(f"{path}: {name} holds NaN; download it again or name another checkpoint")
    return state


def _tensors(path: Path, content: Any) -> dict[str, Tensor]:
    """Return content if it maps names to tensors, unwrapped where needed."""
    import torch

    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    plain = isinstance(content, Mapping) and all(isinstance(value, torch.Tensor) for value in content.values())
    if not plain or not content:
        raise BadWeights(f"{path}: this file holds no dictionary of named tensors")
    return dict(content)
