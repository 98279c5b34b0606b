"""Masks from an example image and its mask, with SegGPT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from openvocab.errors import BadInput, BadOutput
from openvocab.models.checkpoints import find, load_model, load_processor
from openvocab.models.device import dtype_of
from openvocab.models.segmenters.sam_attention import mask_free
from openvocab.pipeline.protocols import ImageArray
from openvocab.pipeline.result import ModelRecord

__all__ = ["SegGptSegmenter"]

_KIND = "SegGPT model"
_CLASSES = 1
"""The object's color in the painted mask; the background is black."""


@dataclass(frozen=True, eq=False, slots=True)
class SegGptSegmenter:
    """Segments what resembles the masked object of an example (Wang et al. 2023, "SegGPT: Segmenting Everything In
    Context"): the model paints the image as the example is painted, and what is nearer to white is the mask.

    Attributes:
        model: A SegGptForImageSegmentation, in evaluation mode, on its device.
        image_processor: Its SegGptImageProcessor.
        record: What the model is; with dtype "bfloat16" all of it is in that precision: black and white are far enough
            apart.
        batch: Images that go through the model together.
    """

    model: Any
    image_processor: Any
    record: ModelRecord
    batch: int = 4

    @classmethod
    def load(cls, spec: str, device: str | None = None, dtype: str | None = None) -> SegGptSegmenter:
        """Load a model from the hub or from a folder in the same layout.

        Args:
            spec: "BAAI/seggpt-vit-large" (ORG/NAME or ORG/NAME@REVISION), or the path of a folder.
            device: "cuda", "mps", "cpu"; None for the best there is.
            dtype: "float32", "bfloat16" or "float16"; None for what is fast on the device.

        Raises:
            BadInput: there is no such device or precision.
            BadWeights: the model is absent, cannot be fetched or read, or is not a SegGPT.
        """
        from transformers import SegGptForImageSegmentation, SegGptImageProcessor

        found = find("seggpt", spec, _KIND, ["seggpt"])
        record = found.record(device, dtype)
        image_processor = load_processor(found, SegGptImageProcessor, _KIND)
        model = load_model(found, SegGptForImageSegmentation, _KIND).requires_grad_(False).to(record.device)
        mask_free(model.model.encoder.layers, "attention", pair=True)
        model.to(dtype_of(record.dtype))
        return cls(model, image_processor, record)

    def segment_like(
        self, images: Sequence[ImageArray], example: ImageArray, mask: NDArray[np.bool_]
    ) -> list[NDArray[np.bool_]]:
        """Return one mask per image: what resembles the masked object of the example.

        Args:
            images: P images of any sizes.
            example: (h, w, 3), an image that shows the object.
            mask: (h, w) bool, the object in the example.

        Returns:
            P masks (H, W) bool, each at its image's own size.

        Raises:
            BadInput: the mask is not bool, has another size than the example, or marks nothing.
            BadOutput: the model's answer is not finite; the message names the image's index.
        """
        if not len(images):
            _check_mask(example, mask)
            return []
        shown = self._shown([(example, mask)])
        starts = range(0, len(images), self.batch)
        return [one for start in starts for one in self._block(images[start : start + self.batch], shown, start)]

    @torch.inference_mode()
    def resemblance(
        self, image: ImageArray, examples: Sequence[tuple[ImageArray, NDArray[np.bool_]]]
    ) -> NDArray[np.float32]:
        """Return how like the masked objects of the examples each pixel of the image is.

        Several examples are averaged in the model's features, layer by layer (section "In-context ensemble" of the
        paper).

        Args:
            image: (H, W, 3).
            examples: Images that show the object, (h, w, 3) each, with its mask, (h, w) bool.

        Returns:
            (H, W) float32 in 0 to 1: how white the model paints. Over 0.5 it is the object; with one example these are
            the pixels of segment_like.

        Raises:
            BadInput: there is no example, or a mask is not bool, has another size than its image, or marks nothing.
            BadOutput: the model's answer is not finite.
        """
        if not len(examples):
            raise BadInput("there is no example to look for; give an image with the object's mask")
        pixels = self._pixels(image).expand(len(examples), -1, -1, -1)
        painted = self._answer(pixels, self._shown(examples), 0).pred_masks[:1].float()
        below = painted[:, :, painted.shape[2] // 2 :]
        std, mean = (
            below.new_tensor(each).view(1, -1, 1, 1)
            for each in (self.image_processor.image_std, self.image_processor.image_mean)
        )
        white = (below * std + mean).clamp(0, 1).mean(1, keepdim=True)
        sized = torch.nn.functional.interpolate(white, image.shape[:2], mode="nearest")
        return np.asarray(sized[0, 0].cpu().numpy(), np.float32)

    def _shown(self, examples: Sequence[tuple[ImageArray, NDArray[np.bool_]]]) -> tuple[Tensor, Tensor]:
        """Return the model's input for E examples, (E, 3, height, width) each: the images, and how they are painted."""
        for example, mask in examples:
            _check_mask(example, mask)
        given = [
            self.image_processor(
                images=None,
                prompt_images=Image.fromarray(example),
                prompt_masks=mask.astype(np.uint8),
                num_labels=_CLASSES,
                return_tensors="pt",
            )
            for example, mask in examples
        ]
        return torch.cat([each.prompt_pixel_values for each in given]), torch.cat([each.prompt_masks for each in given])

    def _answer(self, pixels: Tensor, shown: tuple[Tensor, Tensor], start: int) -> Any:
        """Return the model's answer for P images, of which the first is number start; P examples, or one, are shown.

        Several examples are of one image.
        """
        images, masks = (self._ready(each).expand(len(pixels), -1, -1, -1) for each in shown)
        answer = self.model(
            pixel_values=self._ready(pixels),
            prompt_pixel_values=images,
            prompt_masks=masks,
            feature_ensemble=len(shown[0]) > 1,
        )
        finite = torch.isfinite(answer.pred_masks).flatten(1).all(1)
        if not finite.all():
            raise BadOutput(f"the segmenter's answer for image {start + int((~finite).int().argmax())} is not finite")
        return answer

    @torch.inference_mode()
    def _block(self, images: Sequence[ImageArray], shown: tuple[Tensor, Tensor], start: int) -> list[NDArray[np.bool_]]:
        """Return the masks of a few images, of which the first is number start."""
        answer = self._answer(torch.cat([self._pixels(image) for image in images]), shown, start)
        maps = self.image_processor.post_process_semantic_segmentation(
            answer, [image.shape[:2] for image in images], num_labels=_CLASSES
        )
        return [np.asarray(each.cpu().numpy() == 1) for each in maps]

    def _pixels(self, image: ImageArray) -> Tensor:
        given = self.image_processor(images=Image.fromarray(image), return_tensors="pt")
        pixels: Tensor = given.pixel_values
        return pixels

    def _ready(self, pixels: Tensor) -> Tensor:
        return pixels.to(self.model.device, dtype_of(self.record.dtype))


def _check_mask(example: ImageArray, mask: NDArray[np.bool_]) -> None:
    """Raise BadInput if the mask is empty or does not fit the example."""
    if mask.dtype != np.bool_:
        raise BadInput(f"the example's mask must be bool, got {mask.dtype.name}; write mask > 0")
    if mask.shape != example.shape[:2]:
        raise BadInput(f"the example's mask must have shape {example.shape[:2]}, got {mask.shape}")
    if not mask.any():
        raise BadInput("the example's mask is empty; mark the object to look for")
