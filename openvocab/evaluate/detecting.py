"""From a detector and annotated images to the arrays that are measured."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.evaluate.data.annotated import Annotated, AnnotatedSet, require_objects
from openvocab.evaluate.detection import Found, Truth
from openvocab.evaluate.scoring import Watch, decoded_ahead
from openvocab.images.items import Item
from openvocab.images.read import Decoded
from openvocab.pipeline.chain import detect
from openvocab.pipeline.detections import Detections
from openvocab.pipeline.pipeline import Pipeline

__all__ = ["Detected", "find_boxes"]


@dataclass(frozen=True, eq=False, slots=True)
class Detected:
    """What a detector found in P images, and what is there.

    names    P paths.
    labels   C labels.
    template  the sentence that each was put into.
    truth    P annotations.
    found    P answers.
    unread   path and reason of each image that could not be read; it is in no figure.
    resized  paths of images that have another size than their annotation says.
    digest   sha256 of all images' bytes, boxes and labels, in order: the same data gives the same one.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    template: str
    truth: tuple[Truth, ...]
    found: tuple[Found, ...]
    unread: tuple[tuple[str, str], ...]
    resized: tuple[str, ...]
    digest: str


def find_boxes(pipe: Pipeline, data: AnnotatedSet, *, watch: Watch = lambda each: each) -> Detected:
    """Look for all labels in all images, with the pipeline's detector and settings and without its tagger.

    Args:
        watch: wraps the images as they pass, such as in a progress bar.

    Raises:
        BadInput: there is no detector, no image could be read, or none of those read has an object.
        BadOutput: the model's answer is not finite.
    """
    alone = Pipeline(None, pipe.detector, None, pipe.settings)
    vocabulary, size, digest = alone.vocabulary(data.labels), pipe.settings.batch_size, hashlib.sha256()
    seen: list[tuple[Annotated, Found]] = []
    unread, resized = list[tuple[str, str]](), list[str]()
    passing = iter(watch(_decoded(data.images, size)))
    while some := list(islice(passing, size)):
        unread += [(one.path, str(made)) for one, made in some if isinstance(made, Exception)]
        good = [(one, made) for one, made in some if isinstance(made, Decoded)]
        pixels = [made.pixels for _, made in good]
        answers = detect(alone, pixels, vocabulary) if good else []
        for (one, made), detections in zip(good, answers, strict=True):
            digest.update(f"{made.sha256} {_plain(one, data.labels)}\n".encode())
            resized += [one.path] * ((made.height, made.width) != (one.height, one.width))
            seen.append((one, _found(detections, data.labels, one.looked_for)))
    if not seen:
        raise BadInput(f"no image of {data.source!r} could be read: {unread[0][1] if unread else 'it lists none'}")
    require_objects(replace(data, images=tuple(one for one, _ in seen)))
    truth = tuple(_truth(one) for one, _ in seen)
    names, found = tuple(one.path for one, _ in seen), tuple(answer for _, answer in seen)
    template = vocabulary.queries.template if vocabulary.queries else ""
    return Detected(names, data.labels, template, truth, found, tuple(unread), tuple(resized), digest.hexdigest())


def _decoded(images: Sequence[Annotated], batch: int) -> Iterator[tuple[Annotated, Decoded | Exception]]:
    items = (Item(one.path, one.path, listed=True) for one in images)
    for one, (_, made) in zip(images, decoded_ahead(items, batch), strict=True):
        yield one, made


def _plain(one: Annotated, labels: Sequence[str]) -> list[object]:
    return [one.xyxy.tolist(), [labels[row] for row in one.label_index], one.crowd.tolist()]


def _found(detections: Detections, labels: Sequence[str], looked_for: NDArray[np.int64] | None) -> Found:
    """Return the boxes of an image, those of labels that nobody looked for left out."""
    place = {label: row for row, label in enumerate(labels)}
    index = np.array([place[label] for label in detections.labels], np.int64)
    kept = np.ones(len(index), bool) if looked_for is None else np.isin(index, looked_for)
    return Found(detections.xyxy[kept], detections.scores[kept], index[kept])


def _truth(one: Annotated) -> Truth:
    return Truth(one.height, one.width, one.xyxy, one.label_index, one.crowd, areas=one.areas)
