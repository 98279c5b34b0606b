"""OWL-ViT and OWLv2 whose image tower, heads and text tower are exported graphs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from openvocab.errors import BadInput
from openvocab.models.detectors.owl_detector import OwlDetector, Owlv2Detector, OwlVitDetector
from openvocab.models.graphs.record import Opened, open_stage
from openvocab.models.graphs.runtimes import Graph
from openvocab.models.graphs.texts import embedded_texts, padded, pocket_tokens
from openvocab.models.pocket.detector import PocketDetector
from openvocab.models.pocket.tokenizer import PocketTokenizer

__all__ = ["EXPORTED", "OwlGraphs", "load_detector"]


@dataclass(frozen=True, eq=False, slots=True)
class OwlGraphs:
    """What stands for the library's model.

    Attributes:
        images: (P, 3, side, side) pixels to (P, N, W) features.
        boxes: Those features to boxes and, of OWLv2, objectness; N is the number of the model's patches.
        classes: (P, N, W) features of any N patches, and (C, D) queries, to logits and class embeddings.
        texts: (T, context) tokens and their mask to (T, D) rows of length 1.
        side: Pixels of the side of the input.
        context: Tokens that the text tower reads.
        width: D, of a query.
    """

    images: Graph
    boxes: Graph
    classes: Graph
    texts: Graph
    side: int
    context: int
    width: int
    device: torch.device = torch.device("cpu")

    def box_predictor(self, places: Tensor, grid: Tensor) -> Tensor:
        """Return the (P, N, 4) boxes of (P, N, W) features."""
        return self.boxes(features=places)["boxes"]

    def objectness_predictor(self, places: Tensor) -> Tensor:
        """Return the (P, N) objectness logits of (P, N, W) features."""
        return self.boxes(features=places)["objectness"]

    def class_predictor(self, places: Tensor, words: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return (P, N, C) logits and (P, N, D) class embeddings; words are (P, C, D), the same for all images."""
        queries = torch.zeros(1, self.width) if words is None else words[0]
        made = self.classes(features=places, queries=queries)
        return made["logits"], made["embeddings"]

    def embed_image_query(self, places: Tensor, grid: Tensor) -> Any:
        """Refuse to choose the object of an example image.

        Raises:
            BadInput: Always.
        """
        raise BadInput("an exported detector needs the box of the object in an example image; give xyxy")


class _Exported(OwlDetector):
    """The methods of an OwlDetector that reach into the library's model."""

    __slots__ = ()

    @property
    def input_side(self) -> int:
        """Pixels of the side of the square that images are resized to."""
        return int(self.model.side)

    @property
    def _context(self) -> int:
        return int(self.model.context)

    @torch.inference_mode()
    def _embed(self, texts: list[str]) -> Tensor:
        return embedded_texts(self.model.texts, self._words(texts))

    def _words(self, texts: list[str]) -> dict[str, Tensor]:
        """Return the inputs of the text tower."""
        return padded(self.processor.tokenizer, texts, self._context)

    def _features(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.model.images(pixels=pixels)["features"]
        side = int(features.shape[1] ** 0.5 + 0.5)
        return torch.unflatten(features, 1, (side, side))


@dataclass(frozen=True, eq=False, slots=True)
class ExportedOwlVit(_Exported, OwlVitDetector):
    """OwlVitDetector over exported graphs."""


@dataclass(frozen=True, eq=False, slots=True)
class ExportedOwlv2(_Exported, Owlv2Detector):
    """Owlv2Detector over exported graphs."""


@dataclass(frozen=True, eq=False, slots=True)
class ExportedPocketDetector(_Exported, PocketDetector):
    """PocketDetector over exported graphs."""

    def _words(self, texts: list[str]) -> dict[str, Tensor]:
        return pocket_tokens(self.processor, texts)


EXPORTED: Mapping[str, type[OwlDetector]] = MappingProxyType(
    {"owlvit": ExportedOwlVit, "owlv2": ExportedOwlv2, "pocket": ExportedPocketDetector}
)
"""Kind of an exported detector -> its class."""


def load_detector(form: str, folder: str, device: str | None, dtype: str | None) -> OwlDetector:
    """Load the detector that export_model wrote into a folder.

    Raises:
        BadInput: The device is not the CPU, or there is no such precision.
        BadWeights: There is none, or one of its files is absent or changed.
        MissingExtra: The runtime is not installed.
    """
    opened = open_stage(form, "detector", folder, device, dtype)
    settings, kind = opened.record.settings, opened.record.kind
    with opened.preprocessing():
        processor = _processor(opened)
    graphs = OwlGraphs(
        opened.graph("image"),
        opened.graph("boxes", "float32"),
        opened.graph("classes", "float32"),
        opened.graph("text", "float32"),
        settings["input_side"],
        settings["context"],
        settings["query_width"],
    )
    return EXPORTED[kind](graphs, processor, opened.model, windows=settings.get("windows", 1))


def _processor(opened: Opened) -> Any:
    """Return the processor of transformers that is in a folder, or the tokenizer of the embedded detector."""
    kind = opened.record.kind
    if kind == "pocket":
        return PocketTokenizer(opened.folder / "tokenizer.json", opened.record.settings["context"], mend=False)
    import transformers

    return getattr(transformers, EXPORTED[kind].classes[1]).from_pretrained(opened.folder, local_files_only=True)
