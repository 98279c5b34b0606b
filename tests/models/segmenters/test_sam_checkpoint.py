"""The sizes of a Sam are read from the shapes of its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from segment_anything import sam_model_registry

from openvocab.errors import BadWeights
from openvocab.models.segmenters.sam_checkpoint import _build, load_sam
from tests.tiny.sam import write


def _plan(model: Any) -> list[tuple[int, int, int, float]]:
    blocks = model.image_encoder.blocks
    return [(block.window_size, block.attn.num_heads, block.attn.scale, block.norm1.eps) for block in blocks]


@pytest.mark.parametrize("kind", ["vit_b", "vit_l", "vit_h"])
def test_official_sizes_are_told_by_the_weights(kind: str) -> None:
    with torch.device("meta"):
        official = sam_model_registry[kind]()
        rebuilt = _build(official.state_dict())
    assert str(rebuilt) == str(official)
    assert _plan(rebuilt) == _plan(official)
    assert rebuilt.image_encoder.img_size == official.image_encoder.img_size == 1024
    for part in ("image_embedding_size", "input_image_size"):
        assert getattr(rebuilt.prompt_encoder, part) == getattr(official.prompt_encoder, part)
    heads = [module.num_heads for module in rebuilt.mask_decoder.modules() if hasattr(module, "num_heads")]
    assert heads == [module.num_heads for module in official.mask_decoder.modules() if hasattr(module, "num_heads")]


def test_half_precision_on_disk_is_float32_in_memory(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "sam").partition("@")[2])
    whole = load_sam("vit", path).state_dict()
    torch.save({name: value.half() for name, value in torch.load(path, weights_only=True).items()}, path)
    half = load_sam("vit", path).state_dict()
    assert {value.dtype for value in half.values()} == {torch.float32}
    assert all(torch.equal(half[name], value.half().float()) for name, value in whole.items())


@pytest.mark.parametrize("lost", ["mask_decoder.iou_token.weight", "image_encoder.neck.1.bias"])
def test_a_checkpoint_without_a_part_is_refused(tmp_path: Path, lost: str) -> None:
    path = Path(write(tmp_path / "sam").partition("@")[2])
    state = torch.load(path, weights_only=True)
    del state[lost]
    torch.save(state, path)
    with pytest.raises(BadWeights, match="not a complete vit model"):
        load_sam("vit", path)
