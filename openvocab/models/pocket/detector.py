"""The embedded detector: OWLv2's heads over the tower that the embedded tagger has too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from openvocab.models.detectors.owl_detector import Owlv2Detector
from openvocab.models.detectors.owl_tower import lower_products
from openvocab.models.detectors.owlv2_pixels import padded_pixels
from openvocab.models.device import dtype_of, to_device, unit
from openvocab.models.pocket.files import CONTEXT, DEVIATION, MEAN, SIDE, fill, read, record_of, verified
from openvocab.models.pocket.layers import PATCH, TEXT_WIDTH, WIDTH, ImageTower, TextTower
from openvocab.models.pocket.tokenizer import PocketTokenizer
from openvocab.pipeline.protocols import ImageArray
from openvocab.pipeline.quiet import label_batches
from openvocab.prompts.labels import check_context

__all__ = ["PocketDetector", "PocketOwl"]

_GRID = SIDE // PATCH

_NAMES = (
    (r"^owlv2\.vision_model\.", "images."),
    (r"^images\.embeddings\.patch_embedding\.", "images.stem."),
    (r"^images\.embeddings\.class_embedding$", "images.first"),
    (r"^images\.embeddings\.position_embedding\.weight$", "images.positions"),
    (r"^images\.pre_layernorm\.", "images.norm_pre."),
    (r"^images\.post_layernorm\.", "images.norm."),
    (r"^owlv2\.text_model\.", "texts."),
    (r"^owlv2\.text_projection\.weight$", "texts.projection"),
    (r"^texts\.embeddings\.token_embedding\.", "texts.words."),
    (r"^texts\.embeddings\.position_embedding\.weight$", "texts.positions"),
    (r"^texts\.final_layer_norm\.", "texts.norm."),
    (r"\.encoder\.layers\.", ".blocks."),
    (r"\.self_attn\.([qkv])_proj\.", r".\1_only."),
    (r"\.self_attn\.out_proj\.", ".proj."),
    (r"\.layer_norm(\d)\.", r".norm\1."),
    (r"\.mlp\.", "."),
)
"""transformers' names to those of PocketOwl."""
_UNUSED = ("owlv2.visual_projection.", "owlv2.logit_scale")


class _Head(nn.Module):
    """Three linear layers with GELU between them: (..., WIDTH) to (..., out)."""

    def __init__(self, out: int) -> None:
        super().__init__()
        self.dense0, self.dense1, self.dense2 = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, out)

    def forward(self, features: Tensor) -> Tensor:
        hidden = functional.gelu(self.dense1(functional.gelu(self.dense0(features))))
        return torch.as_tensor(self.dense2(hidden))


class _ClassHead(nn.Module):
    """Class embeddings, and the learned shift and scale of their cosines with the queries."""

    def __init__(self) -> None:
        super().__init__()
        self.dense0 = nn.Linear(WIDTH, TEXT_WIDTH)
        self.logit_shift, self.logit_scale = nn.Linear(WIDTH, 1), nn.Linear(WIDTH, 1)


