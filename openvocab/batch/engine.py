"""The engine: one answer for each input, in the order of the source, in bounded memory.

Threads read and decode ahead, the stages run in batches, and the consumer of the answers (a loop of the caller, or the
writer of a run folder) sets the pace. No answer depends on the number of decoding threads or on the other images in the
batch; the batch size changes only how a tower rounds.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from openvocab.batch.answers import Answer, kind_of
from openvocab.batch.batches import Batches
from openvocab.batch.feature_cache import CachedImage, CacheFailed, FeatureCache, ImageCache
from openvocab.batch.prepare import PreparedImage, prepare_image
from openvocab.errors import BadInput, OutOfMemory
from openvocab.images.decode import Isolated, decode_item
from openvocab.images.items import Item
from openvocab.images.prefetch import prefetch
from openvocab.images.read import MAX_PIXELS, Decoded
from openvocab.pipeline.batching.groups import encode_for_masks, query_groups
from openvocab.pipeline.candidates import Candidates
from openvocab.pipeline.chain import Tagged, conclude, look, score, score_views, tag, views_key
from openvocab.pipeline.detections import Detections
from openvocab.pipeline.gate import Choice
from openvocab.pipeline.protocols import ImageArray, PreparingTagger, Segmenter, Vocabulary
from openvocab.pipeline.stages import Stages
from openvocab.pipeline.verification.settle import Verified, finish

__all__ = ["Answer", "Engine", "Reading", "kind_of"]

Outcome = Decoded | PreparedImage | CachedImage | CacheFailed | Exception
"""The outcome of reading an item."""

_MAX_BYTES = 2**28
"""Bytes of decoded images that wait for a stage; as many close a batch."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How inputs are read; only decode_size changes an answer.

    Attributes:
        workers: Threads that read and decode; None takes one a processor core.
        isolate: Decode in worker processes, so that a crashing decoder costs one row.
        decode_size: Decode JPEGs smaller, with at least this many pixels on the shorter side; None: exact.
        max_pixels: Largest width times height that is decoded.
    """

    workers: int | None = None
    isolate: bool = False
    decode_size: int | None = None
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        """Check the counts.

        Raises:
            BadInput: one is not a whole number of at least 1.
        """
        for name in ("workers", "decode_size", "max_pixels"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise BadInput(f"{name} must be a whole number of at least 1, got {value!r}")

    @property
    def threads(self) -> int:
        """Number of threads that read and decode."""
        return self.workers or _cores()


class Engine:
    """Answers inputs with the stages of a pipeline.

    Attributes:
        skipped: Inputs skipped so far.
    """

    def __init__(
        self,
        stages: Stages,
        vocabulary: Vocabulary,
        reading: Reading,
        *,
        features: bool = False,
        pixels: bool = False,
        cache: FeatureCache | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Set up; reading starts with answers.

        Args:
            stages: The models and settings.
            vocabulary: The labels.
            reading: How inputs are read.
            features: Also return the unit-length features of each image.
            pixels: Answers need pixels; else an image in the cache has none, unless there is a detector.
            cache: Cache of the tagger's features.
            stop: Checked between images; once true, the current answer is the last one.

        Raises:
            BadInput: features or cache without a tagger, or decode_size with a detector or with tiles.
        """
        _refuse(stages, reading, features=features, cache=cache is not None)
        self._stages, self._vocabulary = stages, vocabulary
        self._reading, self._features, self._stop = reading, features, stop
        self._pixels = pixels or stages.detector is not None
        whole = not (self._pixels or stages.settings.windows or stages.settings.tiles)
        ahead = whole and isinstance(stages.tagger, PreparingTagger)
        self._preparing = cast("PreparingTagger", stages.tagger) if ahead else None
        self._recall: ImageCache | None = None
        if cache is not None and stages.tagger is not None:
            self._recall = ImageCache(cache, stages.tagger, views_key(stages), reading.decode_size)
        self._taggers: Batches[Tagged] = Batches("tagger", stages.settings.batch_size)
        self._detectors: Batches[Candidates] = Batches("detector", _size_of(stages.detector, self._taggers.size))
        self._encoders: Batches[Any] = Batches("segmenter", _size_of(stages.segmenter, 1))
        self._segmenters: Batches[Verified] = Batches("segmenter", 1)
        self.skipped = 0

    @property
    def batch_sizes(self) -> dict[str, int]:
        """Stage -> final batch size, for the stages whose batches had to be halved for memory."""
        return {each.stage: each.size for each in (self._taggers, self._detectors, self._encoders) if each.halved}

    def answers(self, items: Iterable[Item]) -> Iterator[Answer]:
        """Yield one answer for each item that is not skipped, in order.

        Raises:
            ModelFailed: A stage fails for every image; see Batches.
            Exception: what the source raises.
        """
        threads, size, ended = self._reading.threads, self._stages.settings.batch_size, threading.Event()
        with ExitStack() as stack:
            stack.callback(ended.set)
            ready = stack.enter_context(
                prefetch(
                    self._decoder(stack),
                    self._not_skipped(items, ended),
                    threads=threads,
                    depth=2 * size + threads,
                    size_of=_bytes_of,
                    max_bytes=_MAX_BYTES,
                    stop=self._stop,
                )
            )
            batch: list[Answer] = []
            held = 0
            for item, outcome in ready:
                self._add(batch, item, outcome)
                held += _bytes_of(outcome)
                if len(batch) >= size or held >= _MAX_BYTES:
                    held = 0
                    yield from self._answer(batch)
            yield from self._answer(batch)

    def _not_skipped(self, items: Iterable[Item], ended: threading.Event) -> Iterator[Item]:
        """Yield the items that are answered until the end; count the others, which need no thread."""
        for item in items:
            if ended.is_set() or self._stop():
                return
            if item.skipped:
                self.skipped += 1
            else:
                yield item

    def _decoder(self, stack: ExitStack) -> Callable[[Item], Outcome]:
        """Return the function that the decoding threads call; it never raises."""
        most, least = self._reading.max_pixels, self._reading.decode_size
        if least is not None and self._stages.settings.windows:
            least *= 2  # a window is half the image
        decoder: Callable[[Item], Decoded] = partial(decode_item, max_pixels=most, min_side=least)
        if self._reading.isolate:
            decoder = stack.enter_context(Isolated(most, least, decode_item).running())
        read: Callable[[Item], Outcome] = decoder
        if self._recall is not None:
            read = partial(self._recall.read, decoder=decoder, max_pixels=most, pixels=self._pixels)
        return partial(_outcome, read if self._preparing is None else partial(_prepared, self._preparing, read))

    def _add(self, batch: list[Answer], item: Item, outcome: Outcome) -> None:
        if isinstance(outcome, Exception):
            batch.append(Answer(_released(item), error=outcome))
        elif isinstance(outcome, CacheFailed):
            raise outcome.error
        elif isinstance(outcome, CachedImage):
            batch.append(Answer(_released(item), outcome.decoded, rows=outcome.rows))
        elif isinstance(outcome, PreparedImage):
            batch.append(Answer(_released(item), outcome.decoded, prepared=outcome.prepared))
        else:
            batch.append(Answer(_released(item), outcome))

    def _answer(self, batch: list[Answer]) -> Iterator[Answer]:
        """Yield the answers of a batch in order, and release each."""
        self._tag(batch)
        if self._stages.detector is None:  # the whole batch is finished already
            good = [answer for answer in batch if answer.choice is not None]
            found = self._stages.tag_presences([answer.evidence for answer in good], self._vocabulary)
            for answer, presence in zip(good, found, strict=True):
                answer.presence = presence
            del good
            while batch:
                yield batch.pop(0)
        together, number = self._together(batch), 0
        while batch and not self._stop():
            some = batch[: self._encoders.size]
            del batch[: len(some)]
            for _ in some:
                self._look_for(together.pop(number, []))
                number += 1
            self._segment(some)
            while some:
                yield some.pop(0)
        batch.clear()

    def _together(self, batch: Sequence[Answer]) -> dict[int, list[Answer]]:
        """Return the answers whose images the detector sees together, by the index of the first of them."""
        choices = [answer.choice if answer.error is None else None for answer in batch]
        return {rows[0]: [batch[row] for row in rows] for rows in query_groups(self._stages, choices)}

    def _tag(self, batch: Sequence[Answer]) -> None:
        """Fill in tags, features and the labels that the detector gets."""
        good = [answer for answer in batch if answer.error is None]
        if self._stages.tagger is None or not good:
            for answer in good:
                self._choose(answer, None)
            return
        known = [answer for answer in good if answer.rows is not None]
        rows = [answer.rows for answer in known if answer.rows is not None]
        for answer, one in zip(known, score_views(self._stages, rows, self._vocabulary), strict=True):
            self._fill(answer, one)
        new = [answer for answer in good if answer.rows is None]
        made = self._taggers(self._score_batch, _tagger_inputs(new)) if new else []
        for answer, given in zip(new, made, strict=True):
            answer.prepared = None
            if isinstance(given, Exception):
                answer.error = given
            else:
                self._fill(answer, given)
        if self._recall is not None and new:
            self._recall.store(
                (each.item.frame, each.decoded, each.rows) for each in new if each.decoded and each.rows is not None
            )

    def _fill(self, answer: Answer, seen: Tagged) -> None:
        """Fill in the tagger's answer."""
        self._choose(answer, seen)
        answer.rows = seen.features if self._features or self._recall is not None else None
        if self._features:
            answer.features = seen.features[0]

    def _choose(self, answer: Answer, seen: Tagged | None) -> None:
        """Fill in the tags, the labels that the detector gets, and the notes."""
        choice = tag(self._stages, None if seen is None else seen.scores, self._vocabulary.labels)
        answer.tags, answer.choice, answer.notes = choice.tags, choice, choice.notes
        answer.evidence = {} if seen is None else seen.evidence

    def _score_batch(self, images: Sequence[ImageArray], size: int) -> list[Tagged]:
        sized = replace(self._stages, settings=replace(self._stages.settings, batch_size=size))
        return score(sized, images, self._vocabulary)

    def _look_for(self, group: Sequence[Answer]) -> None:
        """Fill in the detector's boxes of images that it sees together, if there are any."""
        wanted = [answer.choice.wanted for answer in group if answer.choice is not None]
        if not wanted:
            return
        made = self._detectors(partial(self._look, wanted[0]), _pixels(group))
        for answer, seen in zip(group, made, strict=True):
            if isinstance(seen, Exception):
                answer.error = seen
            else:
                answer.seen = seen

    def _look(self, wanted: NDArray[np.intp], images: Sequence[ImageArray], size: int) -> list[Candidates]:
        starts = range(0, len(images), size)
        parts = (images[at : at + size] for at in starts)
        return [one for part in parts for one in look(self._stages, part, self._vocabulary, wanted)]

    def _segment(self, some: Sequence[Answer]) -> None:
        """Fill in the presence of the labels and the detections, of images that the segmenter encodes together."""
        good = [each for each in some if each.error is None and each.choice is not None and each.decoded is not None]
        for answer, pixels in zip(good, _pixels(good), strict=True):
            choice, given, size = cast("Choice", answer.choice), (answer.evidence, answer.seen), pixels.shape[:2]
            answer.detections, answer.presence = conclude(self._stages, self._vocabulary, choice, *given, size)
            answer.seen = None
        for answer, encoded in zip(good, self._encoded(good), strict=True):
            if isinstance(encoded, Exception):
                answer.error, answer.detections = encoded, None
            else:
                self._finish(answer, encoded)

    def _encoded(self, answers: Sequence[Answer]) -> list[Any]:
        """Return the segmenter's encodings, each an error where it fails, and None where none is needed."""
        segmenter, made = self._stages.segmenter, list[Any]([None] * len(answers))
        if segmenter is None or self._stages.settings.tiles:
            return made
        rows = [row for row, answer in enumerate(answers) if answer.detections]
        if rows:
            encoded = self._encoders(partial(_encoded, segmenter), _pixels([answers[row] for row in rows]))
            for row, one in zip(rows, encoded, strict=True):
                made[row] = one
        return made

    def _finish(self, answer: Answer, encoded: Any) -> None:
        """Fill in the masks, and what verification says."""
        given = self._vocabulary, answer.presence, answer.detections or Detections.none(), encoded
        made = self._segmenters(lambda images, _: [finish(self._stages, images[0], *given)], _pixels([answer]))[0]
        if isinstance(made, Exception):
            answer.error, answer.detections = made, None
        else:
            answer.detections, answer.rejected = made.detections, made.rejected
            choice = cast("Choice", answer.choice)
            answer.notes = choice.notes_of(len(made.detections), len(made.rejected))


