"""The folded mask decoder of SAM 2 is the library's decoder: same masks, estimates, tokens and presence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.models.edgetam.configuration_edgetam import EdgeTamMaskDecoderConfig
from transformers.models.edgetam.modeling_edgetam import EdgeTamMaskDecoder
from transformers.models.sam2.configuration_sam2 import Sam2MaskDecoderConfig
from transformers.models.sam2.modeling_sam2 import Sam2MaskDecoder

from openvocab.errors import OpenVocabWarning
from openvocab.models import checked
from openvocab.models.segmenters.sam2_decoder import FoldedSam2Decoder, fold_sam2_decoder
from openvocab.models.segmenters.transformers_segmenter import Sam2Segmenter
from tests.tiny import sam2

WIDTH = 32
SIZES: dict[str, Any] = {"hidden_size": WIDTH, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": 16}
DECODERS: dict[str, tuple[Any, Any]] = {
    "sam2": (Sam2MaskDecoder, Sam2MaskDecoderConfig),
    "edgetam": (EdgeTamMaskDecoder, EdgeTamMaskDecoderConfig),
}


def _decoder(family: str = "sam2", **more: Any) -> Any:
    kind, config = DECODERS[family]
    torch.manual_seed(0)
    made = kind(config(**SIZES, **more, attn_implementation="sdpa"))
    for value in made.parameters():
        nn.init.normal_(value, std=0.3)
    return made.eval()


def _given(prompts: int, tokens: int, size: tuple[int, int]) -> tuple[Any, ...]:
    torch.manual_seed(1)
    height, width = size
    image, position, dense = (torch.randn(1, WIDTH, height, width) for _ in range(3))
    finer: list[Tensor] = [torch.randn(1, WIDTH // (8 // by), 4 // by * height, 4 // by * width) for by in (1, 2)]
    return image, position, torch.randn(1, prompts, tokens, WIDTH), dense, finer


@pytest.mark.parametrize(
    ("multimask", "more"),
    [
        pytest.param(True, {}, id="three masks"),
        pytest.param(False, {"dynamic_multimask_via_stability": False}, id="the single mask"),
        pytest.param(False, {"dynamic_multimask_stability_thresh": 0.0}, id="all stable"),
        pytest.param(False, {"dynamic_multimask_stability_thresh": 1.1}, id="none stable"),
        pytest.param(False, {"dynamic_multimask_stability_delta": 1.0, "median": True}, id="some stable"),
    ],
)
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
    family: str, prompts: int, tokens: int, size: tuple[int, int], multimask: bool, more: dict[str, Any]
) -> None:
    image, position, sparse, dense, finer = _given(prompts, tokens, size)
    given = (image, position, sparse, dense, multimask, finer)
    options = dict(more)
    median = options.pop("median", False)
    decoder = _decoder(family, **options)
    if median:  # a threshold that parts the prompts
        stable = decoder._get_stability_scores(_decoder(family, dynamic_multimask_via_stability=False)(*given)[0])
        decoder.dynamic_multimask_stability_thresh = float(stable.median()) + 1e-6
    got, expected = FoldedSam2Decoder(decoder)(*given), decoder(*given)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_the_decoder_of_another_release_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checked, "_verdicts", {})
    model = nn.Module()
    model.mask_decoder = _decoder()
    own = Sam2MaskDecoder.forward

    def changed(self: Any, *given: Any, **more: Any) -> Any:
        masks, *rest = own(self, *given, **more)
        return (masks + 1, *rest)

    monkeypatch.setattr(Sam2MaskDecoder, "forward", changed)
    with pytest.warns(OpenVocabWarning, match="the mask decoder of sam2"):
        assert not fold_sam2_decoder(model, "the mask decoder of sam2")
    assert type(model.mask_decoder) is Sam2MaskDecoder


@torch.inference_mode()
def test_a_loaded_model_has_the_folded_decoder(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    segmenter = Sam2Segmenter.load(sam2.write(tmp_path), "cpu", "float32")
    assert type(segmenter.model.mask_decoder) is FoldedSam2Decoder
    assert not [each for each in recwarn if issubclass(each.category, OpenVocabWarning)]
