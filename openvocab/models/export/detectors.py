"""Export the image tower, the heads and the text tower of OWL-ViT and OWLv2."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from openvocab.errors import BadInput
from openvocab.models.detectors.best_first import best_first
from openvocab.models.detectors.owl_detector import OwlDetector, Owlv2Detector
from openvocab.models.export.compare import cosines, ious_of_best
from openvocab.models.export.samples import Samples
from openvocab.models.export.write import GraphSource
from openvocab.models.graphs.detectors import OwlGraphs, load_detector
from openvocab.models.graphs.texts import padded, pocket_tokens
from openvocab.models.pocket.detector import PocketDetector, PocketOwl
from openvocab.models.pocket.files import CONTEXT
from openvocab.pipeline.protocols import Boxes, ImageArray, Queries
from openvocab.weights.manifest import checkpoint

__all__ = ["DetectorExport"]

_BEST = 20
"""Boxes of an image that are compared, best first."""
_MOST = 32
"""Images that are compared: a detector takes seconds for each."""


class _Images(nn.Module):
    """(P, 3, side, side) normalized pixels to (P, N, W) features of the patches."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> tuple[Tensor]:
        own = isinstance(self.model, PocketOwl)
        grid = self.model.grid(pixels) if own else self.model.image_embedder(pixels)[0]
        return (grid.flatten(1, 2),)


class _Boxes(nn.Module):
    """(P, N, W) features to (P, N, 4) boxes and, of OWLv2, (P, N) objectness logits."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        boxes = self.model.box_predictor(features, features)
        if hasattr(self.model, "objectness_predictor"):
            return boxes, self.model.objectness_predictor(features)
        return (boxes,)


class _Classes(nn.Module):
    """(P, N, W) features and (C, D) queries to (P, N, C) logits and (P, N, D) class embeddings."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        words = queries[None].expand(features.shape[0], -1, -1)
        logits, embeddings = self.model.class_predictor(features, words)
        return logits, embeddings


class _Texts(nn.Module):
    """(T, context) int64 tokens, and their mask if the tower reads one, to (T, D) rows of length 1."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> tuple[Tensor]:
        if isinstance(self.model, PocketOwl):
            return (nn.functional.normalize(self.model.texts(tokens), dim=-1),)
        core = self.model.base_model
        pooled = core.text_model(input_ids=tokens, attention_mask=mask).pooler_output
        return (nn.functional.normalize(core.text_projection(pooled), dim=-1),)


class DetectorExport:
    """How detectors are exported and compared; see stages.StageExport."""

    quantizes = False

    def graphs(self, detector: Any, image: ImageArray) -> list[GraphSource]:
        """Return the image tower, the two heads and the text tower of a detector.

        Raises:
            BadInput: The detector is of another family.
        """
        if not isinstance(detector, OwlDetector) or isinstance(detector.model, OwlGraphs):
            raise BadInput(
                f"detector {detector.record.spec} cannot be exported; of detectors, the checkpoints of owlvit and "
                "owlv2 can, and the embedded one"
            )
        pixels, words = self.pixels(detector, image).repeat(2, 1, 1, 1), _words(detector, ["a", "a cat"])
        images, texts = _Images(detector.model), _Texts(detector.model)
        with torch.no_grad():
            features, queries = images(pixels)[0], texts(**words)[0]
        outputs = ("boxes", "objectness") if isinstance(detector, Owlv2Detector) else ("boxes",)
        given, free = {"features": features, "queries": queries}, (0,)
        axes = {"features": (0, 1), "queries": free}
        return [
            GraphSource("image", images, {"pixels": pixels}, {"pixels": free}, ("features",)),
            GraphSource("boxes", _Boxes(detector.model), {"features": features}, {"features": free}, outputs),
            GraphSource("classes", _Classes(detector.model), given, axes, ("logits", "embeddings")),
            GraphSource("text", texts, words, dict.fromkeys(words, free), ("features",)),
        ]

    def pixels(self, detector: Any, image: ImageArray) -> Tensor:
        """Return the (1, 3, side, side) input of the image tower."""
        made: Tensor = detector._pixels(image)
        return made

    def save(self, detector: Any, folder: Path) -> dict[str, Any]:
        """Write the processor; return the settings of the record."""
        if isinstance(detector, PocketDetector):
            shutil.copy(checkpoint("pocket-detector").path.with_name("tokenizer.json"), folder)
        else:
            detector.processor.save_pretrained(str(folder))
        width = detector.encode_labels(["a"]).embeddings.shape[1]
        known = {"input_side": detector.input_side, "windows": detector.windows}
        return {**known, "context": _context(detector), "query_width": width}

    def kind(self, detector: Any) -> str:
        """Return the family whose class loads the export."""
        return "pocket" if isinstance(detector, PocketDetector) else str(detector.family)

    def load(self, form: str, folder: Path, dtype: str | None) -> OwlDetector:
        """Load what was written."""
        return load_detector(form, str(folder), None, dtype)

    def answers(self, detector: Any, samples: Samples) -> list[tuple[NDArray[np.float32], Boxes]]:
        """Return the (N, W) features of all places and the boxes of each image; the tower runs once an image."""
        queries = detector.encode_labels(samples.labels)
        return [_answer(detector, image, queries) for image in samples.images(_MOST)]

    def compare(self, detector: Any, answers: Any, exported: Any, samples: Samples) -> dict[str, Any]:
        """Return cosines of features and texts, and how much the best boxes overlap those of the same label."""
        ours = self.answers(exported, samples)
        pairs = list(zip(answers, ours, strict=True))
        rows = np.concatenate([cosines(one, other) for (one, _), (other, _) in pairs])
        ious = np.concatenate([ious_of_best(one, other, _BEST) for (_, one), (_, other) in pairs])
        texts = (each.encode_labels(samples.labels).embeddings.numpy() for each in (detector, exported))
        return {
            "images": len(ours),
            "labels": len(samples.labels),
            "cosine_min": float(rows.min()),
            "cosine_mean": float(rows.mean()),
            "text_cosine_min": float(cosines(*texts).min()),
            "boxes": len(ious),
            "box_iou_min": float(ious.min()),
            "box_iou_mean": float(ious.mean()),
        }


@torch.inference_mode()
def _answer(detector: Any, image: ImageArray, queries: Queries) -> tuple[NDArray[np.float32], Boxes]:
    """Return the (N, W) features of an image and its boxes."""
    grid = detector._grid([image])
    places = grid.flatten(1, 2)
    encoded = detector._encoding(places[0], detector.model.box_predictor(places, grid)[0], image)
    xyxy, scores = map(torch.from_numpy, detector.score_boxes(encoded, queries))
    best = scores.max(1)
    return places[0].numpy(), best_first(xyxy, best.values, best.indices, image)


def _context(detector: Any) -> int:
    """Return the number of tokens that the text tower reads."""
    if isinstance(detector, PocketDetector):
        return CONTEXT
    return int(detector.model.config.text_config.max_position_embeddings)


def _words(detector: Any, texts: list[str]) -> dict[str, Tensor]:
    """Return the inputs of the text tower for texts."""
    if isinstance(detector, PocketDetector):
        return pocket_tokens(detector.processor, texts)
    return padded(detector.processor.tokenizer, texts, _context(detector))
