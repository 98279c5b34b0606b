"""The packed tower gives the model's own rows, whatever the batch, and stands back from towers of another build."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch

from openvocab.models.taggers.clip_tagger import OpenClipTagger
from openvocab.models.taggers.clip_tower import packed_tower
from tests.tiny.open_clip import write_kind

pytestmark = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this processor has no bfloat16 products"
)

VISION = {"image_size": 32, "layers": 3, "width": 32, "patch_size": 8, "head_width": 16}
TEXT = {"context_length": 16, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
ROUNDING = 2e-2
"""Of rows of length 1: bfloat16 has 8 bits, and both towers round after each of a dozen steps."""


def model(precision: torch.dtype = torch.bfloat16, *, quick_gelu: bool = False, **changes: Any) -> Any:
    """A small open_clip model with weights that matter."""
    torch.manual_seed(3)
    made = open_clip.CLIP(24, {**VISION, **changes}, TEXT, quick_gelu=quick_gelu)
    for name, value in made.visual.named_parameters():
        if value.ndim == 1 and name.endswith("bias"):
            torch.nn.init.normal_(value, std=0.3)
    return made.to(precision).eval()


def pixels(count: int) -> torch.Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def rows(values: torch.Tensor) -> Any:
    return torch.nn.functional.normalize(values.detach().float(), dim=-1).numpy()


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="as CLIP"),
        pytest.param({"quick_gelu": True}, id="OpenAI's GELU"),
        pytest.param({"layers": 1}, id="one block"),
        pytest.param({"width": 64}, id="rows of an even number of cache lines"),
        pytest.param({"no_ln_pre": True}, id="no norm in front"),
        pytest.param({"final_ln_after_pool": True}, id="norm after the pool"),
        pytest.param({"image_size": (32, 32), "patch_size": 16}, id="other patches"),
        pytest.param({"patch_size": 2}, id="many tokens"),
    ],
)
@torch.inference_mode()
def test_rows_are_as_near_to_float32_as_the_models_own(changes: dict[str, Any]) -> None:
    low, exact = model(**changes), rows(model(torch.float32, **changes).encode_image(pixels(5)))
    tower = packed_tower(low)
    assert tower is not None
    seen = pixels(5).bfloat16()
    got, own = rows(tower(seen)), rows(low.encode_image(seen))
    np.testing.assert_allclose(got, exact, atol=ROUNDING)
    assert np.abs(got - exact).mean() <= 1.5 * np.abs(own - exact).mean() + 1e-4


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("patch", [pytest.param(8, id="few tokens"), pytest.param(2, id="many tokens")])
@torch.inference_mode()
def test_neighbors_in_a_batch_change_nothing(patch: int, batch: int) -> None:
    tower = packed_tower(model(patch_size=patch))
    assert tower is not None
    seen = pixels(7).bfloat16()
    parts = torch.cat([tower(seen[start : start + batch]) for start in range(0, 7, batch)])
    alone = torch.cat([tower(one[None]) for one in seen])
    np.testing.assert_allclose(rows(parts), rows(alone), atol=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"precision": torch.float32}, id="float32"),
        pytest.param({"ls_init_value": 0.1}, id="layer scales"),
        pytest.param({"pool_type": "avg"}, id="average pooling"),
        pytest.param({"attentional_pool": True, "attn_pooler_heads": 2}, id="attentional pooling"),
        pytest.param({"output_tokens": True}, id="tokens too"),
        pytest.param({"block_type": "custom"}, id="other blocks"),
    ],
)
def test_towers_of_another_build_run_as_they_are(changes: dict[str, Any]) -> None:
    assert packed_tower(model(**changes)) is None


def test_towers_of_other_libraries_run_as_they_are() -> None:
    assert packed_tower(torch.nn.Linear(2, 2)) is None


def test_the_tagger_takes_it_where_weights_are_bfloat16(tmp_path: Path) -> None:
    spec = write_kind(tmp_path / "clip", "clip")
    low, high = (OpenClipTagger.load(spec, "cpu", dtype) for dtype in ("bfloat16", "float32"))
    assert low.tower is not None
    assert high.tower is None
    images = [np.random.default_rng(seed).integers(0, 256, (40, 52, 3), np.uint8) for seed in range(3)]
    own = replace(low, tower=None).encode_images(images)
    np.testing.assert_allclose(low.encode_images(images), own, atol=ROUNDING)
