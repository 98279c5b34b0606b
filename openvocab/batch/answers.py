"""The answer to one input: complete in the engine, and without pixels for the writer or another process."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL.PngImagePlugin import PngInfo

from openvocab.batch.rows import ErrorKind, Row, likely_labels
from openvocab.errors import BadInput, BadOutput, ImageError, OutOfMemory
from openvocab.images.items import Item
from openvocab.images.read import Decoded
from openvocab.pipeline.candidates import Candidates
from openvocab.pipeline.detections import Detections
from openvocab.pipeline.gate import Choice
from openvocab.pipeline.presence import Evidence
from openvocab.pipeline.protocols import Prepared
from openvocab.pipeline.result import NO_PRESENCE, Presence, Result, RunRecord, Tag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["DRAWN_ID", "About", "Answer", "Answering", "drawn_id", "kind_of", "portable", "results"]

DRAWN_ID = "openvocab-image"
"""Keyword of the PNG text chunk that identifies the image of a drawing."""


def drawn_id(id: str) -> str:  # noqa: A002
    """Return the text by which a drawing identifies its image: a digest of the id, which may be any text."""
    return hashlib.sha256(id.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class About:
    """The models and the vocabulary of a run, for run.json.

    Attributes:
        record: The models and settings.
        labels: The vocabulary, in order.
        feature_size: The length D of the features in the rows, or None if rows have none.
    """

    record: RunRecord
    labels: tuple[str, ...]
    feature_size: int | None


class Answering(Protocol):
    """Answers inputs in this process, in worker processes, or on other machines.

    Attributes:
        skipped: The number of skipped inputs so far.
        batch_sizes: The final batch size of each stage that halved it because memory ran out.
    """

    @property
    def skipped(self) -> int: ...

    @property
    def batch_sizes(self) -> dict[str, int]: ...

    def answers(self, items: Iterable[Item]) -> Iterator[Answer]:
        """Yield one answer per item that is not skipped, in order."""


@dataclass(eq=False, slots=True)
class Answer:
    """The answer to one input; the engine fills it in stage by stage.

    Attributes:
        item: The input.
        decoded: The image and its file, or None if it could not be read.
        error: Why the input has no answer, or None.
        choice: The tags and the labels that the detector searches for, or None after an error.
        seen: The detector's boxes, until the detections are made of them.
        evidence: The tagger's evidence of the labels' presence.
        presence: The probability of each label.
        tags: The tags, best first.
        detections: The detections, best first.
        rejected: What verification rejected.
        notes: Why there are no tags and no detections.
        features: (D,) float32 of length 1, if features were requested.
        rows: (V, D) float32 features of the image and its windows, if they are used later.
        prepared: The image as the tagger's model takes it, until the tagger ran; decoded then has no pixels.
        kept: The finished row, if it was made before; see light.
        drawn: The annotated image as a PNG file, if it was drawn before.
    """

    item: Item
    decoded: Decoded | None = None
    error: Exception | None = None
    choice: Choice | None = None
    seen: Candidates | None = None
    evidence: Evidence = field(default_factory=dict)
    presence: Presence = field(default_factory=lambda: NO_PRESENCE)
    tags: tuple[Tag, ...] = ()
    detections: Detections | None = None
    rejected: Detections | None = None
    notes: tuple[str, ...] = ()
    features: NDArray[np.float32] | None = None
    rows: NDArray[np.float32] | None = None
    prepared: Prepared | None = None
    kept: Row | None = None
    drawn: bytes | None = None

    @property
    def kind(self) -> ErrorKind | None:
        """The kind of the error, as in a Row, or None."""
        return None if self.error is None else kind_of(self.error)

    def result(self, record: RunRecord, labels: tuple[str, ...] = ()) -> Result:
        """Return the answer as a Result whose source is the input's id.

        Args:
            record: The models and settings.
            labels: The vocabulary.

        Raises:
            BadInput: The input could not be read, or was decoded at a smaller size.
        """
        if self.decoded is None:
            raise BadInput(f"{self.item.id!r} could not be read, so it has no result")
        file, detections = self.decoded, Detections.none() if self.detections is None else self.detections
        known: dict[str, Any] = {"notes": self.notes, "labels": labels, "presence": self.presence}
        if self.rejected is not None:
            known["rejected"] = self.rejected
        return Result(self.item.id, file.width, file.height, self.tags, detections, record, file.pixels, **known)

    def png(self, record: RunRecord) -> bytes:
        """Return the annotated image as a PNG file.

        Raises:
            BadInput: As result.
        """
        if self.drawn is None:
            file = BytesIO()
            mark = PngInfo()
            mark.add_text(DRAWN_ID, drawn_id(self.item.id))
            self.result(record).draw().save(file, "PNG", pnginfo=mark)
            return file.getvalue()
        return self.drawn

    def light(self, record: RunRecord | None = None) -> Answer:
        """Return a small, picklable copy without pixels and masks, with its row made.

        Args:
            record: The models and settings; if given, the annotated image is drawn too.
        """
        drawn = None if record is None or self.error is not None else self.png(record)
        detections = None if self.detections is None else replace(self.detections, masks=None, mask_scores=None)
        error = None if self.error is None else portable(self.error)
        bare = replace(self.item, data=None)
        return Answer(
            bare,
            error=error,
            presence=self.presence,
            tags=self.tags,
            detections=detections,
            notes=self.notes,
            kept=self.row(),
            drawn=drawn,
        )

    def row(self) -> Row:
        """Return the row of this answer."""
        if self.kept is not None:
            return self.kept
        file = self.decoded
        given: dict[str, Any] = {"id": self.item.id}
        if file is not None:
            given |= {"sha256": file.sha256, "width": file.width, "height": file.height, "frames": file.frames}
        if self.error is not None:
            message = " ".join(str(self.error).split()) or type(self.error).__name__
            plain = message[:1000].encode("utf-8", "backslashreplace").decode()
            return Row(**given, error_kind=self.kind, error=plain)
        found, rejected = (None if one is None else one.encoded() for one in (self.detections, self.rejected))
        return Row(
            **given,
            tags=self.tags,
            detections=found,
            rejected=rejected,
            notes=self.notes,
            presence=likely_labels(self.presence),
            features=self.features,
        )


def results(
    answers: Iterator[Answer],
    record: RunRecord,
    labels: tuple[str, ...],
    on_error: Callable[[Path, Exception], None] | None,
) -> Iterator[Result]:
    """Yield the results of answers in order; errors are raised, or passed to on_error with the input's id."""
    for answer in answers:
        if answer.error is None:
            yield answer.result(record, labels)
        elif on_error is None:
            raise answer.error
        else:
            on_error(Path(answer.item.id), answer.error)
        del answer


def kind_of(error: Exception) -> ErrorKind:
    """Return the error kind of the row for an error of the engine."""
    if isinstance(error, ImageError):
        return error.kind
    if isinstance(error, OutOfMemory):
        return "oom"
    return "nonfinite" if isinstance(error, BadOutput) else "failed"


def portable(error: Exception) -> Exception:
    """Return an error that can be pickled: the error itself, or a RuntimeError with its message."""
    bare = error.with_traceback(None)
    bare.__context__ = bare.__cause__ = None
    try:
        pickle.loads(pickle.dumps(bare))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return bare
