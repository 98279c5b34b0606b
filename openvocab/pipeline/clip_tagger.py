"""Tags for whole pictures, from any open_clip model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from openvocab.errors import BadInput, BadOutput, BadWeights, unknown
from openvocab.pipeline.device import dtype_of, pick_device, pick_dtype, unit
from openvocab.pipeline.record import ModelRecord
from openvocab.pipeline.scores import sigmoid, softmax
from openvocab.pipeline.stages import Picture, TextEmbeddings
from openvocab.prompts.labels import check_context, check_labels
from openvocab.prompts.templates import PromptSet, prompt_set
from openvocab.weights.files import first_line, read_state, sha256_of

__all__ = ["OpenClipTagger"]

Floats = NDArray[np.float32]

_TEXTS_A_BATCH = 256
_FORM = "write ARCHITECTURE/WEIGHTS, hf-hub:ORG/NAME or local-dir:PATH"


@dataclass(frozen=True, eq=False, slots=True)
class OpenClipTagger:
    """Scores labels for whole pictures with an open_clip model.

    model       in evaluation mode, on its device, in its precision.
    tokenizer   the model's own, as open_clip.get_tokenizer returns it.
    preprocess  the model's own: a PIL picture to a (3, height, width) float tensor.
    record      what the model is.
    scale       factor on the cosine; exp of the model's logit_scale.
    bias        added to it where the model was trained with a sigmoid; None where with a softmax.
    batch       pictures that go through the model together.
    """

    model: Any
    tokenizer: Any
    preprocess: Callable[[Image.Image], Tensor]
    record: ModelRecord
    scale: float
    bias: float | None = None
    batch: int = 32

    @classmethod
    def load(cls, spec: str, device: str | None = None, dtype: str | None = None) -> OpenClipTagger:
        """Load a model.

        Args:
            spec: "ViT-B-32/laion2b_s34b_b79k" (architecture and weights; weights may be a file), "hf-hub:ORG/NAME",
                or "local-dir:PATH" of a folder with open_clip_config.json and its weights.
            device: "cuda", "mps", "cpu"; None takes the best there is.
            dtype: "float32" or "bfloat16"; None takes what is fast there.

        Raises:
            BadInput: the spec has another form, or there is no such device or precision.
            UnknownName: open_clip has no such architecture, or no such weights for it.
            BadWeights: the weights are absent, cannot be read, or belong to another architecture.
        """
        target = pick_device(device)
        precision = pick_dtype(target, dtype)
        name, weights, path = _find(spec)
        if path.suffix not in (".npz", ".npy"):
            read_state(path)
        model, preprocess = _build(spec, name, weights)
        bias = getattr(model, "logit_bias", None)
        return cls(
            model=model.to(target, precision).eval(),
            tokenizer=open_clip.get_tokenizer(name),
            preprocess=preprocess,
            record=ModelRecord(
                f"open_clip:{spec}", sha256_of(path), str(target), str(precision).removeprefix("torch.")
            ),
            scale=float(model.logit_scale.detach().exp()),
            bias=None if bias is None else float(bias.detach()),
        )

    @property
    def independent(self) -> bool:
        """Whether each score stands alone (sigmoid); else those of a picture sum to 1 (softmax)."""
        return self.bias is not None

    def encode_labels(self, labels: Sequence[str], prompts: PromptSet | None = None) -> TextEmbeddings:
        """Average each label's sentences into one unit vector.

        Args:
            labels: C labels.
            prompts: the templates to average over; None takes the default one.

        Returns:
            embeddings of shape (C, D), float32, in the order of labels.

        Raises:
            BadInput: a label is empty or given twice, or two are the same once cut to the model's context.
            BadOutput: the model gave an embedding that is not finite.
        """
        names = check_labels(labels)
        chosen = prompts or prompt_set()
        self._check_context(names, chosen)
        texts = [text for name in names for text in chosen.fill(name)]
        count = len(chosen.templates)
        step = max(1, _TEXTS_A_BATCH // count) * count
        blocks = [self._average(texts[start : start + step], count) for start in range(0, len(texts), step)]
        embeddings = np.concatenate(blocks)
        _check_finite(embeddings, "label", names)
        return TextEmbeddings(names, chosen, embeddings)

    def encode_pictures(self, pictures: Sequence[Picture]) -> Floats:
        """Return (P, D) float32 rows of length 1, one a picture.

        Raises:
            BadOutput: the model gave an embedding that is not finite; the message names the picture's index.
        """
        starts = range(0, len(pictures), self.batch)
        blocks = [self._encode_batch(pictures[start : start + self.batch]) for start in starts]
        embeddings = np.concatenate(blocks) if blocks else np.zeros((0, 0), np.float32)
        _check_finite(embeddings, "picture", range(len(pictures)))
        return embeddings

    def logits(self, embeddings: Floats, vocabulary: TextEmbeddings) -> Floats:
        """Return (P, C) float32: scale * cosine + bias, for (P, D) embeddings of pictures."""
        if not len(embeddings):
            return np.zeros((0, len(vocabulary.labels)), np.float32)
        return np.asarray(self.scale * (embeddings @ vocabulary.embeddings.T) + (self.bias or 0), np.float32)

    def score(self, pictures: Sequence[Picture], vocabulary: TextEmbeddings | Sequence[str]) -> Floats:
        """Return (P, C) float32 scores in 0 to 1 of P pictures for C labels.

        Raises:
            BadInput: a label cannot be used (see encode_labels).
            BadOutput: the model gave an embedding that is not finite.
        """
        known = vocabulary if isinstance(vocabulary, TextEmbeddings) else self.encode_labels(vocabulary)
        logits = self.logits(self.encode_pictures(pictures), known)
        return sigmoid(logits) if self.independent else softmax(logits)

    def _check_context(self, labels: tuple[str, ...], prompts: PromptSet) -> None:
        """Warn of each label that does not fit into the text tower, in the template that leaves it least room."""
        limit = int(self.tokenizer.context_length)
        lengths = [_measure(self.tokenizer, text, limit)[0] for text in prompts.fill(labels[0])]
        longest = PromptSet(prompts.name, (prompts.templates[int(np.argmax(lengths))],))
        measured = [_measure(self.tokenizer, longest.fill(label)[0], limit) for label in labels]
        check_context(labels, [length for length, _ in measured], limit, [kept for _, kept in measured], "the tagger")

    @torch.inference_mode()
    def _average(self, texts: list[str], count: int) -> Floats:
        """Return (len(texts) / count, D): unit means of the unit embeddings of count sentences in a row."""
        tokens = self.tokenizer(texts).to(self.record.device)
        units = unit(self.model.encode_text(tokens))
        return _to_numpy(unit(units.reshape(len(texts) // count, count, -1).mean(1)))

    @torch.inference_mode()
    def _encode_batch(self, pictures: Sequence[Picture]) -> Floats:
        pixels = torch.stack([self.preprocess(Image.fromarray(picture)) for picture in pictures])
        return _to_numpy(unit(self.model.encode_image(pixels.to(self.record.device, dtype_of(self.record.dtype)))))


def _to_numpy(rows: Tensor) -> Floats:
    return np.asarray(rows.cpu().numpy(), np.float32)


def _check_finite(embeddings: Floats, kind: str, names: Sequence[Any]) -> None:
    """Raise BadOutput naming the first row that is not finite."""
    broken = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if broken.size:
        raise BadOutput(f"the tagger's embedding of {kind} {names[int(broken[0])]!r} is not finite")


def _measure(tokenizer: Any, text: str, limit: int) -> tuple[int, str]:
    """Return how many tokens a text needs, and what of it fits into limit tokens."""
    if hasattr(tokenizer, "encode"):
        tokens = tokenizer.encode(text)
        return len(tokens) + 2, str(tokenizer.decode(tokens[: limit - 2])).strip()
    inner = tokenizer.tokenizer
    clean = getattr(tokenizer, "clean_fn", str)(text)
    length = len(inner(clean, verbose=False).input_ids)
    fitting = inner(clean, truncation=True, max_length=limit).input_ids
    return length, str(inner.decode(fitting, skip_special_tokens=True)).strip()


def _find(spec: str) -> tuple[str, str | None, Path]:
    """Return open_clip's name for the model, its `pretrained` argument, and the file with the weights."""
    if spec.startswith("local-dir:"):
        return spec, None, _in_folder(Path(spec.removeprefix("local-dir:")))
    if spec.startswith("hf-hub:"):
        name = spec.removeprefix("hf-hub:")
        return spec, None, _fetched(spec, lambda: open_clip.pretrained.download_pretrained_from_hf(name))
    architecture, slash, weights = spec.partition("/")
    if not slash or not weights:
        raise BadInput(f"{spec!r} names no weights; {_FORM}")
    if architecture not in open_clip.list_models():
        raise unknown("open_clip architecture", architecture, open_clip.list_models())
    return architecture, weights, _tagged(spec, architecture, weights)


