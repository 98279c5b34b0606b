"""Annotation sessions: an encoded image and the instances that a visitor segmented in it, with undo."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import openvocab
from openvocab.errors import BadInput
from openvocab.ui.web.lru_store import LRUStore

if TYPE_CHECKING:
    from openvocab import Detections, Encoded, Pipeline, Result

__all__ = ["AnnotationSession", "Instance", "SessionStore", "encode", "parse_name", "tight_box"]

_MAX_UNDO = 50
_MAX_INSTANCES = 500
DEFAULT_NAME = "object"
"""Name of an instance that was added without one."""


@dataclass(frozen=True, eq=False, slots=True)
class Instance:
    """One segmented object.

    Attributes:
        number: Identifier within the session, never reused.
        name: Label that the visitor typed, validated like any label.
        score: The segmenter's estimate of the mask's IoU, 0 to 1.
        xyxy: Left, top, right, bottom of the mask in pixels, half-open.
        mask: COCO run-length encoding, {"size": [H, W], "counts": bytes}.
    """

    number: int
    name: str
    score: float
    xyxy: tuple[float, float, float, float]
    mask: dict[str, Any]


@dataclass(frozen=True, eq=False, slots=True)
class AnnotationSession:
    """One image and its instances; every change returns a new session.

    Attributes:
        source: File name of the image.
        preset: Preset whose segmenter encoded the image.
        encoded: The image and the segmenter's encoding.
        instances: Instances in the order in which they were added.
        history: Previous values of instances, oldest first, for undo.
        last_number: Number of the instance that was added last.
        labels: Vocabulary of the result that the session began with; it defines the order of class IDs.
    """

    source: str
    preset: str
    encoded: Encoded
    instances: tuple[Instance, ...] = ()
    history: tuple[tuple[Instance, ...], ...] = ()
    last_number: int = 0
    labels: tuple[str, ...] = ()

    def add(self, mask: NDArray[np.bool_], score: float, name: str) -> AnnotationSession:
        """Add an instance.

        Args:
            mask: (H, W) mask of the size of the image.
            score: Score of the mask, 0 to 1.
            name: See parse_name.

        Raises:
            BadInput: the mask is empty, the session has too many instances, or the name is invalid.
        """
        if len(self.instances) >= _MAX_INSTANCES:
            raise BadInput(f"this image has {_MAX_INSTANCES} objects, the maximum; download them and start again")
        number = self.last_number + 1
        instance = Instance(number, parse_name(name), score, tight_box(mask), openvocab.encode_mask(mask))
        return replace(self._with((*self.instances, instance)), last_number=number)

    @classmethod
    def from_result(cls, result: Result, preset: str, encoded: Encoded) -> AnnotationSession:
        """Create a session whose instances are the detections of a result; undo does not remove them.

        Raises:
            BadInput: the result has no masks.
        """
        detections = result.detections
        if detections.masks is None:
            raise BadInput("there are no masks to correct; press Run first, with models that have a segmenter")
        session = cls(result.source, preset, encoded, labels=result.labels)
        for mask, score, label in zip(detections.masks, detections.scores, detections.labels, strict=True):
            session = session.add(mask, float(score), label) if mask.any() else session
        return replace(session, history=())

    def remove(self, number: int) -> AnnotationSession:
        """Remove an instance.

        Raises:
            BadInput: there is no instance with this number.
        """
        self._find(number)
        return self._with(tuple(each for each in self.instances if each.number != number))

    def rename(self, number: int, name: str) -> AnnotationSession:
        """Rename an instance.

        Raises:
            BadInput: there is no instance with this number, or the name is invalid.
        """
        renamed = replace(self._find(number), name=parse_name(name))
        return self._with(tuple(renamed if each.number == number else each for each in self.instances))

    def undo(self) -> AnnotationSession:
        """Revert the last change.

        Raises:
            BadInput: there is no change to undo.
        """
        if not self.history:
            raise BadInput("there is nothing to undo")
        return replace(self, instances=self.history[-1], history=self.history[:-1])

    def result(self, pipe: Pipeline) -> Result:
        """Return the instances as a result, in the order in which they were added. No model is called.

        Args:
            pipe: The pipeline of the session's preset.
        """
        height, width = self.encoded.image.shape[:2]
        record = None if pipe.segmenter is None else pipe.segmenter.record
        run = openvocab.RunRecord(openvocab.__version__, None, None, record, (), "", "")
        detections, image = self._detections(height, width), self.encoded.image
        return openvocab.Result(self.source, width, height, (), detections, run, image, labels=self.labels)

    def _detections(self, height: int, width: int) -> Detections:
        if not self.instances:
            return openvocab.Detections.none(masks_of=(height, width))
        scores = np.array([each.score for each in self.instances], np.float32)
        return openvocab.Detections(
            np.array([each.xyxy for each in self.instances], np.float32),
            scores,
            tuple(each.name for each in self.instances),
            np.ones_like(scores),  # labeled by a person, not by a detector
            scores,
            np.stack([openvocab.decode_mask(each.mask) for each in self.instances]),
        )

    def _find(self, number: int) -> Instance:
        found = next((each for each in self.instances if each.number == number), None)
        if found is None:
            raise BadInput("this object does not exist anymore; choose one from the list")
        return found

    def _with(self, instances: tuple[Instance, ...]) -> AnnotationSession:
        return replace(self, instances=instances, history=(*self.history, self.instances)[-_MAX_UNDO:])


class SessionStore:
    """An LRU store of sessions; updates are serialized so that none is lost."""

    def __init__(self, max_bytes: int) -> None:
        """Create an empty store.

        Args:
            max_bytes: Maximum total size of all sessions.
        """
        self._store: LRUStore[AnnotationSession] = LRUStore(max_bytes)
        self._lock = threading.Lock()

    def put(self, session: AnnotationSession) -> str:
        """Store a session and return its token."""
        return self._store.put(session, session.encoded.nbytes)

    def get(self, token: str | None) -> AnnotationSession:
        """Return a session.

        Raises:
            BadInput: the token is unknown or its session was evicted.
        """
        return self._store.get(token)

    def update(self, token: str | None, change: Callable[[AnnotationSession], AnnotationSession]) -> AnnotationSession:
        """Replace a session by the result of a function of it, and return the new session.

        Raises:
            BadInput: the token is unknown or its session was evicted, or the function raises it.
        """
        with self._lock:
            session = change(self._store.get(token))
            self._store.put(session, session.encoded.nbytes, token)
            return session

    def discard(self, token: str | None) -> None:
        """Remove a session if it is stored."""
        self._store.discard(token)

    def __len__(self) -> int:
        return len(self._store)


def encode(pipe: Pipeline, image: NDArray[np.uint8] | Encoded) -> Encoded:
    """Encode an image for the segmenter only.

    Args:
        pipe: A pipeline whose segmenter takes point prompts.
        image: (H, W, 3) uint8 RGB image, or an encoding by this pipeline, whose segmenter features are reused.

    Raises:
        BadInput: the pipeline has no segmenter.
    """
    if pipe.segmenter is None:
        raise BadInput("this preset has no segmenter for point prompts; choose one with a segmenter of the SAM family")
    return replace(pipe.encode(image, ["masks"]), views=None, detector=None)


def parse_name(text: object) -> str:
    """Return a name validated like a label; "object" if it is blank.

    Raises:
        BadInput: the name is too long or contains control characters.
    """
    if not isinstance(text, str) or not text.strip():
        return DEFAULT_NAME
    return openvocab.read_labels([text])[0]


def tight_box(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Return left, top, right, bottom of an (H, W) mask in pixels, half-open.

    Raises:
        BadInput: the mask is empty.
    """
    box = openvocab.mask_box(mask)
    if box is None:
        raise BadInput("this mask is empty; choose another of the three masks, or prompt the object again")
    return box
