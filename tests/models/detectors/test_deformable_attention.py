"""Gathered deformable attention is the library's, which samples with grid_sample."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import GroundingDinoConfig
from transformers.models.grounding_dino.modeling_grounding_dino import (
    GroundingDinoMultiscaleDeformableAttention,
    MultiScaleDeformableAttention,
)

from openvocab.models.detectors.deformable_attention import GatheredAttention, gather_points, use_gathered_attention

SHAPES = [(8, 11), (4, 6), (2, 3), (1, 2)]
PLACES = sum(height * width for height, width in SHAPES)


def _attention(heads: int, points: int) -> Any:
    torch.manual_seed(0)
    config = GroundingDinoConfig(d_model=32)
    attention = GroundingDinoMultiscaleDeformableAttention(config, heads, points)
    for value in attention.parameters():
        torch.nn.init.normal_(value, std=0.3)
    return attention.eval()


@pytest.mark.parametrize(
    ("low", "high", "queries"),
    [
        pytest.param(0.1, 0.9, 7, id="inside"),
        pytest.param(-0.3, 1.3, 50, id="over the edges"),
        pytest.param(-40.0, 40.0, 50, id="far away"),
        pytest.param(0.0, 1.0, 2100, id="more queries than a block"),
    ],
)
def test_points_are_those_of_grid_sample(low: float, high: float, queries: int) -> None:
    torch.manual_seed(1)
    value = torch.randn(2, PLACES, 2, 8)
    places = torch.empty(2, queries, 2, len(SHAPES), 3, 2).uniform_(low, high)
    weights = torch.rand(2, queries, 2, len(SHAPES), 3)
    expected = MultiScaleDeformableAttention()(value, torch.tensor(SHAPES), SHAPES, None, places, weights, 64)
    got = gather_points(value, SHAPES, places, weights)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("edge", [-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0], ids=lambda edge: f"at {edge} pixels")
def test_points_on_an_edge_are_those_of_grid_sample(edge: float) -> None:
    value = torch.randn(1, 12, 1, 4)
    places = torch.tensor([[edge / 4, edge / 3], [1 - edge / 4, 1 - edge / 3]]).view(1, 2, 1, 1, 1, 2)
    weights = torch.ones(1, 2, 1, 1, 1)
    expected = MultiScaleDeformableAttention()(value, torch.tensor([(3, 4)]), [(3, 4)], None, places, weights, 64)
    torch.testing.assert_close(gather_points(value, [(3, 4)], places, weights), expected, atol=1e-4, rtol=0)


def test_what_is_not_finite_stays_so() -> None:
    value, weights = torch.randn(1, 12, 1, 4), torch.ones(1, 3, 1, 1, 1)
    places = torch.tensor([[0.5, 0.5], [float("nan"), 0.5], [float("inf"), 0.5]]).view(1, 3, 1, 1, 1, 2)
    finite = torch.isfinite(gather_points(value, [(3, 4)], places, weights)).all(-1)[0]
    assert finite.tolist() == [True, False, True]


@pytest.mark.parametrize("hide", [False, True], ids=["all seen", "some places masked"])
@pytest.mark.parametrize("reference", [2, 4], ids=["from points", "from boxes"])
@pytest.mark.parametrize(("heads", "points"), [(4, 4), (2, 1)], ids=["4 heads of 4 points", "2 heads of 1 point"])
def test_module_is_the_librarys(heads: int, points: int, reference: int, hide: bool) -> None:
    attention = _attention(heads, points)
    given = {
        "hidden_states": torch.randn(2, 9, 32),
        "encoder_hidden_states": torch.randn(2, PLACES, 32),
        "attention_mask": torch.rand(2, PLACES) > 0.3 if hide else torch.ones(2, PLACES, dtype=torch.bool),
        "position_embeddings": torch.randn(2, 9, 32),
        "reference_points": torch.rand(2, 9, len(SHAPES), reference),
        "spatial_shapes": torch.tensor(SHAPES),
        "spatial_shapes_list": SHAPES,
    }
    with torch.no_grad():
        expected, got = attention(**given)[0], GatheredAttention(attention)(**given)[0]
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)


def test_only_the_layers_that_are_given_change() -> None:
    one, other = (torch.nn.ModuleDict({"attention": _attention(4, 4)}) for _ in range(2))
    names = list(one.state_dict())
    use_gathered_attention([one], "attention")
    assert isinstance(one["attention"], GatheredAttention)
    assert not isinstance(other["attention"], GatheredAttention)
    assert sorted(one.state_dict()) == sorted(names)
