"""Tags for whole images with RAM and RAM++, from the authors' checkpoints."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from openvocab.errors import BadInput, BadOutput, BadWeights
from openvocab.models.device import dtype_of, pick_device, pick_dtype
from openvocab.models.taggers.clip_tagger import OpenClipTagger
from openvocab.models.taggers.ram_model import RamModel
from openvocab.models.taggers.ram_tags import LIST, THRESHOLDS, RamTags, read_descriptions, read_lines
from openvocab.pipeline.parallel import on_one_core, side_by_side
from openvocab.pipeline.protocols import ImageArray, Prepared, TextEmbeddings
from openvocab.pipeline.result import ModelRecord
from openvocab.pipeline.scores import sigmoid
from openvocab.prompts.labels import check_labels
from openvocab.prompts.templates import PromptSet, prompt_set
from openvocab.weights.files import read_state
from openvocab.weights.store import url_weights_all
from openvocab.weights.trust import file_state, refuse_changed, trusted_sha256

__all__ = ["RamTagger"]

Floats = NDArray[np.float32]

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, as ram/transform.py of the authors' code has them."""

_TOWER = "ViT-B-16/openai"
"""The text tower of the authors' ram/utils/openset_utils.py, as open_clip names it."""

_QUERIES_TOGETHER = 2**15
"""Labels times images that go through the decoder together: some hundred MB."""


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class RamTagger:
    """Scores labels for whole images with RAM or RAM++; each score stands alone.

    A label that is one of the checkpoint's tags, in any case, has the checkpoint's own embeddings. Another label is
    embedded by CLIP's text tower, from its descriptions or, without any, from the templates.

    Each tag has a threshold of its own. A tag's logit is moved so that its threshold becomes 0.68, the default of the
    authors' code, and one tag threshold fits all labels. The threshold of a label that is no tag is 0.5.

    Attributes:
        record: What the model is; its sha256 covers the weights, the list of tags and their thresholds.
        model: In evaluation mode, on its device, in its precision.
        tags: The tags of the checkpoint, in its order.
        text_tower: Loads the text tower when the first label needs it.
        descriptions: Label in lower case -> its descriptions.
        independent: True: each score comes through a sigmoid.
        batch: Images that go through the model together.
    """

    record: ModelRecord
    model: RamModel
    tags: RamTags
    text_tower: Callable[[], OpenClipTagger]
    descriptions: Mapping[str, tuple[str, ...]]
    independent: bool = True
    batch: int = 16

    @classmethod
    def load(cls, spec: str, device: str | None = None, dtype: str | None = None) -> RamTagger:
        """Load a checkpoint in the format of the authors.

        Args:
            spec: "ram_plus_swin_large_14m" or "ram_swin_large_14m", the published weights, which are fetched, or the
                path of a file with "ram_tag_list.txt" and "ram_tag_list_threshold.txt" beside it. After "@" may come
                the path of a .json file with descriptions of labels, and a SPEC of open_clip for the text tower
                ("ViT-B-16/openai" by default).
            device: "cuda", "mps", "cpu"; None for the best there is.
            dtype: "float32", "bfloat16" or "float16", for the weights; None for what is fast on the device.

        Raises:
            BadInput: There is no such device or precision.
            BadWeights: A file is absent, cannot be fetched or read, or does not fit the others.
            UnknownName: The spec is neither a file nor the name of published weights.
        """
        target = pick_device(device)
        precision = pick_dtype(target, dtype)
        name, *more = spec.split("@")
        model, tags, digest = _read(name)
        files = [each for each in more if each.endswith(".json")]
        towers = [each for each in more if not each.endswith(".json")] or [_TOWER]
        return cls(
            record=ModelRecord(f"ram:{spec}", digest, str(target), str(precision).removeprefix("torch.")),
            model=model.to(target, precision),
            tags=tags,
            text_tower=partial(_tower, towers[0], str(target), str(precision)),
            descriptions={label: texts for file in files for label, texts in read_descriptions(Path(file)).items()},
        )

    @property
    def preparation(self) -> str:
        """The architecture and how images are prepared."""
        return f"{self.model!r} squash {self.model.sizes.side} bilinear {_MEAN} {_STD}"

    @property
    def feature_size(self) -> int:
        """The length D of an image's features."""
        return (1 + self.model.sizes.window**2) * self.model.sizes.text

    def encode_labels(self, labels: Sequence[str], prompts: PromptSet | None = None) -> TextEmbeddings:
        """Return the embeddings of each label's descriptions.

        Args:
            labels: C labels.
            prompts: Sentences for the labels that are no tags and have no descriptions: for RAM++ each is one
                description, for RAM their embeddings are averaged.

        Returns:
            embeddings of shape (C, K * D), float32: K descriptions in a row, zeros where there are fewer.

        Raises:
            BadInput: A label is empty or given twice, or has more than K descriptions.
            BadWeights: The text tower cannot be loaded, or has another width.
        """
        chosen, names = prompts or prompt_set(), check_labels(labels)
        known = [None if self._described(name) else self.tags.find(name) for name in names]
        if known == list(range(len(self.tags.names))):
            return TextEmbeddings(names, chosen, self.tags.embeddings.reshape(len(names), -1))
        embeddings = np.zeros((len(names), *self.tags.embeddings.shape[1:]), np.float32)
        for place, (name, row) in enumerate(zip(names, known, strict=True)):
            own = self._embed(name, chosen) if row is None else self.tags.embeddings[row]
            embeddings[place, : len(own)] = own
        return TextEmbeddings(names, chosen, embeddings.reshape(len(names), -1))

    @torch.inference_mode()
    def prepare(self, image: ImageArray) -> Prepared:
        """Return the model's input for an image, which encode_images and score accept in its place."""
        side = self.model.sizes.side
        small = Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)
        with on_one_core():
            pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1).float().div_(255)
            mean, std = (torch.tensor(each)[:, None, None] for each in (_MEAN, _STD))
            return Prepared({"image": pixels.sub_(mean).div_(std).to(dtype_of(self.record.dtype))[None]})

    def encode_images(self, images: Sequence[ImageArray | Prepared]) -> Floats:
        """Return (P, feature_size) float32: each image's tokens in a row, the mean of its places first.

        Raises:
            BadOutput: The model gave a number that is not finite; the message names the image's index.
        """
        blocks = [self._encode(images[at : at + self.batch]) for at in range(0, len(images), self.batch)]
        rows = np.concatenate(blocks) if blocks else np.zeros((0, self.feature_size), np.float32)
        broken = np.flatnonzero(~np.isfinite(rows).all(1))
        if broken.size:
            raise BadOutput(f"the tagger's encoding of image {int(broken[0])} is not finite")
        return rows

    def logits(self, features: Floats, vocabulary: TextEmbeddings) -> Floats:
        """Return (P, C) float32: the model's logits, each moved by its label's threshold; see the class."""
        shifts = np.array([self.tags.shift(label) for label in vocabulary.labels], np.float32)
        return np.asarray(self.raw_logits(features, vocabulary) + shifts, np.float32)

    @torch.inference_mode()
    def raw_logits(self, features: Floats, vocabulary: TextEmbeddings) -> Floats:
        """Return (P, C) float32: the model's logits as the authors' code computes them."""
        count, width = len(vocabulary.labels), self.model.sizes.text
        if not len(features):
            return np.zeros((0, count), np.float32)
        step = max(1, _QUERIES_TOGETHER // count)
        labels = torch.from_numpy(np.require(vocabulary.embeddings, np.float32, "W")).view(count, -1, width)
        labels = labels.to(self.record.device)
        tokens = torch.from_numpy(np.require(features, np.float32, "W")).view(len(features), -1, width)
        starts = range(0, len(tokens), step)
        parts = [self.model.logits(tokens[at : at + step].to(self.record.device), labels).cpu() for at in starts]
        return np.asarray(torch.cat(parts).numpy(), np.float32)

    def scores(self, features: Floats, vocabulary: TextEmbeddings) -> Floats:
        """Return (P, C) float32 scores in 0 to 1.

        Raises:
            BadOutput: A logit is not finite.
        """
        return self.scores_and_logits(features, vocabulary)[0]

    def scores_and_logits(self, features: Floats, vocabulary: TextEmbeddings) -> tuple[Floats, Floats]:
        """Return what scores and logits return, from one pass of the decoder.

        Raises:
            BadOutput: A logit is not finite.
        """
        logits = self.logits(features, vocabulary)
        if not np.isfinite(logits).all():
            raise BadOutput("the tagger's logits are not finite; try dtype='float32', or check its weights")
        return sigmoid(logits), logits

    def score(self, images: Sequence[ImageArray | Prepared], vocabulary: TextEmbeddings | Sequence[str]) -> Floats:
        """Return (P, C) float32 scores in 0 to 1 of P images for C labels.

        Raises:
            BadInput: A label cannot be used (see encode_labels).
            BadOutput: The model gave a number that is not finite.
        """
        known = vocabulary if isinstance(vocabulary, TextEmbeddings) else self.encode_labels(vocabulary)
        return self.scores(self.encode_images(images), known)

    def _described(self, label: str) -> tuple[str, ...]:
        return self.descriptions.get(label.casefold(), ())

    def _embed(self, label: str, prompts: PromptSet) -> Floats:
        """Return (at most K, D) embeddings of a label's descriptions."""
        texts, most = self._described(label) or prompts.fill(label), self.tags.embeddings.shape[1]
        if most > 1 and len(texts) > most:
            raise BadInput(f"label {label!r} has {len(texts)} descriptions; RAM++ takes {most} at most")
        rows = self.text_tower().embed_sentences(texts)
        if rows.shape[1] != self.model.sizes.text:
            raise BadWeights(
                f"{self.record.spec}: its text tower gives {rows.shape[1]} numbers where {self.model.sizes.text} are "
                "needed; name another one after '@'"
            )
        if most > 1:
            return rows
        mean = rows.mean(0, keepdims=True)
        return np.asarray(mean / np.linalg.norm(mean), np.float32)

    @torch.inference_mode()
    def _encode(self, images: Sequence[ImageArray | Prepared]) -> Floats:
        rows = side_by_side(self._tokens, images) if self.record.device == "cpu" else self._tokens(images)
        return np.asarray(rows.cpu().numpy(), np.float32)

    def _tokens(self, images: Sequence[ImageArray | Prepared]) -> Tensor:
        ready = [one if isinstance(one, Prepared) else self.prepare(one) for one in images]
        pixels = torch.cat([one.tensors["image"] for one in ready]).to(self.record.device)
        return self.model.tokens(pixels).float().flatten(1)


def _read(name: str) -> tuple[RamModel, RamTags, str]:
    """Return the model and the tags of a checkpoint, and the sha256 of the digests of its files.

    Raises:
        BadWeights: A file is absent, cannot be fetched or read, or does not fit the others.
        UnknownName: There are no such published weights.
    """
    paths, sources = _files(name)
    before = [file_state(path) for path in paths]
    state = read_state(paths[0])
    model = RamModel.of(state, paths[0])
    embeddings = state.get("label_embed", torch.zeros(0, 0)).float().numpy()
    tags = RamTags.of(read_lines(paths[1]), read_lines(paths[2]), embeddings, paths[0].parent)
    digests = [trusted_sha256(source, path) for source, path in zip(sources, paths, strict=True)]
    refuse_changed(paths, before)
    return model, tags, hashlib.sha256("".join(digests).encode()).hexdigest()


@cache
def _tower(spec: str, device: str, dtype: str) -> OpenClipTagger:
    return OpenClipTagger.load(spec, device, dtype)


def _files(name: str) -> tuple[list[Path], list[str]]:
    """Return the weights, the list of tags and their thresholds, and the source of each.

    Raises:
        BadWeights: The weights cannot be fetched.
        UnknownName: There are no such published weights.
    """
    if Path(name).suffix or Path(name).is_file():
        path = Path(name).expanduser()
        paths = [path, path.with_name(LIST), path.with_name(THRESHOLDS)]
        return paths, [str(each) for each in paths]
    fetched = url_weights_all(f"ram:{name}")
    return [path for path, _ in fetched], [source for _, source in fetched]
