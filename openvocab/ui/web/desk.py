"""An image that someone cuts objects out of: its encoding, and what was cut out so far."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import openvocab
from openvocab.errors import BadInput
from openvocab.ui.web.held import Held

if TYPE_CHECKING:
    from openvocab import Detections, Encoded, Pipeline, Result

__all__ = ["Desk", "Desks", "Thing", "encode", "name_of", "tight_box"]

_KEPT_STEPS = 50
_MOST_THINGS = 500
NAMELESS = "object"
"""What an object is called that got no name."""


@dataclass(frozen=True, eq=False, slots=True)
class Thing:
    """One object that was cut out.

    number  tells it from the others of its image; never used twice.
    name    as the person wrote it, checked like a label.
    score   the segmenter's own estimate of the mask's IoU, 0 to 1.
    xyxy    left, top, right, bottom of the mask in pixels, half-open.
    mask    COCO run-length encoding, {"size": [H, W], "counts": bytes}.
    """

    number: int
    name: str
    score: float
    xyxy: tuple[float, float, float, float]
    mask: dict[str, Any]


@dataclass(frozen=True, eq=False, slots=True)
class Desk:
    """One image and its objects; every change returns another Desk.

    source   what the image's file is called.
    preset   whose segmenter made the encoding.
    encoded  the image and the segmenter's encoding of it.
    things   in the order in which they were accepted.
    past     the things before each of the last changes, for undo.
    made     how many things there ever were.
    labels   the vocabulary of the result that it began with, whose order class ids follow.
    """

    source: str
    preset: str
    encoded: Encoded
    things: tuple[Thing, ...] = ()
    past: tuple[tuple[Thing, ...], ...] = ()
    made: int = 0
    labels: tuple[str, ...] = ()

    def added(self, mask: NDArray[np.bool_], score: float, name: str) -> Desk:
        """Return it with one more thing.

        Args:
            mask: (H, W), of the image's size.
            score: 0 to 1.
            name: see name_of.

        Raises:
            BadInput: the mask is empty, there are too many things, or the name cannot be one.
        """
        if len(self.things) >= _MOST_THINGS:
            raise BadInput(f"there are {_MOST_THINGS} objects on this image already; download them and start anew")
        thing = Thing(self.made + 1, name_of(name), score, tight_box(mask), openvocab.encode_mask(mask))
        return replace(self._with((*self.things, thing)), made=self.made + 1)

    @classmethod
    def of(cls, result: Result, preset: str, encoded: Encoded) -> Desk:
        """Return a desk with a result's detections as its things; undo does not take them away.

        Raises:
            BadInput: the result has no masks.
        """
        detections = result.detections
        if detections.masks is None:
            raise BadInput("there are no masks to correct; press Run first, with models that have a segmenter")
        desk = cls(result.source, preset, encoded, labels=result.labels)
        for mask, score, label in zip(detections.masks, detections.scores, detections.labels, strict=True):
            desk = desk.added(mask, float(score), label) if mask.any() else desk
        return replace(desk, past=())

    def without(self, number: int) -> Desk:
        """Return it less one thing.

        Raises:
            BadInput: there is no thing of that number.
        """
        self._find(number)
        return self._with(tuple(thing for thing in self.things if thing.number != number))

    def renamed(self, number: int, name: str) -> Desk:
        """Return it with another name for one thing.

        Raises:
            BadInput: there is no thing of that number, or the name cannot be one.
        """
        new = replace(self._find(number), name=name_of(name))
        return self._with(tuple(new if thing.number == number else thing for thing in self.things))

    def undone(self) -> Desk:
        """Return it as it was before the last change.

        Raises:
            BadInput: there is no change to undo.
        """
        if not self.past:
            raise BadInput("there is nothing to undo")
        return replace(self, things=self.past[-1], past=self.past[:-1])

    def result(self, pipe: Pipeline) -> Result:
        """Return what was cut out as a result, in the order of acceptance.

        Args:
            pipe: the pipeline of this desk's preset; no model is called.
        """
        height, width = self.encoded.image.shape[:2]
        record = None if pipe.segmenter is None else pipe.segmenter.record
        run = openvocab.RunRecord(openvocab.__version__, None, None, record, (), "", "")
        detections, image = self._detections(height, width), self.encoded.image
        return openvocab.Result(self.source, width, height, (), detections, run, image, labels=self.labels)

    def _detections(self, height: int, width: int) -> Detections:
        if not self.things:
            return openvocab.Detections.none(masks_of=(height, width))
        scores = np.array([thing.score for thing in self.things], np.float32)
        return openvocab.Detections(
            np.array([thing.xyxy for thing in self.things], np.float32),
            scores,
            tuple(thing.name for thing in self.things),
            np.ones_like(scores),  # no detector: a person named it
            scores,
            np.stack([openvocab.decode_mask(thing.mask) for thing in self.things]),
        )

    def _find(self, number: int) -> Thing:
        found = next((thing for thing in self.things if thing.number == number), None)
        if found is None:
            raise BadInput("this object is not there any more; the list shows those that are")
        return found

    def _with(self, things: tuple[Thing, ...]) -> Desk:
        return replace(self, things=things, past=(*self.past, self.things)[-_KEPT_STEPS:])


class Desks:
    """Desks under tokens, changed by one request at a time so that no change is lost."""

    def __init__(self, room: int) -> None:
        """Set up.

        Args:
            room: bytes that all desks may take together.
        """
        self._held: Held[Desk] = Held(room)
        self._lock = threading.Lock()

    def keep(self, desk: Desk) -> str:
        """Keep a desk and return its token."""
        return self._held.keep(desk, desk.encoded.nbytes)

    def get(self, token: str | None) -> Desk:
        """Return a desk.

        Raises:
            BadInput: there is none under this token, or no longer.
        """
        return self._held.get(token)

    def change(self, token: str | None, by: Callable[[Desk], Desk]) -> Desk:
        """Replace a desk by what `by` makes of it, and return that.

        Raises:
            BadInput: there is none under this token, or what `by` raises.
        """
        with self._lock:
            desk = by(self._held.get(token))
            self._held.keep(desk, desk.encoded.nbytes, instead_of=token)
            return desk

    def drop(self, token: str | None) -> None:
        """Let go of a desk, if it is there."""
        self._held.drop(token)

    def __len__(self) -> int:
        return len(self._held)


def encode(pipe: Pipeline, image: NDArray[np.uint8] | Encoded) -> Encoded:
    """Return the encoding of an image for the segmenter alone.

    Args:
        pipe: has a segmenter that takes points.
        image: (H, W, 3) uint8 RGB, or an encoding of this pipeline's, whose segmenter's side is used again.

    Raises:
        BadInput: there is no segmenter.
    """
    if pipe.segmenter is None:
        raise BadInput("this preset cuts nothing out by clicks; choose one with a segmenter of the SAM family")
    return replace(pipe.encode(image, ["masks"]), views=None, detector=None)


def name_of(text: object) -> str:
    """Return a name checked like a label; "object" for a blank one.

    Raises:
        BadInput: it is too long, or holds control characters.
    """
    if not isinstance(text, str) or not text.strip():
        return NAMELESS
    return openvocab.read_labels([text])[0]


def tight_box(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Return left, top, right, bottom of an (H, W) mask in pixels, half-open.

    Raises:
        BadInput: the mask is empty.
    """
    box = openvocab.mask_box(mask)
    if box is None:
        raise BadInput("this mask is empty; mark the object anew, or choose another of the three")
    return box
