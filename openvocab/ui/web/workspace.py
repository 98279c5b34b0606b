"""One image of the workspace: what the models found in it, and what a person changed, with undo and redo."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import openvocab
from openvocab import Detections, Result
from openvocab.errors import BadInput
from openvocab.pipeline.masks import EncodedMasks, mask_json
from openvocab.pipeline.settings import SettingChanges
from openvocab.pipeline.verdict import VERIFICATION, Verdict

if TYPE_CHECKING:
    from openvocab import Encoded, Explored, Pipeline

__all__ = ["Object", "Workspace", "detection_keys", "encode", "parse_name", "tight_box"]

Edits = Mapping[str, "Object | None"]
"""Key of an object -> the object as a person left it, or None where it was deleted."""

_MAX_UNDO = 200
_MAX_OBJECTS = 500
DEFAULT_NAME = "object"
"""Label of an object that was added without one."""


@dataclass(frozen=True, eq=False, slots=True)
class Object:
    """One object of an image.

    Attributes:
        key: Identifier within the workspace.
        label: Label, validated like any label.
        score: What objects are ranked by, 0 to 1.
        detector_score: The detector's score, 0 to 1; 1 for an object added by a person.
        mask_score: The segmenter's estimate of the mask's IoU, 0 to 1; None without a mask.
        xyxy: Left, top, right, bottom in pixels, half-open.
        mask: COCO run-length encoding, {"size": [H, W], "counts": str}; None without a mask.
        by_hand: Whether a person added or changed it.
        verdict: What verification said of it; "unverified" for an object of a person.
    """

    key: str
    label: str
    score: float
    detector_score: float
    mask_score: float | None
    xyxy: tuple[float, float, float, float]
    mask: dict[str, Any] | None
    by_hand: bool = False
    verdict: Verdict = field(default_factory=Verdict)


def detection_keys(detections: Detections) -> tuple[str, ...]:
    """Return a key for each of N detections, a hash of its box and label: independent of the thresholds."""
    pairs = zip(detections.xyxy, detections.labels, strict=True)
    return tuple(hashlib.blake2b(box.tobytes() + label.encode(), digest_size=9).hexdigest() for box, label in pairs)


@dataclass(frozen=True, eq=False, slots=True)
class Workspace:
    """An image with its objects; every change returns a new workspace.

    The objects are those that the models found under the thresholds, with the edits applied. Other thresholds and
    other words leave the edits as they are, so nothing that a person corrected is lost.

    Attributes:
        source: File name of the image.
        upload: Path of the uploaded file on the server.
        preset: Preset whose models encoded the image.
        encoded: The image and its encodings.
        explored: The models' raw scores; None before the first run.
        thresholds: Settings that differ from the preset's, such as box_threshold.
        edits: What a person changed.
        past: Earlier values of edits, oldest first, for undo.
        future: Undone values of edits, latest first, for redo.
        last_number: Number of the object that was added last.
        stored: What the models found earlier, for an image of a run; used before the first run here.
        place: Key of the image in the served folder; empty for an upload.
        keeper: Writes the workspace into the run after each change; None for an upload.
        version: Number that the store gives it; a later state of an image has a larger one.
    """

    source: str
    upload: str
    preset: str
    encoded: Encoded
    explored: Explored | None = None
    thresholds: SettingChanges = field(default_factory=SettingChanges)
    edits: Edits = field(default_factory=dict)
    past: tuple[Edits, ...] = ()
    future: tuple[Edits, ...] = ()
    last_number: int = 0
    stored: Result | None = None
    place: str = ""
    keeper: Callable[[Workspace], None] | None = None
    version: int = 0

    @property
    def nbytes(self) -> int:
        """Size in bytes of all arrays and tensors."""
        if self.explored is None:
            return self.encoded.nbytes
        return self.explored.nbytes + self.explored.vocabulary.nbytes

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image in pixels."""
        height, width = self.encoded.image.shape[:2]
        return height, width

    def with_explored(self, explored: Explored) -> Workspace:
        """Replace the models' raw scores, which brings the encodings that they were made from."""
        return replace(self, explored=explored, encoded=explored.encoded)

    def raw(self) -> Result:
        """Return what the models found, without edits. No model is called."""
        if self.explored is not None:
            return self.explored.result(self.source, **self.thresholds)
        if self.stored is not None:
            return self.stored
        height, width = self.size
        record = openvocab.RunRecord(openvocab.__version__, None, None, self.encoded.models[2], (), "", "")
        none = Detections.none(masks_of=(height, width))
        return Result(self.source, width, height, (), none, record, self.encoded.image, labels=())

    def objects(self, raw: Result | None = None) -> tuple[Object, ...]:
        """Return the objects: the models' in their order, then those of a person alone.

        Args:
            raw: What raw returns, if it is known.
        """
        found = {each.key: each for each in _objects((self.raw() if raw is None else raw).detections)}
        rest = [each for key, each in self.edits.items() if each is not None and key not in found]
        kept = [self.edits.get(key, each) for key, each in found.items()]
        return tuple(each for each in [*kept, *rest] if each is not None)

    def rejected(self, raw: Result | None = None) -> tuple[Object, ...]:
        """Return what verification rejected, best first, without what was brought back; see objects."""
        found = _objects((self.raw() if raw is None else raw).rejected)
        return tuple(each for each in found if self.edits.get(each.key) is None)

    def result(self) -> Result:
        """Return the image's result with the edits applied. No model is called."""
        raw = self.raw()
        objects, found = self.objects(raw), raw.detections
        made = self._detections(objects, found.masks is not None)
        if objects and VERIFICATION in found.data:
            made = replace(made, data={VERIFICATION: tuple(each.verdict for each in objects)})
        return replace(raw, detections=made, notes=())

    def add(self, mask: NDArray[np.bool_], score: float, name: str) -> Workspace:
        """Add an object.

        Args:
            mask: (H, W) mask of the size of the image.
            score: Score of the mask, 0 to 1.
            name: See parse_name.

        Raises:
            BadInput: the mask is empty, there are too many objects, or the name is invalid.
        """
        self._refuse_more()
        number, box, code = self.last_number + 1, tight_box(mask), mask_json(mask)
        made = Object(f"added-{number}", parse_name(name), score, 1.0, score, box, code, by_hand=True)
        return replace(self._edited({made.key: made}), last_number=number)

    def restore(self, key: str, *, relabel: bool = False) -> Workspace:
        """Bring back an object that verification rejected.

        Args:
            key: Key of the object.
            relabel: Whether its label becomes the one that it looks like, where its verdict names one.

        Raises:
            BadInput: there is no rejected object with this key, or there are too many objects.
        """
        self._refuse_more()
        found = next((each for each in self.rejected() if each.key == key), None)
        if found is None:
            raise BadInput("this box is not among the rejected ones anymore; choose one from the list")
        label = (found.verdict.looks_like if relabel else None) or found.label
        return self._edited({key: replace(found, label=label, by_hand=True, verdict=Verdict())})

    def remove(self, key: str) -> Workspace:
        """Remove an object.

        Raises:
            BadInput: there is no object with this key.
        """
        return self._edited({self.find(key).key: None})

    def rename(self, keys: Iterable[str], name: str) -> Workspace:
        """Rename objects.

        Raises:
            BadInput: there is no object with one of these keys, or the name is invalid.
        """
        label = parse_name(name)
        return self._edited(
            {key: replace(self.find(key), label=label, by_hand=True, verdict=Verdict()) for key in keys}
        )

    def rename_all(self, old: str, new: str) -> Workspace:
        """Rename all objects of a label; if there are objects of the new label, the two are merged.

        Raises:
            BadInput: there is no object of this label, or the new label is invalid.
        """
        keys = [each.key for each in self.objects() if each.label == old]
        if not keys:
            raise BadInput(f"there is no object {old!r}; choose a label of the list")
        return self.rename(keys, new)

    def reshape(
        self,
        key: str,
        mask: NDArray[np.bool_],
        score: float | None = None,
        xyxy: tuple[float, float, float, float] | None = None,
    ) -> Workspace:
        """Replace the mask of an object, and its box by the box around the mask.

        Args:
            key: Key of the object.
            mask: (H, W) mask of the size of the image.
            score: Score of the mask; as before if None.
            xyxy: The box, where it is not the one around the mask.

        Raises:
            BadInput: there is no object with this key, or the mask is empty.
        """
        found = self.find(key)
        estimate = (found.mask_score if found.mask_score is not None else 1.0) if score is None else score
        box = tight_box(mask) if xyxy is None else xyxy
        made = replace(found, mask=mask_json(mask), mask_score=estimate, xyxy=box, by_hand=True, verdict=Verdict())
        return self._edited({key: made})

    def undo(self) -> Workspace:
        """Revert the last edit.

        Raises:
            BadInput: there is no edit to undo.
        """
        if not self.past:
            raise BadInput("there is nothing to undo")
        return replace(self, edits=self.past[-1], past=self.past[:-1], future=(self.edits, *self.future))

    def redo(self) -> Workspace:
        """Repeat the edit that was undone last.

        Raises:
            BadInput: there is no undone edit.
        """
        if not self.future:
            raise BadInput("there is nothing to redo")
        return replace(self, edits=self.future[0], past=(*self.past, self.edits), future=self.future[1:])

    def clear(self) -> Workspace:
        """Revert all edits; undo brings them back."""
        return replace(self, edits={}, past=(*self.past, self.edits)[-_MAX_UNDO:], future=())

    def find(self, key: str) -> Object:
        """Return an object.

        Raises:
            BadInput: there is no object with this key.
        """
        found = next((each for each in self.objects() if each.key == key), None)
        if found is None:
            raise BadInput("this object does not exist anymore; choose one from the list")
        return found

    def _refuse_more(self) -> None:
        """Check that there is room for another object.

        Raises:
            BadInput: there are too many objects.
        """
        if len(self.objects()) >= _MAX_OBJECTS:
            raise BadInput(f"this image has {_MAX_OBJECTS} objects, the maximum; download them and start again")

    def _edited(self, changes: Edits) -> Workspace:
        past = (*self.past, self.edits)[-_MAX_UNDO:]
        return replace(self, edits={**self.edits, **changes}, past=past, future=())

    def _detections(self, objects: tuple[Object, ...], has_masks: bool) -> Detections:
        height, width = self.size
        if not objects:
            return Detections.none(masks_of=(height, width) if has_masks else None)
        masks = scores = None
        if has_masks or any(each.mask is not None for each in objects):
            empty = mask_json(np.zeros((height, width), np.bool_))
            masks = EncodedMasks(tuple(str((each.mask or empty)["counts"]) for each in objects), height, width)
            scores = np.array([each.mask_score or 0.0 for each in objects], np.float32)
        return Detections(
            np.array([each.xyxy for each in objects], np.float32),
            np.array([each.score for each in objects], np.float32),
            tuple(each.label for each in objects),
            np.array([each.detector_score for each in objects], np.float32),
            scores,
            masks,
        )


def _objects(detections: Detections) -> Iterable[Object]:
    """Yield the objects that the models found."""
    codes = detections.encoded().masks
    scores, verdicts = detections.mask_scores, detections.data.get(VERIFICATION, [Verdict()] * len(detections))
    for row, key in enumerate(detection_keys(detections)):
        left, top, right, bottom = detections.xyxy[row].tolist()
        yield Object(
            key,
            detections.labels[row],
            float(detections.scores[row]),
            float(detections.detector_scores[row]),
            None if scores is None else float(scores[row]),
            (left, top, right, bottom),
            codes.rle(row) if isinstance(codes, EncodedMasks) else None,
            verdict=verdicts[row],
        )


def encode(pipe: Pipeline, image: NDArray[np.uint8] | Encoded) -> Encoded:
    """Encode an image for the segmenter.

    Args:
        pipe: A pipeline whose segmenter takes point prompts.
        image: (H, W, 3) uint8 RGB image, or an encoding by this pipeline, which is reused.

    Raises:
        BadInput: the pipeline has no segmenter.
    """
    if pipe.segmenter is None:
        raise BadInput("this preset has no segmenter for point prompts; choose one with a segmenter of the SAM family")
    return pipe.encode(image, ["masks"])


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
