"""Tags for whole images, from the models that transformers has for it: CLIP, SigLIP, SigLIP 2 and MetaCLIP 2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Self

from PIL import Image
from torch import Tensor

from openvocab.errors import BadWeights, MissingExtra
from openvocab.models.checkpoints import Found, find, load_model, load_processor, processor_side
from openvocab.models.device import dtype_of
from openvocab.models.taggers.dual_encoder import DualEncoder, logit_terms
from openvocab.pipeline.protocols import ImageArray

__all__ = ["ClipTagger", "MetaClip2Tagger", "SiglipTagger", "TransformersTagger"]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class TransformersTagger(DualEncoder):
    """Scores labels for whole images; a subclass names the model types and how sentences are padded.

    Scores are those of the pipeline zero-shot-image-classification with the same sentences, as _clean makes them.

    Attributes:
        model: In evaluation mode, on its device, in its precision.
        tokenizer: The checkpoint's own.
        image_processor: The checkpoint's own.
    """

    FAMILY: ClassVar[str]
    KIND: ClassVar[str]
    CLASSES: ClassVar[Mapping[str, str]]
    PADDING: ClassVar[str]

    model: Any
    tokenizer: Any
    image_processor: Any

    @classmethod
    def load(cls, spec: str, device: str | None = None, dtype: str | None = None) -> Self:
        """Load a model from the hub or from a folder in the same layout.

        Args:
            spec: ORG/NAME or ORG/NAME@REVISION, or the path of a folder.
            device: "cuda", "mps", "cpu"; None for the best there is.
            dtype: "float32", "bfloat16" or "float16", for the weights; None for what is fast on the device.

        Raises:
            BadInput: there is no such device or precision.
            BadWeights: the model is absent, cannot be fetched or read, or is of another kind.
            MissingExtra: its tokenizer needs a package that is not installed.
        """
        import transformers

        found = find(cls.FAMILY, spec, cls.KIND, cls.CLASSES)
        record = found.record(device, dtype)
        tokenizer = _tokenizer(found, cls.KIND)
        model = load_model(found, getattr(transformers, cls.CLASSES[found.config["model_type"]]), cls.KIND)
        _check_tokenizer(spec, len(tokenizer), int(model.config.text_config.vocab_size))
        scale, bias = logit_terms(model)
        return cls(
            model=model.to(record.device, dtype_of(record.dtype)),
            tokenizer=tokenizer,
            image_processor=load_processor(found, transformers.AutoImageProcessor, cls.KIND),
            record=record,
            scale=scale,
            bias=bias,
        )

    @property
    def input_side(self) -> int:
        """Pixels of the shorter side of the model's input."""
        return processor_side(self.image_processor)

    @property
    def context(self) -> int:
        """The maximum number of tokens of the text tower, special ones included."""
        return int(self.model.config.text_config.max_position_embeddings)

    @property
    def preparation(self) -> str:
        """The architecture and how images are prepared."""
        return f"{self.model!r} {self.image_processor.to_json_string()} {self.PADDING}"

    def _clean(self, text: str) -> str:
        """Return a sentence as the text tower was trained on it, if its tokenizer does not do that."""
        return text

    def _measure(self, text: str) -> tuple[int, str]:
        clean = self._clean(text)
        whole = self.tokenizer(clean, verbose=False).input_ids
        kept = self.tokenizer(clean, truncation=True, max_length=self.context).input_ids
        return len(whole), str(self.tokenizer.decode(kept, skip_special_tokens=True)).strip()

    def _embed_texts(self, texts: list[str]) -> Tensor:
        clean = [self._clean(text) for text in texts]
        tokens = self.tokenizer(
            clean, padding=self.PADDING, truncation=True, max_length=self.context, return_tensors="pt"
        ).to(self.model.device)
        rows: Tensor = self.model.get_text_features(**tokens).pooler_output
        return rows

    def _prepare(self, image: ImageArray) -> Mapping[str, Tensor]:
        made = self.image_processor(images=[Image.fromarray(image)], return_tensors="pt")
        return dict(made.to(dtype_of(self.record.dtype)))

    def _embed_images(self, pixels: Mapping[str, Tensor]) -> Tensor:
        rows: Tensor = self.model.get_image_features(**pixels).pooler_output
        return rows


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class ClipTagger(TransformersTagger):
    """CLIP (Radford et al. 2021): a softmax over the labels.

    The text tower is causal, so a batch of sentences is only as long as its longest one, without a change.
    """

    FAMILY: ClassVar[str] = "clip"
    KIND: ClassVar[str] = "CLIP model"
    CLASSES: ClassVar[Mapping[str, str]] = MappingProxyType({"clip": "CLIPModel"})
    PADDING: ClassVar[str] = "longest"


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class SiglipTagger(TransformersTagger):
    """SigLIP (Zhai et al. 2023) and SigLIP 2 (Tschannen et al. 2025): each label on its own, through a sigmoid.

    SigLIP 2 of a fixed resolution is published as model type "siglip"; "siglip2" is its NaFlex kind, which keeps a
    image's aspect ratio. The text tower is pooled at its last place, so sentences are padded to the whole context.

    Both were trained on canonical text: lower case, without ASCII punctuation. The tokenizer that SigLIP 2 is published
    with keeps case and punctuation, so sentences are made canonical before it, by open_clip's own function.
    """

    FAMILY: ClassVar[str] = "siglip"
    KIND: ClassVar[str] = "SigLIP model"
    CLASSES: ClassVar[Mapping[str, str]] = MappingProxyType({"siglip": "SiglipModel", "siglip2": "Siglip2Model"})
    PADDING: ClassVar[str] = "max_length"

    def _clean(self, text: str) -> str:
        """Return a sentence in lower case, without ASCII punctuation, with single spaces."""
        from open_clip.tokenizer import get_clean_fn

        return str(get_clean_fn("canonicalize")(text))


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class MetaClip2Tagger(TransformersTagger):
    """MetaCLIP 2 (Chuang et al. 2025): CLIP with labels in many languages."""

    FAMILY: ClassVar[str] = "metaclip2"
    KIND: ClassVar[str] = "MetaCLIP 2 model"
    CLASSES: ClassVar[Mapping[str, str]] = MappingProxyType({"metaclip_2": "MetaClip2Model"})
    PADDING: ClassVar[str] = "longest"


def _tokenizer(found: Found, kind: str) -> Any:
    """Return the tokenizer; the one of the first SigLIP needs a package that transformers does not bring."""
    from transformers import AutoTokenizer

    try:
        return load_processor(found, AutoTokenizer, kind)
    except BadWeights as error:
        if isinstance(error.__cause__, ImportError):
            raise MissingExtra(
                f"{found.location}: the tokenizer of this {kind} needs two packages that are not installed; "
                "run: pip install 'openvocab[siglip]'"
            ) from error
        raise


def _check_tokenizer(spec: str, tokens: int, expected: int) -> None:
    """Refuse the empty tokenizer that transformers builds if tokenizer files are absent."""
    if tokens <= expected // 2:
        raise BadWeights(f"{spec}: the tokenizer knows {tokens} tokens where the model expects {expected}")
