"""Masks from boxes, with Segment Anything (vit_b, vit_l, vit_h, or any Sam built elsewhere)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything import sam_model_registry
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor

from openvocab.errors import BadInput, BadOutput, BadWeights, unknown
from openvocab.pipeline.device import dtype_of, low_precision, pick_device, pick_dtype
from openvocab.pipeline.record import ModelRecord
from openvocab.pipeline.stages import Picture
from openvocab.weights.files import read_state, sha256_of

__all__ = ["SamEncoding", "SamSegmenter"]

_KINDS = {"vit_b": 768, "vit_l": 1024, "vit_h": 1280}
"""Width of the image encoder, by which a checkpoint tells its kind."""

_BOXES_A_CALL = 32
_PIXELS_A_STEP = 2**26


@dataclass(frozen=True, eq=False, slots=True)
class SamEncoding:
    """What all boxes on one picture share.

    features       (1, channels, h, w) float32, the image encoder's answer.
    original_size  height and width of the picture.
    input_size     height and width it was resized to; the rest of the encoder's square is padding.
    """

    features: Tensor
    original_size: tuple[int, int]
    input_size: tuple[int, int]


@dataclass(frozen=True, eq=False, slots=True)
class SamSegmenter:
    """Cuts out what lies in a box.

    model   a segment_anything Sam, in evaluation mode, in float32, on its device.
    record  what the model is; with dtype "bfloat16" the image encoder multiplies in that precision.
    """

    model: Any
    record: ModelRecord

    @classmethod
    def load(cls, spec: str, device: str | None = None, dtype: str | None = None) -> SamSegmenter:
        """Load a checkpoint in the format of the official ones.

        Args:
            spec: "vit_b@PATH", "vit_l@PATH" or "vit_h@PATH".
            device: "cuda", "mps", "cpu"; None takes the best there is.
            dtype: "float32" or "bfloat16", for the image encoder; None takes what is fast there.

        Raises:
            BadInput: the spec has another form, or there is no such device or precision.
            UnknownName: there is no such kind of model.
            BadWeights: the file is absent, cannot be read, or holds another model.
        """
        kind, at, name = spec.partition("@")
        if not at or not name:
            raise BadInput(f"{spec!r} names no weights file; write {kind or 'vit_b'}@PATH")
        if kind not in _KINDS:
            raise unknown("SAM model", kind, _KINDS)
        target = pick_device(device)
        precision = str(pick_dtype(target, dtype)).removeprefix("torch.")
        model = _load(kind, Path(name)).to(target).eval()
        return cls(model, ModelRecord(f"sam:{spec}", sha256_of(Path(name)), str(target), precision))

    @torch.inference_mode()
    def encode(self, picture: Picture) -> SamEncoding:
        """Return what all boxes on this picture share.

        Raises:
            BadOutput: the image encoder's answer is not finite.
        """
        height, width = picture.shape[:2]
        small = self._resize.apply_image(picture)
        pixels = torch.as_tensor(small, device=self.model.device).permute(2, 0, 1)[None].contiguous()
        with low_precision(self.model.device, dtype_of(self.record.dtype)):
            features = self.model.image_encoder(self.model.preprocess(pixels)).float()
        if not torch.isfinite(features).all():
            raise BadOutput("the segmenter's encoding of the picture is not finite")
        return SamEncoding(features, (height, width), (small.shape[0], small.shape[1]))

    @torch.inference_mode()
    def masks(self, encoded: SamEncoding, xyxy: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Return one mask a box.

        Args:
            encoded: what encode returned for the picture.
            xyxy: (N, 4) boxes in pixels of the picture.

        Returns:
            masks (N, height, width) bool at the picture's size, and (N,) float32 the model's own estimates of
            their IoU, held to 0 to 1.

        Raises:
            BadOutput: a mask or its estimate is not finite.
        """
        masks = np.empty((len(xyxy), *encoded.original_size), np.bool_)
        scores = np.empty(len(xyxy), np.float32)
        for start in range(0, len(xyxy), _BOXES_A_CALL):
            rows = slice(start, start + _BOXES_A_CALL)
            logits, quality = self._decode(encoded, xyxy[rows])
            scores[rows] = quality.clamp(0, 1).cpu().numpy()
            for offset, block in self._upsample(encoded, logits):
                masks[start + offset : start + offset + len(block)] = block
        return masks, scores

    def _decode(self, encoded: SamEncoding, xyxy: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
        """Return (N, 1, h, w) mask logits and (N,) estimates of up to _BOXES_A_CALL boxes in one call."""
        given = torch.as_tensor(xyxy, dtype=torch.float32, device=self.model.device)
        boxes = self._resize.apply_boxes_torch(given, encoded.original_size)
        sparse, dense = self.model.prompt_encoder(points=None, boxes=boxes, masks=None)
        logits, quality = self.model.mask_decoder(
            image_embeddings=encoded.features,
            image_pe=self.model.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        if not (torch.isfinite(logits).all() and torch.isfinite(quality).all()):
            raise BadOutput("the segmenter's mask of a box is not finite")
        return logits, quality[:, 0]

    def _upsample(self, encoded: SamEncoding, logits: Tensor) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """Yield masks at the picture's size, a few at a time, each block with the index of its first."""
        height, width = encoded.original_size
        step = max(1, _PIXELS_A_STEP // (height * width))
        for offset in range(0, len(logits), step):
            large = self.model.postprocess_masks(
                logits[offset : offset + step], encoded.input_size, encoded.original_size
            )
            yield offset, (large[:, 0] > self.model.mask_threshold).cpu().numpy()

    @property
    def _resize(self) -> ResizeLongestSide:
        return ResizeLongestSide(self.model.image_encoder.img_size)


def _load(kind: str, path: Path) -> Any:
    """Build the model and fill it, refusing another kind's weights before the costly build."""
    state = read_state(path)
    likely = _kind_of(state)
    if likely is None:
        raise BadWeights(f"{path}: these are not the weights of a SAM vit_b, vit_l or vit_h model")
    if likely != kind:
        raise BadWeights(f"{path}: these are {likely} weights, not {kind}; write {likely}@{path}")
    model = sam_model_registry[kind]()
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise BadWeights(f"{path}: these weights are not a complete {kind} model of the official format") from error
    return model


def _kind_of(state: dict[str, Tensor]) -> str | None:
    place = state.get("image_encoder.pos_embed")
    width = None if place is None else place.shape[-1]
    return next((kind for kind, wide in _KINDS.items() if wide == width), None)
