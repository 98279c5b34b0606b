"""A tagger run over labeled images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.evaluate.data.labeled import LabeledImage, LabeledSet
from openvocab.evaluate.runs.images import Progress, no_progress, prepare_images, readable_batches
from openvocab.pipeline.protocols import ImageArray, Tagger
from openvocab.pipeline.result import ModelRecord
from openvocab.prompts.prompt import Prompt
from openvocab.prompts.sets import LabelSet
from openvocab.prompts.templates import PromptSet

__all__ = ["TaggerRun", "run_prompts", "run_tagger"]


@dataclass(frozen=True, eq=False, slots=True)
class TaggerRun:
    """A tagger's logits for P images and C labels, with the true labels.

    Attributes:
        names: P ids.
        labels: C labels.
        logits: (P, C) float32.
        truth: (P, C) bool.
        unread: Id and error of each image that could not be read; it has no row.
        digest: sha256 over all images' bytes and labels, in order; it identifies the data.
        model: The tagger's record.
        prompts: The prompt set.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    logits: NDArray[np.float32]
    truth: NDArray[np.bool_]
    unread: tuple[tuple[str, str], ...]
    digest: str
    model: ModelRecord
    prompts: PromptSet


def run_tagger(
    tagger: Tagger, data: LabeledSet, prompts: PromptSet, *, batch: int = 32, progress: Progress = no_progress
) -> TaggerRun:
    """Run a tagger over a data set with one prompt set; see run_prompts."""
    return run_prompts(tagger, data, [prompts], batch=batch, progress=progress)[0]


def run_prompts(
    tagger: Tagger,
    data: LabeledSet,
    prompts: Sequence[PromptSet],
    *,
    batch: int = 32,
    progress: Progress = no_progress,
) -> list[TaggerRun]:
    """Run a tagger over a data set once, and score its labels with each of several prompt sets.

    A label that occurs twice is encoded once. Of a LabelSet synonyms alone count, of a Prompt words.

    Args:
        prompts: The prompt sets; there is one run for each.
        batch: Images per batch.
        progress: Wraps the images, for example in a progress bar.

    Raises:
        BadInput: No image could be read, no readable image has a label, or a label is invalid.
        BadOutput: The model's output is not finite.
    """
    unique = tuple(dict.fromkeys(data.labels))
    texts = [tagger.encode_labels(_phrases(data, unique), each) for each in prompts]
    column = [unique.index(label) for label in data.labels]
    read, unread, rows = list[LabeledImage](), list[tuple[str, str]](), []
    images = progress(prepare_images(tagger, data.images(), batch))
    digest = hashlib.sha256()
    for readable in readable_batches(images, batch, _id, unread):
        for one, (decoded, _) in readable:
            digest.update(f"{decoded.sha256} {[data.labels[label] for label in one.labels]}\n".encode())
            read.append(one)
        if readable:
            features = tagger.encode_images([cast("ImageArray", given) for _, (_, given) in readable])
            rows.append([_best(data, tagger.logits(features, each))[:, column] for each in texts])
    truth, names = _truth(data, read, unread), tuple(map(_id, read))
    known = tuple(unread), digest.hexdigest(), tagger.record
    return [
        TaggerRun(names, data.labels, np.concatenate(logits), truth, *known, each)
        for logits, each in zip(zip(*rows, strict=True), prompts, strict=True)
    ]


def _phrases(data: LabeledSet, labels: Sequence[str]) -> Sequence[str]:
    """Return what is encoded for labels: the phrases of a LabelSet, or the labels.

    Raises:
        BadInput: the labels are those of a Prompt, and one of them is no word.
    """
    if isinstance(data.queries, Prompt) and data.queries.unnamed:
        raise BadInput(
            f"a tagger scores words, and {data.queries.unnamed[0]!r} of the prompt is none; use evaluate chain"
        )
    return data.queries.phrases if isinstance(data.queries, LabelSet) else labels


def _best(data: LabeledSet, logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logits of labels, for those of _phrases."""
    return data.queries.best(logits) if isinstance(data.queries, LabelSet) else logits


def _id(one: LabeledImage) -> str:
    return one.item.id


def _truth(data: LabeledSet, images: Sequence[LabeledImage], unread: Sequence[tuple[str, str]]) -> NDArray[np.bool_]:
    """Return (P, C) bool, the labels of the images that were read.

    Raises:
        BadInput: No image was read, or none has a label.
    """
    if not images:
        raise BadInput(f"no image of {data.source!r} could be read{f': {unread[0][1]}' if unread else ''}")
    truth = np.array([np.isin(np.arange(len(data.labels)), one.labels) for one in images])
    if not truth.any():
        cause = f"no image of {data.source!r} has a label, so nothing can be measured"
        raise BadInput(f"{cause}; labels were read from {data.label_source}; check the path and the annotations")
    return truth
