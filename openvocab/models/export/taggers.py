"""Export the towers of CLIP-like taggers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from openvocab.errors import BadInput
from openvocab.models.export.compare import cosines, share_of
from openvocab.models.export.samples import Samples
from openvocab.models.export.write import GraphSource
from openvocab.models.graphs.taggers import (
    OPEN_CLIP,
    TRANSFORMERS,
    ExportedOpenClip,
    ExportedPocketTagger,
    ExportedTransformers,
    load_tagger,
)
from openvocab.models.graphs.texts import padded, pocket_tokens
from openvocab.models.pocket.tagger import PocketTagger
from openvocab.models.taggers.clip_tagger import OpenClipTagger
from openvocab.models.taggers.dual_encoder import DualEncoder
from openvocab.pipeline.protocols import ImageArray
from openvocab.weights.manifest import checkpoint

__all__ = ["TaggerExport"]

_PAIR = 2
"""Images of an example: one would fix the length of the batch."""
_TOGETHER = 16
"""Images in memory at a time."""

Floats = NDArray[np.float32]


class _Images(nn.Module):
    """(P, 3, height, width) normalized pixels to (P, D) rows of length 1.

    Args:
        model: The model of a tagger.
        encode: Its image tower: (model, pixels) -> rows of any length.
    """

    def __init__(self, model: Any, encode: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self.encode = model, encode

    def forward(self, pixels: Tensor) -> tuple[Tensor]:
        return (nn.functional.normalize(self.encode(self.model, pixels), dim=-1),)


class _Texts(nn.Module):
    """(T, context) int64 tokens, and their mask if the tower reads one, to (T, D) rows of length 1.

    Args:
        model: The model of a tagger.
        encode: Its text tower: (model, tokens, mask) -> rows of any length.
    """

    def __init__(self, model: Any, encode: Callable[[Any, Tensor, Tensor | None], Tensor]) -> None:
        super().__init__()
        self.model, self.encode = model, encode

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> tuple[Tensor]:
        return (nn.functional.normalize(self.encode(self.model, tokens, mask), dim=-1),)


class _Head(nn.Module):
    """The logits of (P, D) features for a (C, D) label matrix, a logit scale and a bias, all given at run time."""

    def forward(self, features: Tensor, labels: Tensor, scale: Tensor, bias: Tensor) -> tuple[Tensor]:
        return (scale * (features @ labels.T) + bias,)


class TaggerExport:
    """How taggers are exported and compared; see stages.StageExport."""

    quantizes = True

    def graphs(self, tagger: Any, image: ImageArray) -> list[GraphSource]:
        """Return the image tower, the text tower and the head of a tagger.

        Raises:
            BadInput: The tagger is of another family.
        """
        kind = self.kind(tagger)
        given = tagger.pixels([image]) if kind else {}
        if not kind or len(given) != 1:
            raise BadInput(
                f"tagger {tagger.record.spec} cannot be exported; of taggers, the checkpoints of open_clip, clip, "
                "metaclip2 and siglip can (but for NaFlex), and the embedded one"
            )
        pixels, words = self.pixels(tagger, image).repeat(_PAIR, 1, 1, 1), _words(tagger, ["a", "a cat"])
        encode_image, encode_text = _ENCODERS.get(kind, (_hf_image, _hf_text))
        image_tower, text_tower = _Images(tagger.model, encode_image), _Texts(tagger.model, encode_text)
        with torch.no_grad():
            width = text_tower(**words)[0].shape[1]
        head = {"features": torch.zeros(2, width), "labels": torch.zeros(3, width)}
        terms = {"scale": torch.tensor(1.0), "bias": torch.tensor(0.0)}
        return [
            GraphSource("image", image_tower, {"pixels": pixels}, {"pixels": (0,)}, ("features",)),
            GraphSource("text", text_tower, words, dict.fromkeys(words, (0,)), ("features",)),
            GraphSource("head", _Head(), {**head, **terms}, {"features": (0,), "labels": (0,)}, ("logits",)),
        ]

    def pixels(self, tagger: Any, image: ImageArray) -> Tensor:
        """Return the (1, 3, height, width) input of the image tower."""
        (made,) = tagger.pixels([image]).values()
        return torch.as_tensor(made)

    def save(self, tagger: Any, folder: Path) -> dict[str, Any]:
        """Write how images and words are prepared, in the library's own files; return the settings of the record."""
        kind = self.kind(tagger)
        if kind == "open_clip":
            _save_open_clip(tagger, folder)
        elif kind == "pocket":
            shutil.copy(checkpoint("pocket-tagger").path.with_name("tokenizer.json"), folder)
        else:
            tagger.tokenizer.save_pretrained(str(folder))
            tagger.image_processor.save_pretrained(str(folder))
        terms = {"logit_scale": tagger.scale, "logit_bias": tagger.bias}
        return {**terms, "input_side": tagger.input_side, "context": tagger.context}

    def kind(self, tagger: Any) -> str:
        """Return the family whose class loads the export; empty if it cannot be exported."""
        if isinstance(tagger, ExportedOpenClip | ExportedPocketTagger | ExportedTransformers):
            return ""
        return next((kind for kind, family in _FAMILIES.items() if isinstance(tagger, family)), "")

    def load(self, form: str, folder: Path, dtype: str | None) -> DualEncoder:
        """Load what was written."""
        return load_tagger(form, str(folder), None, dtype)

    def answers(self, tagger: DualEncoder, samples: Samples) -> Floats:
        """Return the (P, D) features of all samples; the first image of each batch goes alone."""
        parts = (part for batch in samples.batches(_TOGETHER) for part in (batch[:1], batch[1:]) if part)
        return np.concatenate([tagger.encode_images(part) for part in parts])

    def compare(self, tagger: DualEncoder, torch_rows: Floats, exported: Any, samples: Samples) -> dict[str, Any]:
        """Return cosines of images and of texts, and how often the best label is the same."""
        rows = self.answers(exported, samples)
        texts, ours = tagger.encode_labels(samples.labels), exported.encode_labels(samples.labels)
        best, found = tagger.logits(torch_rows, texts).argmax(1), exported.logits(rows, ours).argmax(1)
        image, text = cosines(torch_rows, rows), cosines(texts.embeddings, ours.embeddings)
        made: dict[str, Any] = {
            "images": len(rows),
            "labels": len(samples.labels),
            "cosine_min": float(image.min()),
            "cosine_mean": float(image.mean()),
            "text_cosine_min": float(text.min()),
            "top1_agreement": float((best == found).mean()),
        }
        if samples.targets is not None:
            made |= {"top1_torch": share_of(best, samples), "top1": share_of(found, samples)}
        return made


