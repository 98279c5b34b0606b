"""Captions of whole images, and tags from them, with CoCa (Yu et al. 2022) as open_clip has it.

open_clip's own CoCa.generate cannot be called with transformers 5: it needs BeamSearchScorer, which was removed, and
without it refuses its other ways too. Captions are decoded here instead, through the model's forward, and are those of
generate(generation_type="top_k", top_k=1): the likeliest token at each step, so the same image has one caption.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from torch import Tensor

from openvocab.errors import BadOutput, BadWeights
from openvocab.models.device import pick_device, pick_dtype, unit
from openvocab.models.taggers.clip_tagger import OpenClipTagger, preprocessing
from openvocab.pipeline.protocols import ImageArray, TextEmbeddings
from openvocab.pipeline.result import ModelRecord
from openvocab.pipeline.scores import sigmoid, softmax
from openvocab.prompts.phrases import mentions
from openvocab.prompts.templates import PromptSet

__all__ = ["CocaCaptioner"]

Floats = NDArray[np.float32]

_MOST_TOKENS, _LEAST_TOKENS = 30, 5
"""open_clip's defaults (seq_len, min_seq_len), start and end tokens included."""


@dataclass(frozen=True, eq=False, slots=True)
class CocaCaptioner:
    """Describes images in English; scores the labels that its captions mention.

    Attributes:
        tagger: The same weights as a tagger; with dtype "bfloat16" the image tower has such weights, while the text
            tower and the decoder stay in float32: where two words are nearly as likely, rounding would choose between
            them.
    """

    tagger: OpenClipTagger

    @classmethod
    def load(cls, spec: str, device: str | None = None, dtype: str | None = None) -> CocaCaptioner:
        """Load a model.

        Args:
            spec: as OpenClipTagger.load takes it, e.g. "coca_ViT-B-32/mscoco_finetuned_laion2b_s13b_b90k".
            device: "cuda", "mps", "cpu"; None for the best there is.
            dtype: "float32", "bfloat16" or "float16", for the image tower; None for what is fast on the device.

        Raises:
            BadInput: the spec has another form, or there is no such device or precision.
            UnknownName: open_clip has no such architecture, or no such weights for it.
            BadWeights: the weights are absent, cannot be read, or are not those of a CoCa with CLIP's tokenizer.
        """
        precision = pick_dtype(pick_device(device), dtype)
        tagger = OpenClipTagger.load(spec, device, "float32")
        if not isinstance(tagger.model, open_clip.CoCa):
            raise BadWeights(f"{spec}: this model has no text decoder, so it cannot write captions; name a CoCa model")
        if not hasattr(tagger.tokenizer, "eot_token_id"):
            raise BadWeights(f"{spec}: captions are decoded with CLIP's tokenizer, and this model has another one")
        tagger.model.visual.to(precision)
        record = replace(tagger.record, spec=f"coca:{spec}", dtype=str(precision).removeprefix("torch."))
        return cls(replace(tagger, record=record, preprocess=preprocessing(tagger.model, tagger.preprocess, precision)))

    @property
    def record(self) -> ModelRecord:
        """What the model is."""
        return self.tagger.record

    @property
    def independent(self) -> bool:
        """Whether scores come through a sigmoid; else through a softmax over the vocabulary."""
        return self.tagger.independent

    def caption(self, images: Sequence[ImageArray]) -> list[str]:
        """Return one English caption an image, without special tokens.

        Raises:
            BadOutput: the model gave a number that is not finite; the message names the image's index.
        """
        return [caption for _, captions in self._described(images) for caption in captions]

    def encode_labels(self, labels: Sequence[str], prompts: PromptSet | None = None) -> TextEmbeddings:
        """Return the labels as the tagger encodes them (see OpenClipTagger.encode_labels)."""
        return self.tagger.encode_labels(labels, prompts)

    def score(self, images: Sequence[ImageArray], vocabulary: TextEmbeddings | Sequence[str]) -> Floats:
        """Return (P, C) float32: for a label that an image's caption mentions, the tagger's score of it, else 0.

        openvocab.prompts.phrases defines what counts as mentioned. The tagger's scores are those over the whole
        vocabulary, as OpenClipTagger.score gives them for the same weights.

        Raises:
            BadInput: a label cannot be used (see encode_labels).
            BadOutput: the model gave a number that is not finite.
        """
        known = vocabulary if isinstance(vocabulary, TextEmbeddings) else self.encode_labels(vocabulary)
        scores = np.zeros((len(images), len(known.labels)), np.float32)
        row = 0
        for embeddings, captions in self._described(images):
            logits = self.tagger.logits(embeddings, known)
            all_scores = sigmoid(logits) if self.independent else softmax(logits)
            for given, caption in zip(all_scores, captions, strict=True):
                named = list(mentions(caption, known.labels))
                scores[row, named] = given[named]
                row += 1
        return scores

    def _described(self, images: Sequence[ImageArray]) -> Iterator[tuple[Floats, list[str]]]:
        """Yield (B, D) unit rows and B captions, a batch at a time."""
        for start in range(0, len(images), self.tagger.batch):
            rows, texts = self._describe(images[start : start + self.tagger.batch], start)
            yield rows, [self._words(tokens) for tokens in texts]

    @torch.inference_mode()
    def _describe(self, images: Sequence[ImageArray], first: int) -> tuple[Floats, list[list[int]]]:
        """Return embeddings and caption tokens of a batch; first is the index of its first image."""
        features = self.tagger.model(self.tagger.pixels(images)["image"])
        latent, places = unit(features["image_features"]), features["image_embs"].float()
        broken = (~torch.isfinite(latent).all(1)).nonzero()
        if len(broken):
            raise BadOutput(f"the captioner's embedding of image {first + int(broken[0])} is not finite")
        return np.asarray(latent.cpu().numpy(), np.float32), self._decode(latent, places, first)

    def _decode(self, latent: Tensor, places: Tensor, first: int) -> list[list[int]]:
        """Return for each of B images its tokens, from the start token to the end token or the first padding."""
        start, ends = self.tagger.tokenizer.sot_token_id, self._ends
        texts = torch.full((len(places), 1), start, device=places.device)
        going = torch.arange(len(places), device=places.device)
        done: dict[int, list[int]] = {}
        while len(going):
            token = self._next(latent[going], places[going], texts, first, going)
            texts = torch.cat([texts, token[:, None]], 1)
            ended = torch.isin(token, token.new_tensor(ends))
            done.update(zip(going[ended].tolist(), texts[ended].tolist(), strict=True))
            texts, going = texts[~ended], going[~ended]
        return [done[row] for row in range(len(places))]

    def _next(self, latent: Tensor, places: Tensor, texts: Tensor, first: int, rows: Tensor) -> Tensor:
        """Return (B,) tokens that come after texts: the most probable ones, or the end token at the maximum length."""
        end, length = self._ends[0], texts.shape[1]
        if length + 1 >= min(_MOST_TOKENS, int(self.tagger.model.context_length)):
            return torch.full_like(rows, end)
        output = self.tagger.model(None, texts, image_latent=latent, image_embs=places, output_labels=False)
        logits: Tensor = output["logits"][:, -1].float()
        broken = (~torch.isfinite(logits).all(1)).nonzero()
        if len(broken):
            raise BadOutput(f"the caption of image {first + int(rows[int(broken[0])])} is not finite")
        if length < _LEAST_TOKENS:
            logits[:, end] = -torch.inf
        return logits.argmax(1)

    @property
    def _ends(self) -> tuple[int, int]:
        """The tokens after which a caption is over: the end, and padding."""
        return self.tagger.tokenizer.eot_token_id, self.tagger.model.pad_id

    def _words(self, tokens: list[int]) -> str:
        tokenizer: Any = self.tagger.tokenizer
        special = {tokenizer.sot_token_id, *self._ends}
        return " ".join(str(tokenizer.decode([token for token in tokens if token not in special])).split())
