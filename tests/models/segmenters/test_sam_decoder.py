"""The folded mask decoder is upstream's decoder: same masks, same estimates."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from segment_anything.modeling.mask_decoder import MaskDecoder
from segment_anything.modeling.transformer import TwoWayTransformer
from torch import Tensor, nn

from openvocab.errors import OpenVocabWarning
from openvocab.models import checked
from openvocab.models.segmenters.sam_decoder import FoldedDecoder, fold_decoder

WIDTH = 32


def _decoder(depth: int = 2, activation: type[nn.Module] = nn.GELU) -> Any:
    torch.manual_seed(0)
    mixer = TwoWayTransformer(depth=depth, embedding_dim=WIDTH, mlp_dim=64, num_heads=2)
    made = MaskDecoder(transformer_dim=WIDTH, transformer=mixer, activation=activation, iou_head_hidden_dim=16)
    for value in made.parameters():
        nn.init.normal_(value, std=0.3)
    return made.eval()


def _given(prompts: int, tokens: int, size: tuple[int, int], *, shared: bool = True) -> tuple[Tensor, ...]:
    torch.manual_seed(1)
    image, position = torch.randn(1, WIDTH, *size), torch.randn(1, WIDTH, *size)
    dense = torch.randn(1, WIDTH, *size).expand(prompts, -1, -1, -1) if shared else torch.randn(prompts, WIDTH, *size)
    return image, position, torch.randn(prompts, tokens, WIDTH), dense


@pytest.mark.parametrize("multimask", [False, True], ids=["one mask", "three masks"])
@pytest.mark.parametrize(
    ("prompts", "tokens", "size", "shared"),
    [
        pytest.param(1, 2, (4, 4), True, id="one box"),
        pytest.param(3, 2, (4, 4), True, id="boxes"),
        pytest.param(2, 5, (3, 6), True, id="points, a wide map"),
        pytest.param(2, 0, (6, 3), True, id="no token, a tall map"),
        pytest.param(3, 2, (4, 4), False, id="prompts with masks of their own"),
    ],
)
@torch.inference_mode()
def test_masks_are_those_of_upstream(
    prompts: int, tokens: int, size: tuple[int, int], shared: bool, multimask: bool
) -> None:
    decoder, given = _decoder(), _given(prompts, tokens, size, shared=shared)
    got, expected = (each(*given, multimask_output=multimask) for each in (FoldedDecoder(decoder), decoder))
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("depth", "activation"),
    [pytest.param(1, nn.GELU, id="one layer"), pytest.param(3, nn.ReLU, id="three layers, another activation")],
)
@torch.inference_mode()
def test_decoders_of_other_shapes(depth: int, activation: type[nn.Module]) -> None:
    decoder, given = _decoder(depth, activation), _given(2, 2, (4, 4))
    got, expected = (each(*given, multimask_output=False)[0] for each in (FoldedDecoder(decoder), decoder))
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


def test_the_decoder_of_another_release_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checked, "_verdicts", {})
    model = nn.Module()
    model.mask_decoder = _decoder()
    own = MaskDecoder.predict_masks

    def changed(self: Any, **given: Any) -> Any:
        masks, quality = own(self, **given)
        return masks, quality.sigmoid()

    monkeypatch.setattr(MaskDecoder, "predict_masks", changed)
    with pytest.warns(OpenVocabWarning, match="the mask decoder of SAM"):
        assert not fold_decoder(model)
    assert type(model.mask_decoder) is MaskDecoder