class PocketOwl(nn.Module):
    """The embedded detector's model, with the methods of transformers' Owlv2ForObjectDetection that OwlDetector calls.

    Args:
        tokens: How many the tokenizer knows.
    """

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.images, self.texts = ImageTower(SIDE), TextTower(tokens, CONTEXT)
        self.layer_norm, self.class_head = nn.LayerNorm(WIDTH), _ClassHead()
        self.box_head, self.objectness_head = _Head(4), _Head(1)

    def grid(self, pixels: Tensor) -> Tensor:
        """Return (B, rows, columns, WIDTH) features of (B, 3, SIDE, SIDE) normalized pixels."""
        tokens = self.images(pixels)
        return torch.as_tensor(self.layer_norm(tokens[:, 1:] * tokens[:, :1]).unflatten(1, (_GRID, _GRID)))

    def box_predictor(self, places: Tensor, grid: Tensor) -> Tensor:
        """Return (B, P, 4) center and size, as shares of the square, of (B, P, WIDTH) features; grid is not read."""
        return torch.as_tensor((self.box_head(places) + _box_bias(places.device)).sigmoid())

    def objectness_predictor(self, places: Tensor) -> Tensor:
        """Return (B, P) logits of (B, P, WIDTH) features."""
        return torch.as_tensor(self.objectness_head(places)[..., 0])

    def class_predictor(self, places: Tensor, queries: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return (B, P, C) logits, C = 0 without queries, and (B, P, TEXT_WIDTH) class embeddings.

        Args:
            places: (B, P, WIDTH) features.
            queries: (B, C, TEXT_WIDTH).
        """
        head = self.class_head
        classes = head.dense0(places)
        if queries is None:
            return places.new_zeros(*places.shape[:2], 0), classes
        cosines = _near_unit(classes) @ _near_unit(queries).transpose(1, 2)
        return (cosines + head.logit_shift(places)) * (functional.elu(head.logit_scale(places)) + 1), classes

    def embed_image_query(self, places: Tensor, grid: Tensor) -> tuple[Tensor]:
        """Return (B, 1, TEXT_WIDTH): the class embedding of the place with the highest objectness; grid is not read."""
        best = self.objectness_predictor(places).argmax(1)
        return (self.class_predictor(places)[1][torch.arange(len(best)), best][:, None],)


@dataclass(frozen=True, eq=False, slots=True)
class PocketDetector(Owlv2Detector):
    """Owlv2Detector over the embedded model; its processor is the tokenizer of its sentences.

    It also looks at windows of the image: at 256 pixels alone it misses many small objects.
    """

    windows: int = 2
    min_objectness: ClassVar[float] = 0.5

    @classmethod
    def embedded(cls, device: str | None = None, dtype: str | None = None) -> PocketDetector:
        """Load the embedded detector; device and dtype are the best there are where None.

        Raises:
            BadInput: there is no such device or precision.
            BadWeights: its file is absent, not the pinned one, of another architecture, or was replaced meanwhile.
        """
        with verified("pocket-detector") as pinned:
            record = record_of(pinned, device, dtype)
            tokenizer = PocketTokenizer(pinned.path.with_name("tokenizer.json"), CONTEXT, mend=False)
            state = read(pinned, _NAMES, _UNUSED)
            state["images.first"], state["images.positions"] = (
                state[name].view(1, -1, WIDTH) for name in ("images.first", "images.positions")
            )
            state["texts.projection"] = state["texts.projection"].T.contiguous()
            model = fill(PocketOwl(len(tokenizer)), state, pinned)
        if record.dtype != "float32":
            lower_products(model.images, dtype_of(record.dtype))
        return cls(model.to(record.device), tokenizer, record)

    @property
    def input_side(self) -> int:
        """Pixels of the side of the square that images are resized to."""
        return SIDE

    def _check_sentences(self, labels: Sequence[str], texts: Sequence[str]) -> None:
        measured = [self.processor.measure(texts[row]) for row in label_batches(len(texts), 1, "tokenizing labels")]
        lengths, kept = [count for count, _ in measured], [text for _, text in measured]
        check_context(labels, lengths, CONTEXT, kept, "the detector")

    @torch.inference_mode()
    def _embed(self, texts: list[str]) -> Tensor:
        return unit(self.model.texts(self.processor(texts).to(self.record.device)))

    def _features(self, pixels: Tensor) -> Tensor:
        return torch.as_tensor(self.model.grid(to_device(pixels, self.record.device)))

    def _pixels(self, image: ImageArray) -> Tensor:
        return padded_pixels(image, (SIDE, SIDE), MEAN, DEVIATION)


def _near_unit(rows: Tensor) -> Tensor:
    """Return (..., D) rows divided by their length, plus the small number that the library adds to it."""
    return torch.as_tensor(rows / (torch.linalg.vector_norm(rows, dim=-1, keepdim=True) + 1e-6))


def _box_bias(device: torch.device) -> Tensor:
    """Return (P, 4) logits: a place's box is centered at its lower right corner, and as large as a place.

    They are those of transformers' Owlv2ForObjectDetection.compute_box_bias.
    """
    steps = torch.arange(1, _GRID + 1, dtype=torch.float32, device=device) / _GRID
    rows, columns = torch.meshgrid(steps, steps, indexing="ij")
    size = torch.full_like(rows, 1 / _GRID)
    shares = torch.stack([columns, rows, size, size], -1).view(-1, 4)
    return torch.log(shares + 1e-4) - torch.log1p(-shares + 1e-4)
