"""SAM-HQ's mask decoder, drawing masks on the image map that its transformer returns, as its authors do.

Ke et al. 2023, "Segment Anything in High Quality". The authors' decoder upsamples the map that comes out of the
two-way transformer (SysCV/sam-hq, segment_anything/modeling/mask_decoder_hq.py, predict_masks). In transformers 5.23
the decoder drops that map and upsamples the one that went in, with rows and columns swapped. Whether the installed
release does so is measured when a model is loaded, so a mended release is left alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from openvocab.errors import BadWeights

__all__ = ["draw_on_mixed_map"]

_SIDE = 3
"""Rows and columns of the map of the check; any small size shows the difference."""


def draw_on_mixed_map(decoder: Any) -> None:
    """Make one loaded SamHQMaskDecoder upsample the map that its transformer returns.

    Raises:
        BadWeights: the installed transformers builds the decoder in a way that is not known here.
    """
    if _draws_on_mixed_map(decoder):
        return
    hook = decoder.transformer.register_forward_hook(_hand_over, with_kwargs=True) if _has_parts(decoder) else None
    if hook and _draws_on_mixed_map(decoder):
        return
    if hook:
        hook.remove()
    import transformers

    raise BadWeights(
        f"transformers {transformers.__version__} draws SAM-HQ's masks in a way that openvocab does not know, and they "
        "may be wrong; install transformers 5.23, or take a segmenter of another family, e.g. sam_hf or sam2"
    )


def _hand_over(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: tuple[Tensor, Tensor]) -> None:
    """Write the transformer's map over the tensor that went in, which is the one that the decoder upsamples next.

    The decoder swaps rows and columns of that (B, C, H, W) tensor and reads it as (H, W) again, so the map is laid
    down the other way round. The tensor is the decoder's own: it is made anew for each call.
    """
    given: Tensor = kwargs["image_embeddings"]
    size, channels, height, width = given.shape
    mixed = output[1].transpose(-1, -2).reshape(size, channels, width, height)
    given.copy_(mixed.transpose(2, 3))


def _has_parts(decoder: Any) -> bool:
    return all(hasattr(decoder, name) for name in ("transformer", "upscale_conv1"))


def _draws_on_mixed_map(decoder: Any) -> bool:
    """Return whether the decoder upsamples the map that the transformer returns; False if its parts differ."""
    try:
        return _has_parts(decoder) and _compare(decoder)
    except Exception:  # of another release: other names, arguments or shapes, each with an error of its own
        return False


@torch.inference_mode()
def _compare(decoder: Any) -> bool:
    """Run two prompts on a small random map; compare the upsampled map with the transformer's."""
    weight = decoder.iou_token.weight
    draw = torch.Generator().manual_seed(0)

    def values(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw).to(weight.device, weight.dtype)

    wide, early = weight.shape[1], decoder.compress_vit_conv1.in_channels
    captured: dict[str, Tensor] = {}
    hooks = [
        decoder.transformer.register_forward_hook(
            lambda module, args, output: captured.update(mixed=output[1].clone())
        ),
        decoder.upscale_conv1.register_forward_hook(lambda module, args, output: captured.update(drawn=args[0])),
    ]
    try:
        decoder(
            image_embeddings=values(1, wide, _SIDE, _SIDE + 1),
            image_positional_embeddings=values(1, wide, _SIDE, _SIDE + 1),
            sparse_prompt_embeddings=values(1, 2, 2, wide),
            dense_prompt_embeddings=values(1, wide, 1, 1).expand(1, wide, _SIDE, _SIDE + 1),
            multimask_output=False,
            hq_token_only=False,
            intermediate_embeddings=[values(1, _SIDE, _SIDE + 1, early)],
        )
    finally:
        for hook in hooks:
            hook.remove()
    expected = captured["mixed"].transpose(-1, -2).reshape(captured["drawn"].shape)
    return bool(torch.allclose(captured["drawn"], expected, atol=1e-5, rtol=1e-4))
