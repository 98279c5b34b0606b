"""The folded decoders of SAM and SAM-HQ in transformers are the library's: same masks and estimates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers.models.sam.configuration_sam import SamMaskDecoderConfig
from transformers.models.sam.modeling_sam import SamMaskDecoder
from transformers.models.sam_hq.configuration_sam_hq import SamHQMaskDecoderConfig
from transformers.models.sam_hq.modeling_sam_hq import SamHQMaskDecoder, SamHQTwoWayTransformer

from openvocab.errors import OpenVocabWarning
from openvocab.models import checked
from openvocab.models.segmenters.sam_hf_decoder import (
    FoldedSamHfDecoder,
    FoldedTransformer,
    fold_sam_hf_decoder,
    fold_sam_hq_transformer,
)
from openvocab.models.segmenters.transformers_segmenter import SamHfSegmenter, SamHqSegmenter
from tests.tiny import sam_hf, sam_hq

WIDTH = 32
SIZES: dict[str, Any] = {
    "hidden_size": WIDTH,
    "mlp_dim": 64,
    "num_attention_heads": 2,
    "iou_head_hidden_dim": 16,
    "attn_implementation": "sdpa",
}
DECODERS: dict[str, Callable[[], Any]] = {
    "sam_hf": lambda: SamMaskDecoder(SamMaskDecoderConfig(**SIZES)),
    "sam_hq": lambda: SamHQMaskDecoder(SamHQMaskDecoderConfig(**SIZES, vit_dim=WIDTH)),
}


def _decoder(family: str) -> Any:
    torch.manual_seed(0)
    made = DECODERS[family]()
    for value in made.parameters():
        nn.init.normal_(value, std=0.3)
    return made.eval()


def _folded(family: str) -> Any:
    model = nn.Module()
    model.mask_decoder = _decoder(family)
    assert fold_sam_hf_decoder(model) if family == "sam_hf" else fold_sam_hq_transformer(model.mask_decoder)
    return model.mask_decoder


@pytest.mark.parametrize("multimask", [False, True], ids=["one mask", "three masks"])
@pytest.mark.parametrize(
    ("prompts", "tokens", "size"),
    [
        pytest.param(1, 2, (4, 4), id="one box"),
        pytest.param(5, 3, (3, 6), id="boxes, a wide map"),
        pytest.param(2, 5, (6, 3), id="points, a tall map"),
    ],
)
@pytest.mark.parametrize("family", list(DECODERS))
@torch.inference_mode()
def test_answers_are_those_of_the_library(
    family: str, prompts: int, tokens: int, size: tuple[int, int], multimask: bool
) -> None:
    torch.manual_seed(1)
    image, position, dense = (torch.randn(1, WIDTH, *size) for _ in range(3))
    given = (image, position, torch.randn(1, prompts, tokens, WIDTH), dense, multimask)
    more = (False, [torch.randn(1, *size, WIDTH)]) if family == "sam_hq" else ()
    got, expected = (made(*given, *more) for made in (_folded(family), _decoder(family)))
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("kind", "fold", "family"),
    [
        pytest.param(SamMaskDecoder, lambda model: fold_sam_hf_decoder(model), "sam_hf", id="SAM"),
        pytest.param(
            SamHQTwoWayTransformer, lambda model: fold_sam_hq_transformer(model.mask_decoder), "sam_hq", id="SAM-HQ"
        ),
    ],
)
def test_the_decoder_of_another_release_is_kept(
    kind: Any, fold: Callable[[Any], bool], family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checked, "_verdicts", {})
    model, own = nn.Module(), kind.forward
    model.mask_decoder = _decoder(family)

    def changed(self: Any, *given: Any, **more: Any) -> Any:
        first, *rest = own(self, *given, **more)
        return (first + 1, *rest)

    monkeypatch.setattr(kind, "forward", changed)
    with pytest.warns(OpenVocabWarning, match=f"the mask decoder.* of {family}"):
        assert not fold(model)
    assert kind in map(type, model.modules())


@torch.inference_mode()
def test_a_loaded_model_has_the_folded_decoder(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    plain = SamHfSegmenter.load(sam_hf.write(tmp_path / "plain"), "cpu", "float32")
    assert type(plain.model.mask_decoder) is FoldedSamHfDecoder
    high = SamHqSegmenter.load(sam_hq.write(tmp_path / "hq"), "cpu", "float32")
    assert type(high.model.mask_decoder.transformer) is FoldedTransformer
    assert not [each for each in recwarn if issubclass(each.category, OpenVocabWarning)]
