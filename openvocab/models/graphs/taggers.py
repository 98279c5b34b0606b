"""Taggers whose towers are exported graphs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from openvocab.models.device import dtype_of, unit
from openvocab.models.graphs.record import Opened, open_stage
from openvocab.models.graphs.runtimes import Graph
from openvocab.models.graphs.texts import embedded_texts, padded, pocket_tokens
from openvocab.models.pocket.tagger import PocketTagger, prepared
from openvocab.models.pocket.tokenizer import PocketTokenizer
from openvocab.models.taggers.clip_checkpoints import transformed
from openvocab.models.taggers.clip_tagger import OpenClipTagger, preprocessing
from openvocab.models.taggers.dual_encoder import DualEncoder
from openvocab.models.taggers.transformers_tagger import ClipTagger, MetaClip2Tagger, SiglipTagger, TransformersTagger
from openvocab.pipeline.protocols import ImageArray, Prepared

__all__ = [
    "OPEN_CLIP",
    "TRANSFORMERS",
    "ExportedOpenClip",
    "ExportedPocketTagger",
    "ExportedTransformers",
    "load_tagger",
]

OPEN_CLIP = "open_clip_config.json"
"""open_clip's configuration of words and pixels, beside the graphs."""


class _Exported(DualEncoder):
    """What the exported taggers share; a subclass has images and texts, its graphs."""

    __slots__ = ()

    images: Graph
    texts: Graph

    def _embed_images(self, pixels: Mapping[str, Tensor]) -> Tensor:
        return self.images(pixels=next(iter(pixels.values())))["features"]

    @torch.inference_mode()
    def _encode_batch(self, images: Sequence[ImageArray | Prepared]) -> NDArray[np.float32]:
        return np.asarray(unit(self._embed(images)).numpy(), np.float32)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class ExportedOpenClip(_Exported, OpenClipTagger):
    """OpenClipTagger whose towers are exported graphs.

    Attributes:
        images: The image tower.
        texts: The text tower.
    """

    images: Graph
    texts: Graph

    @property
    def preparation(self) -> str:
        """The architecture and how images are prepared."""
        return f"exported {self.record.spec} {self.model.visual.preprocess_cfg}"

    def _prepare(self, image: ImageArray) -> Mapping[str, Tensor]:
        return {"pixels": self.preprocess(image).float()[None]}

    def _embed_texts(self, texts: list[str]) -> Tensor:
        return embedded_texts(self.texts, {"tokens": self.tokenizer(texts)})


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class ExportedPocketTagger(_Exported, PocketTagger):
    """PocketTagger whose towers are exported graphs.

    Attributes:
        images: The image tower.
        texts: The text tower.
    """

    images: Graph
    texts: Graph

    @property
    def preparation(self) -> str:
        """The architecture and how images are prepared."""
        return f"exported {self.record.spec}"

    def _prepare(self, image: ImageArray) -> Mapping[str, Tensor]:
        exact = self.record.dtype == "float32"
        return {"pixels": prepared(image, torch.float32 if exact else torch.bfloat16).float()}

    def _embed_texts(self, texts: list[str]) -> Tensor:
        return embedded_texts(self.texts, pocket_tokens(self.tokenizer, texts))


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class ExportedTransformers(_Exported, TransformersTagger):
    """TransformersTagger whose towers are exported graphs.

    Attributes:
        images: The image tower.
        texts: The text tower.
        family: The class whose sentences these are.
    """

    images: Graph
    texts: Graph
    family: type[TransformersTagger]

    @property
    def context(self) -> int:
        """The maximum number of tokens of the text tower, special ones included."""
        return int(self.model.context)

    @property
    def preparation(self) -> str:
        """The architecture and how images are prepared."""
        return f"exported {self.record.spec} {self.image_processor.to_json_string()}"

    def _clean(self, text: str) -> str:
        return self.family._clean(self, text)

    def _prepare(self, image: ImageArray) -> Mapping[str, Tensor]:
        return {"pixels": self.image_processor(images=[Image.fromarray(image)], return_tensors="pt").pixel_values}

    def _embed_texts(self, texts: list[str]) -> Tensor:
        clean = [self._clean(text) for text in texts]
        return embedded_texts(self.texts, padded(self.tokenizer, clean, self.context))


TRANSFORMERS: Mapping[str, type[TransformersTagger]] = MappingProxyType(
    {"clip": ClipTagger, "siglip": SiglipTagger, "metaclip2": MetaClip2Tagger}
)
"""Kind of an export -> the class of its checkpoints."""


def load_tagger(form: str, folder: str, device: str | None, dtype: str | None) -> DualEncoder:
    """Load the tagger that export_model wrote into a folder.

    Raises:
        BadInput: The device is not the CPU, or there is no such precision.
        BadWeights: There is none, or one of its files is absent or changed.
        MissingExtra: The runtime is not installed.
    """
    opened = open_stage(form, "tagger", folder, device, dtype)
    settings = opened.record.settings
    graphs = {"images": opened.graph("image"), "texts": opened.graph("text", "float32")}
    terms = {"scale": float(settings["logit_scale"]), "bias": settings["logit_bias"], "record": opened.model}
    read: Callable[..., DualEncoder] = _READERS.get(opened.record.kind, _transformers)
    with opened.preprocessing():
        return read(opened, **graphs, **terms)


def _open_clip(opened: Opened, **given: Any) -> ExportedOpenClip:
    """Read open_clip's configuration and tokenizer."""
    import open_clip
    from open_clip.transform import PreprocessCfg, image_transform_v2

    config = json.loads((opened.folder / OPEN_CLIP).read_text("utf-8"))["preprocess_cfg"]
    transform = image_transform_v2(PreprocessCfg(**config), is_train=False)
    visual = SimpleNamespace(preprocess_cfg=config, image_size=opened.record.settings["input_side"])
    model = SimpleNamespace(visual=visual)
    return ExportedOpenClip(
        model=model,
        tokenizer=open_clip.get_tokenizer(f"local-dir:{opened.folder}"),
        preprocess=preprocessing(model, partial(transformed, transform), dtype_of(opened.dtype)),
        **given,
    )


def _pocket(opened: Opened, **given: Any) -> ExportedPocketTagger:
    """Read the tokenizer of the embedded tagger."""
    tokenizer = PocketTokenizer(opened.folder / "tokenizer.json", opened.record.settings["context"], mend=True)
    return ExportedPocketTagger(model=None, tokenizer=tokenizer, **given)


def _transformers(opened: Opened, **given: Any) -> ExportedTransformers:
    """Read the tokenizer and the image processor of transformers."""
    from transformers import AutoImageProcessor, AutoTokenizer

    processors: Any = AutoImageProcessor
    tokenizers: Any = AutoTokenizer
    return ExportedTransformers(
        model=SimpleNamespace(context=opened.record.settings["context"]),
        tokenizer=tokenizers.from_pretrained(opened.folder, local_files_only=True),
        image_processor=processors.from_pretrained(opened.folder, local_files_only=True),
        family=TRANSFORMERS[opened.record.kind],
        **given,
    )


_READERS: Mapping[str, Callable[..., DualEncoder]] = MappingProxyType({"open_clip": _open_clip, "pocket": _pocket})
"""Kind of an export -> what reads its words and pixels; other kinds are families of transformers."""
