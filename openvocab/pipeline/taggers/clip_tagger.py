"""Tags for whole pictures, from any open_clip model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from PIL import Image
from torch import Tensor

from openvocab.errors import BadInput, BadWeights, unknown
from openvocab.pipeline.device import dtype_of, pick_device, pick_dtype
from openvocab.pipeline.record import ModelRecord
from openvocab.pipeline.stages import Picture
from openvocab.pipeline.taggers.clip_pixels import clip_pixels
from openvocab.pipeline.taggers.clip_texts import encode_texts
from openvocab.pipeline.taggers.clip_tower import PackedTower, packed_tower
from openvocab.pipeline.taggers.dual_encoder import DualEncoder, logit_terms
from openvocab.weights.files import first_line, read_state
from openvocab.weights.trust import source_of, trusted_sha256

__all__ = ["OpenClipTagger", "preprocessing"]

_FORM = "write ARCHITECTURE/WEIGHTS, hf-hub:ORG/NAME or local-dir:PATH"


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class OpenClipTagger(DualEncoder):
    """Scores labels for whole pictures with an open_clip model: CLIP, SigLIP, CoCa or another.

    model       in evaluation mode, on its device, in its precision.
    tokenizer   the model's own, as open_clip.get_tokenizer returns it.
    preprocess  a (height, width, 3) uint8 picture to a (3, height, width) float tensor: the model's own way; with
                bfloat16 weights, uint8 resizing where clip_pixels has it, whose error is less than that rounding's.
    tower       the model's picture tower in a quicker form; None where the model's own runs.
    """

    model: Any
    tokenizer: Any
    preprocess: Callable[[Picture], Tensor]
    tower: PackedTower | None = None

    @classmethod
    def load(cls, spec: str, device: str | None = None, dtype: str | None = None) -> OpenClipTagger:
        """Load a model.

        Args:
            spec: "ViT-B-32/laion2b_s34b_b79k" (architecture and weights; weights may be a file), "hf-hub:ORG/NAME",
                or "local-dir:PATH" of a folder with open_clip_config.json and its weights.
            device: "cuda", "mps", "cpu"; None takes the best there is.
            dtype: "float32" or "bfloat16", for the weights; None takes what is fast there.

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
        digest = trusted_sha256(source_of(path), path)
        model, exact = _build(spec, name, weights)
        scale, bias = logit_terms(model)
        model = model.to(target, precision).eval()
        return cls(
            model=model,
            tokenizer=open_clip.get_tokenizer(name),
            preprocess=preprocessing(model, exact, precision),
            tower=packed_tower(model),
            record=ModelRecord(f"open_clip:{spec}", digest, str(target), str(precision).removeprefix("torch.")),
            scale=scale,
            bias=bias,
        )

    @property
    def context(self) -> int:
        """The most tokens that the text tower reads, special ones included."""
        return int(self.tokenizer.context_length)

    @property
    def preparation(self) -> str:
        """The architecture and how pictures are prepared."""
        return f"{self.model!r} {getattr(self.model.visual, 'preprocess_cfg', None)}"

    def _measure(self, text: str) -> tuple[int, str]:
        return _measure(self.tokenizer, text, self.context)

    def _embed_texts(self, texts: list[str]) -> Tensor:
        return encode_texts(self.model, self.tokenizer(texts).to(self.record.device))

    def _prepare(self, picture: Picture) -> Mapping[str, Tensor]:
        return {"image": self.preprocess(picture).to(dtype_of(self.record.dtype))[None]}

    def _embed_pictures(self, pixels: Mapping[str, Tensor]) -> Tensor:
        rows: Tensor = (self.tower or self.model.encode_image)(pixels["image"])
        return rows


def preprocessing(
    model: Any, exact: Callable[[Picture], Tensor], precision: torch.dtype
) -> Callable[[Picture], Tensor]:
    """Return the preprocessing of a model of that precision: exact, or a quicker one where rounding hides its error."""

    def quick(picture: Picture) -> Tensor:
        pixels = clip_pixels(picture, model.visual.preprocess_cfg)
        return exact(picture) if pixels is None else pixels

    return exact if precision == torch.float32 else quick


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
    known = open_clip.list_models()
    if architecture not in known and Path(spec).is_dir():
        raise BadInput(f"{spec!r} is a folder; write it as local-dir:{spec}")
    if not slash or not weights:
        raise BadInput(f"{spec!r} names no weights; {_FORM}")
    if architecture not in known:
        raise unknown("open_clip architecture", architecture, known)
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


def _build(spec: str, name: str, weights: str | None) -> tuple[Any, Callable[[Picture], Tensor]]:
    """Build the model and its preprocessing."""
    try:
        model, transform = open_clip.create_model_from_pretrained(name, weights, precision="fp32", device="cpu")
    except Exception as error:  # upstream fails in many ways on a foreign file: state, shapes, keys, config
        raise BadWeights(f"{spec}: these weights do not fit the architecture: {first_line(error)}") from error

    def exact(picture: Picture) -> Tensor:
        pixels: Tensor = transform(Image.fromarray(picture))
        return pixels

    return model, exact
