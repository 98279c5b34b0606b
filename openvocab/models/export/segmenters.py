"""Export the image encoder and the mask decoder of SAM."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything.modeling import PromptEncoder
from torch import Tensor, nn

from openvocab.errors import BadInput
from openvocab.models.export.compare import cosines
from openvocab.models.export.samples import Samples
from openvocab.models.export.write import GraphSource
from openvocab.models.graphs.segmenters import ExportedSam, load_segmenter
from openvocab.models.segmenters.sam_segmenter import SamSegmenter
from openvocab.pipeline.protocols import ImageArray

__all__ = ["SegmenterExport"]

_MOST = 16
"""Images that are compared: a segmenter takes seconds for each."""
_SHARES = np.array([[0.25, 0.25, 0.75, 0.75], [0, 0, 0.5, 0.5], [0.5, 0, 1, 0.5], [0.1, 0.4, 0.6, 0.9]], np.float32)
"""The boxes of the comparison: left, top, right, bottom as shares of the image."""


class _Images(nn.Module):
    """(1, 3, side, side) normalized pixels to (1, channels, h, w) features."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pixels: Tensor) -> tuple[Tensor]:
        return (self.encoder(pixels),)


class _Masks(nn.Module):
    """Features, (1, T, 2) points and their (1, T) labels to (1, M, 4h, 4w) mask logits and (1, M) estimated IoUs.

    Labels are -1 for padding, 0 beside the object, 1 on it, 2 and 3 for the corners of a box; see PromptEncoder of
    segment_anything, which embeds points and boxes apart.
    """

    def __init__(self, model: Any, multimask: bool) -> None:
        super().__init__()
        self.prompts: Any = model.prompt_encoder
        self.decoder, self.multimask = model.mask_decoder, multimask
        self.kinds: Tensor
        self.position: Tensor
        kinds = [self.prompts.not_a_point_embed, *self.prompts.point_embeddings]
        self.register_buffer("kinds", torch.cat([kind.weight.detach() for kind in kinds]))
        self.register_buffer("position", self.prompts.get_dense_pe().detach())

    def forward(self, features: Tensor, points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        sparse = torch.where(labels[..., None] < 0, 0.0, self._encoded(points)) + self.kinds[labels + 1]
        dense = self.prompts.no_mask_embed.weight.reshape(1, -1, 1, 1)
        made: tuple[Tensor, Tensor] = self.decoder(
            image_embeddings=features,
            image_pe=self.position,
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense.expand(1, -1, *self.prompts.image_embedding_size),
            multimask_output=self.multimask,
        )
        return made

    def _encoded(self, points: Tensor) -> Tensor:
        """Return the (1, T, C) position encoding of the middle of pixels."""
        if isinstance(self.prompts, PromptEncoder):
            return torch.as_tensor(
                self.prompts.pe_layer.forward_with_coords(points + 0.5, self.prompts.input_image_size)
            )
        return torch.as_tensor(self.prompts.encoded(points))


class SegmenterExport:
    """How segmenters are exported and compared; see stages.StageExport."""

    quantizes = False

    def graphs(self, segmenter: Any, image: ImageArray) -> list[GraphSource]:
        """Return the image encoder, and the decoder for one mask and for three.

        Raises:
            BadInput: The segmenter is of another family.
        """
        if not isinstance(segmenter, SamSegmenter) or isinstance(segmenter, ExportedSam):
            raise BadInput(
                f"segmenter {segmenter.record.spec} cannot be exported; of segmenters, the checkpoints of sam can, and "
                "the embedded one"
            )
        pixels, model = self.pixels(segmenter, image), segmenter.model
        with torch.no_grad():
            features = model.image_encoder(pixels).clone()
        points, labels = torch.full((1, 3, 2), 8.0), torch.tensor([[1, 2, 3]])
        given = {"features": features, "points": points, "labels": labels}
        free = {"points": (1,), "labels": (1,)}
        outputs = ("masks", "quality")
        return [
            GraphSource("image", _Images(deepcopy(model.image_encoder)), {"pixels": pixels}, {}, ("features",)),
            GraphSource("mask", _Masks(model, False), given, free, outputs),
            GraphSource("masks", _Masks(model, True), given, free, outputs),
        ]

    def pixels(self, segmenter: Any, image: ImageArray) -> Tensor:
        """Return the (1, 3, side, side) input of the image encoder."""
        side = segmenter.model.image_encoder.img_size
        small = torch.from_numpy(np.ascontiguousarray(image[:side, :side])).permute(2, 0, 1)[None]
        made: Tensor = segmenter.model.preprocess(small)
        return made

    def save(self, segmenter: Any, folder: Path) -> dict[str, Any]:
        """Return the settings of the record; there is no other file."""
        model = segmenter.model
        side = model.image_encoder.img_size
        black, white = (model.preprocess(torch.full((1, 3, side, side), level))[0, :, 0, 0] for level in (0.0, 255.0))
        deviation = 255 / (white - black)
        mean = -black * deviation
        return {
            "input_side": side,
            "features": list(model.prompt_encoder.image_embedding_size),
            "mask_threshold": model.mask_threshold,
            "pixel_mean": mean.flatten().tolist(),
            "pixel_std": deviation.flatten().tolist(),
            "zoom": segmenter.zoom,
        }

    def kind(self, segmenter: Any) -> str:
        """Return the family whose class loads the export; the embedded segmenter's graphs have the same inputs."""
        return "sam"

    def load(self, form: str, folder: Path, dtype: str | None) -> ExportedSam:
        """Load what was written."""
        return load_segmenter(form, str(folder), None, dtype)

    def answers(self, segmenter: Any, samples: Samples) -> list[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
        """Return the (h * w, channels) features and the (N, H, W) masks of each image."""
        found = []
        for image in samples.images(_MOST):
            encoded = segmenter.encode(image)
            boxes = _SHARES * np.array(image.shape[1::-1] * 2, np.float32)
            found.append((encoded.features[0].flatten(1).T.numpy(), segmenter.masks(encoded, boxes)[0]))
        return found

    def compare(self, segmenter: Any, answers: Any, exported: Any, samples: Samples) -> dict[str, Any]:
        """Return cosines of the features, and how much masks of the same boxes overlap."""
        ours = self.answers(exported, samples)
        pairs = list(zip(answers, ours, strict=True))
        rows = np.concatenate([cosines(one, other) for (one, _), (other, _) in pairs])
        ious = np.concatenate([_mask_ious(one, other) for (_, one), (_, other) in pairs])
        return {
            "images": len(ours),
            "cosine_min": float(rows.min()),
            "cosine_mean": float(rows.mean()),
            "masks": len(ious),
            "mask_iou_min": float(ious.min()),
            "mask_iou_mean": float(ious.mean()),
        }


def _mask_ious(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the (N,) IoUs of (N, H, W) masks; 1 where both are empty."""
    common, either = ((one & other).sum((1, 2)), (one | other).sum((1, 2)))
    return np.where(either > 0, common / np.maximum(either, 1), 1).astype(np.float32)
