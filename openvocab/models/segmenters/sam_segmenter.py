"""Masks from boxes, with Segment Anything (vit_b, vit_l, vit_h, or any Sam with its image encoder)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from openvocab.errors import BadInput, BadOutput
from openvocab.models.checked import same_answers
from openvocab.models.device import dtype_of, pick_device, pick_dtype, to_device
from openvocab.models.segmenters.mask_upsampling import axis_weights, upsampled
from openvocab.models.segmenters.prompts import Prompt
from openvocab.models.segmenters.sam_attention import contiguous_positions, mask_free
from openvocab.models.segmenters.sam_decoder import fold_decoder
from openvocab.models.segmenters.zoom import mask_windows, masks_by_window
from openvocab.pipeline.protocols import ImageArray
from openvocab.pipeline.result import ModelRecord
from openvocab.weights.manifest import published_for
from openvocab.weights.store import url_weights
from openvocab.weights.trust import file_state, refuse_changed, trusted_sha256

__all__ = ["SamEncoding", "SamSegmenter", "thickened"]

_BOXES_A_CALL = 2
"""More at a time fall out of a processor's cache."""
_ON_A_GPU = 16
"""Times as many boxes in a call."""


@dataclass(frozen=True, eq=False, slots=True)
class SamEncoding:
    """An encoded image, shared by all prompts.

    Attributes:
        features: (1, channels, h, w) float32, the image encoder's answer.
        original_size: Height and width of the image.
        input_size: Height and width it was resized to; the rest of the encoder's square is padding.
        image: (height, width, 3) uint8 RGB, if windows of it are to be encoded for small boxes.
    """

    features: Tensor
    original_size: tuple[int, int]
    input_size: tuple[int, int]
    image: ImageArray | None = None