def _in_folder(folder: Path) -> Path:
    """Return the weights file that open_clip takes from a folder."""
    if not folder.is_dir():
        raise BadWeights(f"{folder}: there is no such folder")
    if not (folder / "open_clip_config.json").is_file():
        raise BadWeights(f"{folder}: this folder has no open_clip_config.json")
    if not any(path.suffix in (".safetensors", ".bin", ".pth") for path in folder.iterdir()):
        raise BadWeights(f"{folder}: this folder has no weights (open_clip_model.safetensors)")
    return Path(open_clip.factory._find_checkpoint_in_dir(folder))


def _tagged(spec: str, architecture: str, weights: str) -> Path:
    """Return the file of a pretrained tag, or weights itself where that is a path."""
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if weights in tags:
        entry = open_clip.get_pretrained_cfg(architecture, weights)
        return _fetched(spec, lambda: open_clip.download_pretrained(entry))
    if "/" not in weights and not Path(weights).suffix:
        raise unknown(f"{architecture} weights", weights, tags)
    return Path(weights)


def _fetched(spec: str, fetch: Callable[[], str]) -> Path:
    try:
        return Path(fetch())
    except Exception as error:  # offline, no such repository, no such file: each client raises its own
        raise BadWeights(f"{spec}: the weights could not be fetched: {first_line(error)}") from error


def _build(spec: str, name: str, weights: str | None) -> tuple[Any, Callable[[Image.Image], Tensor]]:
    """Build the model and its preprocessing."""
    try:
        model, preprocess = open_clip.create_model_from_pretrained(name, weights, precision="fp32", device="cpu")
    except Exception as error:  # upstream fails in many ways on a foreign file: state, shapes, keys, config
        raise BadWeights(f"{spec}: these weights do not fit the architecture: {first_line(error)}") from error
    return model, preprocess
