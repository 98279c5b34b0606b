"""The image tower's quicker parts equal the library's in float32."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from openvocab.models.detectors.owl_tower import fold_quick_gelu, image_grid, lower_products

CLASSES = {"owlv2": "Owlv2ForObjectDetection", "owlvit": "OwlViTForObjectDetection"}


@pytest.fixture(params=CLASSES)
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    folder = import_module(f"tests.tiny.{request.param}").write(tmp_path / "model")
    return getattr(transformers, CLASSES[request.param]).from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("fold", [False, True], ids=["as loaded", "folded"])
@pytest.mark.parametrize("rows", [5, 512], ids=["in blocks", "at once"])
@torch.no_grad()
def test_grid_is_the_library_s(
    fold: bool, rows: int, model: Any, pixels: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = model.image_embedder(pixel_values=pixels)[0]
    if fold:
        fold_quick_gelu(model.base_model.vision_model)
    monkeypatch.setattr("openvocab.models.detectors.owl_tower._ROWS", rows)
    torch.testing.assert_close(image_grid(model, pixels), wanted, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_lowered_products_are_nearer_than_a_lowered_tower(model: Any, pixels: torch.Tensor) -> None:
    wanted = model.image_embedder(pixel_values=pixels)[0]
    tower = model.base_model.vision_model
    lower_products(tower, torch.bfloat16)
    ours = image_grid(model, pixels)
    whole = model.to(torch.bfloat16).image_embedder(pixel_values=pixels.bfloat16())[0].float()
    assert ours.dtype == torch.float32
    assert float((ours - wanted).norm() / wanted.norm()) < 0.01
    assert float((ours - wanted).norm()) < float((whole - wanted).norm())


def test_another_activation_is_left_alone(model: Any) -> None:
    tower = model.base_model.vision_model
    for layer in tower.encoder.layers:
        layer.mlp.activation_fn = torch.nn.GELU()
    before = [value.clone() for value in tower.parameters()]
    fold_quick_gelu(tower)
    assert all(torch.equal(one, other) for one, other in zip(before, tower.parameters(), strict=True))