@dataclass(frozen=True, eq=False, slots=True)
class SamSegmenter:
    """Segments the object in a box or under points.

    Attributes:
        model: A segment_anything Sam, in evaluation mode, on its device. The blocks of its image encoder may be in
            bfloat16; all else is in float32.
        record: What the model is, with the precision of those blocks.
        batch: Images that the encoder takes at once.
        multimask: False takes the mask that the model gives for a clear prompt, as is advised for boxes; True takes, of
            its three candidates, the one whose estimated IoU is highest.
        zoom: A box is segmented in an enlarged window of at least so many times its longer side, so that its mask is
            finer; 0: in the image. The candidates of prompt are those in the image.
    """

    model: Any
    record: ModelRecord
    multimask: bool = False
    batch: int = 1
    zoom: float = 0.0

    @classmethod
    def load(cls, spec: str, device: str | None = None, dtype: str | None = None) -> SamSegmenter:
        """Load a checkpoint in the format of the official ones.

        Args:
            spec: "vit_b", "vit_l" or "vit_h" for the official weights; "vit_b@PATH" and so on for a file; "vit@PATH"
                for one of other sizes in the same format.
            device: "cuda", "mps", "cpu"; None for the best there is.
            dtype: "float32", "bfloat16" or "float16", for the image encoder's blocks; None for the fastest.

        Raises:
            BadInput: the spec has another form, or there is no such device or precision.
            UnknownName: there is no such kind of model.
            BadWeights: the file is absent, cannot be fetched or read, holds another model, or is not the trusted one.
        """
        from openvocab.models.segmenters.sam_checkpoint import load_sam

        kind, source, path = _weights(spec)
        before = file_state(path)
        target = pick_device(device)
        precision = pick_dtype(target, dtype)
        model = load_sam(kind, path).to(target).eval()
        mask_free(model.image_encoder.blocks, precision=precision)
        if not fold_decoder(model):
            contiguous_positions(model.mask_decoder.transformer)
        model.image_encoder.blocks.to(precision)
        digest = trusted_sha256(source, path)
        refuse_changed([path], [before])
        made = cls(model, ModelRecord(f"sam:{spec}", digest, str(target), str(precision).removeprefix("torch.")))
        made.resizes_alike()
        return made

    def encode(self, image: ImageArray) -> SamEncoding:
        """Encode one image; all prompts on it reuse the encoding.

        Raises:
            BadOutput: the image encoder's answer is not finite.
        """
        return self.encode_batch([image])[0]

    @torch.inference_mode()
    def encode_batch(self, images: Sequence[ImageArray]) -> list[SamEncoding]:
        """Encode several images, batch of them at a time.

        Raises:
            BadOutput: the image encoder's answer is not finite.
        """
        parts = (images[at : at + self.batch] for at in range(0, len(images), self.batch))
        return [one for part in parts for one in self._encode(part)]

    def _encode(self, images: Sequence[ImageArray]) -> list[SamEncoding]:
        side = self.model.image_encoder.img_size
        small = [_fitted(thickened(image, side), side) for image in images]
        given = [torch.from_numpy(each).permute(2, 0, 1)[None].contiguous() for each in small]
        pixels = [to_device(each, self.model.device) for each in given]
        features = self._features(torch.cat([self.model.preprocess(each) for each in pixels]))
        if not torch.isfinite(features).all():
            raise BadOutput("the segmenter's encoding of the image is not finite")
        sizes = [(image.shape[:2], each.shape[:2]) for image, each in zip(images, small, strict=True)]
        kept = images if self.zoom else [None] * len(images)
        return [SamEncoding(one[None], *size, image) for one, size, image in zip(features, sizes, kept, strict=True)]

    def _features(self, pixels: Tensor) -> Tensor:
        """Return the image encoder's answer to (B, 3, side, side) normalized pixels."""
        encoder = self.model.image_encoder
        places = encoder.patch_embed(pixels)
        if encoder.pos_embed is not None:
            places = places + encoder.pos_embed
        places = places.to(dtype_of(self.record.dtype)).contiguous()  # a permuted layout would slow every block
        for block in encoder.blocks:
            places = block(places)
        features: Tensor = encoder.neck(places.float().permute(0, 3, 1, 2))
        return features

    @torch.inference_mode()
    def masks(self, encoded: SamEncoding, xyxy: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Return one mask a box.

        Args:
            encoded: what encode returned for the image.
            xyxy: (N, 4) boxes in pixels of the image.

        Returns:
            masks (N, height, width) bool at the image's size, and (N,) float32 the model's own estimates of
            their IoU, clipped to 0 to 1.

        Raises:
            BadOutput: a mask or its estimate is not finite.
        """
        if not len(xyxy):
            return np.zeros((0, *encoded.original_size), np.bool_), np.zeros(0, np.float32)
        image = encoded.image
        if image is None:
            return self._masks(encoded, xyxy)

        def seen(window: ImageArray) -> SamEncoding:
            return encoded if window.shape == image.shape else self._encode([window])[0]

        windows = mask_windows(xyxy, encoded.original_size, self.model.image_encoder.img_size, self.zoom)
        return masks_by_window(image, xyxy, windows, lambda window, boxes: self._masks(seen(window), boxes))

    def _masks(self, encoded: SamEncoding, xyxy: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Return one mask and score a box, of at least one, all in what was encoded."""
        logits, scores = [], []
        at_once = _BOXES_A_CALL * (1 if encoded.features.device.type == "cpu" else _ON_A_GPU)
        for boxes in torch.split(self._scaled(encoded, xyxy), at_once):
            maps, quality = self._decode(encoded, None, boxes, self.multimask)
            best = quality.argmax(1)
            each = torch.arange(len(best), device=best.device)
            logits.append(maps[each, best])
            scores.append(quality[each, best])
        return self._resized(encoded, torch.cat(logits)), torch.cat(scores).clamp(0, 1).cpu().numpy()

    @torch.inference_mode()
    def prompt(
        self,
        encoded: SamEncoding,
        points: NDArray[np.float32] | None = None,
        point_labels: NDArray[np.int64] | None = None,
        box: NDArray[np.float32] | None = None,
    ) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Return three candidate masks for one prompt, as one click may mean a part, an object or a group.

        Args:
            encoded: what encode returned for the image.
            points: (P, 2) x and y in pixels of the image.
            point_labels: (P,) 1 on the object, 0 beside it.
            box: (4,) left, top, right, bottom in pixels of the image.

        Returns:
            masks (3, height, width) bool and (3,) float32 estimates of their IoU, clipped to 0 to 1; not sorted.

        Raises:
            BadInput: there is neither a point nor a box, points and their labels do not go together, or one lies
                outside the image.
            BadOutput: a mask or its estimate is not finite.
        """
        checked = Prompt.of(points, point_labels, box, encoded.original_size)
        given = None
        if checked.points is not None:
            labels = torch.as_tensor(checked.labels, dtype=torch.int, device=self.model.device)
            given = (self._scaled(encoded, checked.points)[None], labels[None])
        boxes = None if checked.box is None else self._scaled(encoded, checked.box[None])
        maps, quality = self._decode(encoded, given, boxes, True)
        return self._resized(encoded, maps[0]), quality[0].clamp(0, 1).cpu().numpy()

    def _decode(
        self, encoded: SamEncoding, points: tuple[Tensor, Tensor] | None, boxes: Tensor | None, multimask: bool
    ) -> tuple[Tensor, Tensor]:
        """Return (N, candidates, h, w) mask logits and (N, candidates) estimates of their IoU."""
        sparse, dense = self.model.prompt_encoder(points=points, boxes=boxes, masks=None)
        maps, quality = self.model.mask_decoder(
            image_embeddings=encoded.features,
            image_pe=self.model.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
        )
        if not (torch.isfinite(maps).all() and torch.isfinite(quality).all()):
            raise BadOutput("the segmenter's mask of a prompt is not finite")
        return maps, quality

    def _resized(self, encoded: SamEncoding, logits: Tensor) -> NDArray[np.bool_]:
        """Return (N, height, width) masks at the image's size, for (N, h, w) logits."""
        if self.resizes_alike():
            return upsampled(logits, *self._axes(encoded), self.model.mask_threshold)
        return np.asarray(self._library_masks(encoded, logits).cpu().numpy())

    def resizes_alike(self) -> bool:
        """Compare upsampled with Sam.postprocess_masks on random logits, once a process."""
        fed, side = self.model.image_encoder.img_size, 4 * self.model.prompt_encoder.image_embedding_size[0]
        example = SamEncoding(torch.empty(0), (11, 17), (fed * 11 // 17, fed))

        def both() -> tuple[Tensor, Tensor]:
            logits = torch.randn(2, side, side, device=self.model.device)
            ours = upsampled(logits, *self._axes(example), self.model.mask_threshold)
            return self._library_masks(example, logits).cpu(), torch.from_numpy(ours)

        known = hasattr(self.model, "postprocess_masks")  # if not, there is nothing to compare with
        return not known or same_answers("mask resizing of SAM", type(self.model), both)

    def _library_masks(self, encoded: SamEncoding, logits: Tensor) -> Tensor:
        """Return the (N, height, width) masks of Sam.postprocess_masks."""
        large = self.model.postprocess_masks(logits[:, None], encoded.input_size, encoded.original_size)
        return torch.as_tensor(large[:, 0] > self.model.mask_threshold)

    def _scaled(self, encoded: SamEncoding, places: NDArray[np.float32]) -> Tensor:
        """Return (N, 2) or (N, 4) coordinates of the image as coordinates of the encoder's square."""
        (height, width), (tall, wide) = encoded.original_size, encoded.input_size
        factors = np.tile([wide / width, tall / height], places.shape[1] // 2)
        return torch.as_tensor(places * factors, dtype=torch.float32, device=self.model.device)

    def _axes(self, encoded: SamEncoding) -> tuple[Tensor, Tensor]:
        """Return the weights along both axes that Sam.postprocess_masks amounts to."""
        square = self.model.image_encoder.img_size
        side = 4 * self.model.prompt_encoder.image_embedding_size[0]
        rows, columns = (
            axis_weights(side, [(square, fed), (size, size)], self.model.device)
            for fed, size in zip(encoded.input_size, encoded.original_size, strict=True)
        )
        return rows, columns


def _weights(spec: str) -> tuple[str, str, Path]:
    """Return the kind of model, the source of its file, and the file, fetched if it is an official one."""
    kind, at, name = spec.partition("@")
    if name:
        return kind, name, Path(name)
    published = published_for(f"sam:{kind}")
    if at or published is None:
        raise BadInput(f"{spec!r} names no weights file; write {kind or 'vit_b'}@PATH, or vit_b for the official one")
    return kind, published.url, url_weights(f"sam:{kind}")


def thickened(image: ImageArray, side: int) -> ImageArray:
    """Return an image whose shorter axis keeps a pixel when the longer one is resized to side.

    The pixels of a thin strip are repeated across it as often as that takes; any other image is returned as it is.
    """
    shorter, longer = sorted(image.shape[:2])
    times = longer // (2 * side * shorter) + 1
    return image if times == 1 else np.repeat(image, times, axis=int(image.shape[1] < image.shape[0]))


def _fitted(image: ImageArray, side: int) -> ImageArray:
    """Return an image whose longer axis is resized to side, as ResizeLongestSide of segment_anything does."""
    height, width = (int(size * (side / max(image.shape[:2])) + 0.5) for size in image.shape[:2])
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