def _refuse(stages: Stages, reading: Reading, *, features: bool, cache: bool) -> None:
    """Raise BadInput for options that exclude each other."""
    if features and stages.tagger is None:
        raise BadInput("features are the tagger's, and this pipeline has none; load one with tagger=SPEC")
    if cache and stages.tagger is None:
        raise BadInput("a cache keeps the tagger's features, and this pipeline has none; load one with tagger=SPEC")
    if reading.decode_size is not None and stages.detector is not None:
        raise BadInput("decode_size is for tags alone, since boxes and masks need every pixel; leave it out")
    if reading.decode_size is not None and stages.settings.tiles:
        raise BadInput("decode_size makes images smaller, and tiles need every pixel; leave one of them out")


def _outcome(read: Callable[[Item], Outcome], item: Item) -> Outcome:
    """Read an item and return the outcome."""
    try:
        return read(item)
    except MemoryError:
        return OutOfMemory(f"{item.id!r} does not fit into memory; make it smaller")
    except Exception as error:
        return error.with_traceback(None)


def _prepared(tagger: PreparingTagger, read: Callable[[Item], Outcome], item: Item) -> Outcome:
    """Read an item and preprocess the image for the tagger, where the tagger can."""
    outcome = read(item)
    return (prepare_image(tagger, outcome) or outcome) if isinstance(outcome, Decoded) else outcome


