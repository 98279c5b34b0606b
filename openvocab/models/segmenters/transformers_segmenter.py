"""Masks from boxes and points, with the SAM, SAM-HQ, SAM 2 and EdgeTAM of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from openvocab.errors import BadOutput
from openvocab.models.blockwise_attention import use_blocks
from openvocab.models.checked import same_answers
from openvocab.models.checkpoints import find, load_model, load_processor
from openvocab.models.device import dtype_of
from openvocab.models.segmenters.mask_upsampling import axis_weights, upsampled
from openvocab.models.segmenters.prompts import Prompt
from openvocab.models.segmenters.sam2_decoder import fold_sam2_decoder
from openvocab.models.segmenters.sam_attention import contiguous_patches, mask_free
from openvocab.models.segmenters.sam_hf_decoder import fold_sam_hf_decoder, fold_sam_hq_transformer
from openvocab.models.segmenters.sam_hq_decoder import draw_on_mixed_map
from openvocab.models.segmenters.sam_segmenter import thickened
from openvocab.pipeline.protocols import ImageArray
from openvocab.pipeline.result import ModelRecord

__all__ = ["EdgeTamSegmenter", "Sam2Segmenter", "SamHfSegmenter", "SamHqSegmenter", "SamMaps", "TransformersSegmenter"]

_BOXES_A_CALL = 4


@dataclass(frozen=True, eq=False, slots=True)
class SamMaps:
    """An encoded image, shared by all prompts.

    Attributes:
        maps: The image encoder's answer, float32, in the order in which the model's forward takes them.
        original_size: Height and width of the image.
        input_size: Height and width it was resized to; the rest of the encoder's square is padding.
    """

    maps: tuple[Tensor, ...]
    original_size: tuple[int, int]
    input_size: tuple[int, int]


@dataclass(frozen=True, eq=False, slots=True)
class TransformersSegmenter:
    """Segments the object in a box or under points. Subclasses name the model.

    Attributes:
        model: In evaluation mode, on its device; its vision encoder may be in bfloat16, all else is in float32.
        image_processor: The preprocessing that belongs to it.
        record: What the model is, with the precision of the vision encoder.
        batch: Images that the vision encoder takes at once.
    """

    model: Any
    image_processor: Any
    record: ModelRecord
    batch: int = 1

    _family: ClassVar[str]
    _kind: ClassVar[str]
    _model_types: ClassVar[tuple[str, ...]]
    _classes: ClassVar[tuple[str, str]]
    """The names in transformers of the model and of its image processor."""

    @classmethod
    def load(cls, spec: str, device: str | None = None, dtype: str | None = None) -> Self:
        """Load a model from the hub or from a folder in the same layout.

        Args:
            spec: ORG/NAME or ORG/NAME@REVISION, or the path of a folder.
            device: "cuda", "mps", "cpu"; None for the best there is.
            dtype: "float32", "bfloat16" or "float16", for the vision encoder; None for what is fast on the device.

        Raises:
            BadInput: there is no such device or precision.
            BadWeights: the model is absent, cannot be fetched or read, or is of another family.
        """
        import transformers

        found = find(cls._family, spec, cls._kind, cls._model_types)
        record = found.record(device, dtype)
        model_class, processor_class = (getattr(transformers, name) for name in cls._classes)
        image_processor = load_processor(found, processor_class, cls._kind)
        model = load_model(found, model_class, cls._kind).requires_grad_(False).to(record.device)
        made = cls(model, image_processor, record)
        made._prepare(dtype_of(record.dtype))
        made._resizes_alike()
        return made

    @torch.inference_mode()
    def encode(self, image: ImageArray) -> SamMaps:
        """Encode one image; all prompts on it reuse the encoding.

        Raises:
            BadOutput: the vision encoder's answer is not finite.
        """
        return self.encode_batch([image])[0]

    @torch.inference_mode()
    def encode_batch(self, images: Sequence[ImageArray]) -> list[SamMaps]:
        """Encode several images, batch of them at a time.

        Raises:
            BadOutput: the vision encoder's answer is not finite.
        """
        parts = (images[at : at + self.batch] for at in range(0, len(images), self.batch))
        return [one for part in parts for one in self._encodings(part)]

    def _encodings(self, images: Sequence[ImageArray]) -> list[SamMaps]:
        """Return the encodings of images that the vision encoder takes together."""
        given = self.image_processor(
            images=[Image.fromarray(self._input(each)) for each in images], return_tensors="pt"
        )
        pixels = given["pixel_values"].to(self.model.device, dtype_of(self.record.dtype))
        maps = self._encode(pixels)
        if not all(torch.isfinite(each).all() for each in maps):
            raise BadOutput("the segmenter's encoding of the image is not finite")
        sizes = [(image.shape[0], image.shape[1]) for image in images]
        return [
            SamMaps(tuple(each[row : row + 1] for each in maps), size, self._input_size(given, row))
            for row, size in enumerate(sizes)
        ]

    @torch.inference_mode()
    def masks(self, encoded: SamMaps, xyxy: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Return one mask a box: the model's single-mask output.

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
        answers = [
            self._answer(encoded, multimask=False, input_boxes=boxes[None])
            for boxes in torch.split(self._scaled(encoded, xyxy), _BOXES_A_CALL)
        ]
        logits, quality = (torch.cat([each[:, 0] for each in part]) for part in zip(*answers, strict=True))
        return self._resized(encoded, logits), quality.clamp(0, 1).cpu().numpy()

    @torch.inference_mode()
    def prompt(
        self,
        encoded: SamMaps,
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
            masks (3, height, width) bool and (3,) float32 estimates of their IoU, clipped to 0 to 1, in the order in
            which the model gives them.

        Raises:
            BadInput: there is neither a point nor a box, points and their labels do not go together, or one lies
                outside the image.
            BadOutput: a mask or its estimate is not finite.
        """
        checked = Prompt.of(points, point_labels, box, encoded.original_size)
        given: dict[str, Tensor] = {}
        if checked.points is not None:
            given["input_points"] = self._scaled(encoded, checked.points)[None, None]
            given["input_labels"] = torch.as_tensor(checked.labels, device=self.model.device)[None, None]
        if checked.box is not None:
            given["input_boxes"] = self._scaled(encoded, checked.box[None])[None]
        logits, quality = self._answer(encoded, multimask=True, **given)
        return self._resized(encoded, logits[0]), quality[0].clamp(0, 1).cpu().numpy()

    def _answer(self, encoded: SamMaps, *, multimask: bool, **prompt: Tensor) -> tuple[Tensor, Tensor]:
        """Return (N, candidates, h, w) mask logits and (N, candidates) estimates of their IoU.

        Raises:
            BadOutput: one is not finite.
        """
        answer = self._decode(encoded.maps, multimask_output=multimask, **prompt)
        logits, quality = answer.pred_masks[0], answer.iou_scores[0]
        if not (torch.isfinite(logits).all() and torch.isfinite(quality).all()):
            raise BadOutput("the segmenter's mask of a prompt is not finite")
        return logits, quality

    def _resized(self, encoded: SamMaps, logits: Tensor) -> NDArray[np.bool_]:
        """Return (N, height, width) masks at the image's size, for (N, h, w) logits."""
        if self._resizes_alike():
            return upsampled(logits, *self._axes(encoded, logits.shape[-2:]), 0.0)
        return np.asarray(self._library_masks(encoded, logits).cpu().numpy())

    def _resizes_alike(self) -> bool:
        """Compare upsampled with the library's post-processing on random logits, once a process."""
        fed = getattr(self.image_processor, "pad_size", None) or {"height": 64}
        example = SamMaps((), (11, 17), (fed["height"] * 11 // 17, fed["height"]))

        def both() -> tuple[Any, Any]:
            logits = torch.randn(2, 16, 16, device=self.model.device)
            ours = upsampled(logits, *self._axes(example, logits.shape[-2:]), 0.0)
            return self._library_masks(example, logits).cpu(), torch.from_numpy(ours)

        known = hasattr(self.image_processor, "post_process_masks")  # if not, there is nothing to compare with
        return not known or same_answers(f"mask resizing of {self._family}", type(self.image_processor), both)

    def _library_masks(self, encoded: SamMaps, logits: Tensor) -> Tensor:
        """Return the (N, height, width) masks of the library's post-processing."""
        masks: Tensor = self.image_processor.post_process_masks(
            [logits[None]], [encoded.original_size], [encoded.input_size]
        )[0][0]
        return masks

    def _prepare(self, precision: torch.dtype) -> None:
        """Replace slow parts of the vision encoder and set its precision."""
        encoder = self.model.vision_encoder
        mask_free(encoder.layers, pair=True, precision=precision)
        contiguous_patches(encoder.patch_embed)
        encoder.to(precision)

    def _input(self, image: ImageArray) -> ImageArray:
        return thickened(image, self.image_processor.size["longest_edge"])

    def _input_size(self, given: Any, row: int) -> tuple[int, int]:
        height, width = np.asarray(given["reshaped_input_sizes"])[row].tolist()
        return height, width

    def _encode(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return (self.model.get_image_embeddings(pixels).float(),)

    def _decode(self, maps: tuple[Tensor, ...], **prompt: Any) -> Any:
        """Return the model's answer, with pred_masks (1, N, M, h, w) and iou_scores (1, N, M); M is 3 or 1."""
        return self.model(image_embeddings=maps[0], **prompt)

    def _axes(self, encoded: SamMaps, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return the weights along both axes that post_process_masks amounts to, for maps of that height and width."""
        padded = self.image_processor.pad_size["height"], self.image_processor.pad_size["width"]
        steps = zip(size, padded, encoded.input_size, encoded.original_size, strict=True)
        rows, columns = (
            axis_weights(side, [(square, fed), (whole, whole)], self.model.device) for side, square, fed, whole in steps
        )
        return rows, columns

    def _scaled(self, encoded: SamMaps, places: NDArray[np.float32]) -> Tensor:
        """Return (N, 2) or (N, 4) coordinates of the image as coordinates of the encoder's square."""
        (height, width), (tall, wide) = encoded.original_size, encoded.input_size
        factors = np.tile([wide / width, tall / height], places.shape[1] // 2)
        return torch.as_tensor(places * factors, dtype=torch.float32, device=self.model.device)


class SamHfSegmenter(TransformersSegmenter):
    """SAM as transformers has it: the models of segment_anything in another layout."""

    __slots__ = ()
    _family, _kind, _model_types = "sam_hf", "SAM model", ("sam",)
    _classes = ("SamModel", "SamImageProcessor")

    def _prepare(self, precision: torch.dtype) -> None:
        TransformersSegmenter._prepare(self, precision)
        fold_sam_hf_decoder(self.model)


class SamHqSegmenter(TransformersSegmenter):
    """SAM-HQ (Ke et al. 2023): its mask is the sum of SAM's and of one drawn from earlier features too.

    The answers are those of the authors' code. transformers 5.23 draws masks on another map: see sam_hq_decoder.
    """

    __slots__ = ()
    _family, _kind, _model_types = "sam_hq", "SAM-HQ model", ("sam_hq",)
    _classes = ("SamHQModel", "SamImageProcessor")

    def _prepare(self, precision: torch.dtype) -> None:
        TransformersSegmenter._prepare(self, precision)
        fold_sam_hq_transformer(self.model.mask_decoder)
        draw_on_mixed_map(self.model.mask_decoder)

    def _encode(self, pixels: Tensor) -> tuple[Tensor, ...]:
        last, earlier = self.model.get_image_embeddings(pixels)
        return (last.float(), earlier[0].float())

    def _decode(self, maps: tuple[Tensor, ...], **prompt: Any) -> Any:
        return self.model(image_embeddings=maps[0], intermediate_embeddings=list(maps[1:]), **prompt)


class Sam2Segmenter(TransformersSegmenter):
    """SAM 2 (Ravi et al. 2024): images are stretched to a square, and finer maps help to draw the edges.

    Where its single mask is not stable, the model itself takes the best of its other three, before upsampling. The
    published weights hold a tracker for videos too ("sam2_video"); of these, the image's part is read.
    """

    __slots__ = ()
    _family, _kind, _model_types = "sam2", "SAM 2 model", ("sam2", "sam2_video")
    _classes = ("Sam2Model", "Sam2ImageProcessor")

    def _prepare(self, precision: torch.dtype) -> None:
        self.model.vision_encoder.to(precision)
        use_blocks(self.model.vision_encoder, self.model.device, precision)
        fold_sam2_decoder(self.model, f"the mask decoder of {self._family}")

    def _input(self, image: ImageArray) -> ImageArray:
        return image

    def _input_size(self, given: Any, row: int) -> tuple[int, int]:
        height, width = given["pixel_values"].shape[-2:]
        return height, width

    def _encode(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return the maps from fine to coarse, the two finer ones as the mask decoder projects them."""
        finest, finer, coarse = (each.float() for each in self.model.vision_encoder(pixels).fpn_hidden_states)
        decoder, unremembered = self.model.mask_decoder, self.model.no_memory_embedding.reshape(1, -1, 1, 1)
        return decoder.conv_s0(finest), decoder.conv_s1(finer), coarse + unremembered

    def _decode(self, maps: tuple[Tensor, ...], **prompt: Any) -> Any:
        return self.model(image_embeddings=list(maps), **prompt)

    def _library_masks(self, encoded: SamMaps, logits: Tensor) -> Tensor:
        masks: Tensor = self.image_processor.post_process_masks([logits[None]], [encoded.original_size])[0][0]
        return masks

    def _axes(self, encoded: SamMaps, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        rows, columns = (
            axis_weights(side, [(whole, whole)], self.model.device)
            for side, whole in zip(size, encoded.original_size, strict=True)
        )
        return rows, columns


class EdgeTamSegmenter(Sam2Segmenter):
    """EdgeTAM (Zhou et al. 2025): SAM 2 with RepViT, a convolutional network, as its image encoder.

    The published weights hold a tracker for videos too ("edgetam_video"); of these, the image's part is read.
    """

    __slots__ = ()
    _family, _kind, _model_types = "edgetam", "EdgeTAM model", ("edgetam", "edgetam_video")
    _classes = ("EdgeTamModel", "Sam2ImageProcessor")
