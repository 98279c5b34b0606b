"""Files of the embedded models: verified, read in float32, and renamed to the names of the modules here.

The files keep the layouts of the libraries that trained them: the detector that of transformers, the tagger that of
open_clip, the segmenter that of segment_anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from openvocab.errors import BadWeights
from openvocab.models.device import pick_device, pick_dtype
from openvocab.pipeline.result import ModelRecord
from openvocab.weights.files import read_state
from openvocab.weights.manifest import Checkpoint, checkpoint
from openvocab.weights.trust import file_state, refuse_changed

__all__ = ["CONTEXT", "DEVIATION", "MEAN", "SIDE", "fill", "read", "record_of", "verified"]

SIDE, CONTEXT = 256, 32
"""Pixels of a side of every model's input; tokens that the text towers read."""

MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""CLIP's pixel statistics (Radford et al. 2021), by which tagger and detector were trained."""

_COUNTERS = "num_batches_tracked"


@contextmanager
def verified(name: str) -> Iterator[Checkpoint]:
    """Yield a verified embedded checkpoint; its file must not change while it is loaded.

    Raises:
        BadWeights: its file is absent, not the pinned one, or was replaced before this is left.
    """
    pinned = checkpoint(name)
    before = file_state(pinned.path)
    pinned.verified()
    yield pinned
    refuse_changed([pinned.path], [before])


def record_of(pinned: Checkpoint, device: str | None, dtype: str | None) -> ModelRecord:
    """Return the record of an embedded model; the device and the dtype are the best there are where None.

    Raises:
        BadInput: there is no such device or precision.
    """
    where = pick_device(device)
    return ModelRecord(pinned.name, pinned.sha256, str(where), str(pick_dtype(where, dtype)).removeprefix("torch."))


def read(pinned: Checkpoint, names: Sequence[tuple[str, str]], unused: Sequence[str] = ()) -> dict[str, Tensor]:
    """Return the weights of a file in float32 under the names of the modules here.

    Args:
        pinned: The verified checkpoint.
        names: Regular expressions and what replaces them, applied in order.
        unused: Beginnings of names that inference does not need.
    """
    found: dict[str, Tensor] = {}
    for name, value in read_state(pinned.path).items():
        if name.endswith(_COUNTERS) or name.startswith(tuple(unused)):
            continue
        for pattern, new in names:
            name = re.sub(pattern, new, name)
        found[name] = value.float()
    return _joined(found)


def _joined(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Stack the queries, keys and values of each attention that has them apart."""
    found = {name: value for name, value in state.items() if not re.search(r"\.[qkv]_only\.", name)}
    for name in state:
        if ".q_only." in name:
            parts = [state[name.replace(".q_only.", f".{part}_only.")] for part in "qkv"]
            found[name.replace(".q_only.", ".qkv.")] = torch.cat(parts)
    return found


def fill(model: nn.Module, state: Mapping[str, Tensor], pinned: Checkpoint) -> Any:
    """Put weights into a model and return it in evaluation mode, its convolutions with the channels last.

    oneDNN computes those without putting each map into another order first.

    Raises:
        BadWeights: they are those of another architecture.
    """
    counters = {name: torch.zeros((), dtype=torch.int64) for name, _ in model.named_buffers() if _COUNTERS in name}
    try:
        model.load_state_dict({**counters, **state}, assign=True)
    except RuntimeError as error:
        raise BadWeights(f"{pinned.path}: not the weights of {pinned.name}; reinstall openvocab") from error
    return model.to(memory_format=torch.channels_last).requires_grad_(False).eval()