def _released(item: Item) -> Item:
    """Return the item without its bytes."""
    return item if item.data is None else replace(item, data=None)


def _bytes_of(outcome: Outcome) -> int:
    if isinstance(outcome, PreparedImage):
        return outcome.prepared.nbytes
    decoded = outcome.decoded if isinstance(outcome, CachedImage) else outcome
    return decoded.pixels.nbytes if isinstance(decoded, Decoded) else 0


def _size_of(stage: Any, default: int) -> int:
    """Return how many images a stage takes in a model call."""
    size = getattr(stage, "batch", None)
    return size if isinstance(size, int) else default


def _encoded(segmenter: Segmenter[Any], images: Sequence[ImageArray], size: int) -> list[Any]:
    parts = (images[at : at + size] for at in range(0, len(images), size))
    return [one for part in parts for one in encode_for_masks(segmenter, part)]


def _pixels(answers: Iterable[Answer]) -> list[NDArray[np.uint8]]:
    return [answer.decoded.pixels for answer in answers if answer.decoded is not None]


def _tagger_inputs(answers: Iterable[Answer]) -> list[ImageArray]:
    """Return the tagger's inputs: prepared images where there are some, else pixels."""
    return [
        cast("ImageArray", answer.prepared or answer.decoded.pixels) for answer in answers if answer.decoded is not None
    ]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