def _open_clip_image(model: Any, pixels: Tensor) -> Tensor:
    return torch.as_tensor(model.encode_image(pixels))


def _open_clip_text(model: Any, tokens: Tensor, mask: Tensor | None) -> Tensor:
    return torch.as_tensor(model.encode_text(tokens))


def _pocket_text(model: Any, tokens: Tensor, mask: Tensor | None) -> Tensor:
    return torch.as_tensor(model.texts(tokens))


def _hf_image(model: Any, pixels: Tensor) -> Tensor:
    return torch.as_tensor(model.get_image_features(pixel_values=pixels).pooler_output)


def _hf_text(model: Any, tokens: Tensor, mask: Tensor | None) -> Tensor:
    return torch.as_tensor(model.get_text_features(input_ids=tokens, attention_mask=mask).pooler_output)


def _words(tagger: Any, texts: list[str]) -> dict[str, Tensor]:
    """Return the inputs of the text tower for texts."""
    if isinstance(tagger, OpenClipTagger):
        return {"tokens": tagger.tokenizer(texts)}
    if isinstance(tagger, PocketTagger):
        return pocket_tokens(tagger.tokenizer, texts)
    return padded(tagger.tokenizer, texts, tagger.context)


def _save_open_clip(tagger: OpenClipTagger, folder: Path) -> None:
    """Write open_clip's configuration of words and pixels, and the tokenizer unless it is the one that it ships."""
    import open_clip

    text = (open_clip.get_model_config(_config_name(tagger.record.spec)) or {}).get("text_cfg", {})
    made = {"model_cfg": {"text_cfg": text}, "preprocess_cfg": tagger.model.visual.preprocess_cfg}
    (folder / OPEN_CLIP).write_text(json.dumps(made, indent=1) + "\n", "utf-8")
    if hasattr(tagger.tokenizer, "save_pretrained"):
        tagger.tokenizer.save_pretrained(str(folder))


def _config_name(spec: str) -> str:
    """Return open_clip's name of the configuration of a SPEC."""
    rest = spec.removeprefix("open_clip:")
    return rest if rest.startswith(("local-dir:", "hf-hub:")) else rest.partition("/")[0]


_FAMILIES: Mapping[str, type[DualEncoder]] = MappingProxyType(
    {"open_clip": OpenClipTagger, "pocket": PocketTagger, **TRANSFORMERS}
)
"""Kind of an export -> the class of its source."""

_ENCODERS = MappingProxyType(
    {"open_clip": (_open_clip_image, _open_clip_text), "pocket": (_open_clip_image, _pocket_text)}
)
"""Kind -> its image tower and its text tower; other kinds are families of transformers."""
