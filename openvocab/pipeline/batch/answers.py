"""What became of one input: in full where it was made, and small where it goes to the writer or to another process."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL.PngImagePlugin import PngInfo

from openvocab.errors import BadInput, BadOutput, ImageError, OutOfMemory
from openvocab.pipeline.batch.rows import ErrorKind, Row, RowRegions
from openvocab.pipeline.batch.sources import Item
from openvocab.pipeline.images import Decoded
from openvocab.pipeline.record import Regions, Result, RunRecord, Tag
from openvocab.pipeline.stages import Prepared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["DRAWN_ID", "About", "Answer", "Answering", "drawn_id", "kind_of", "portable", "results"]

DRAWN_ID = "openvocab-image"
"""Keyword of the text in a drawing that says which image it is of."""


def drawn_id(id: str) -> str:  # noqa: A002
    """Return what the drawing of the image of that id says: a digest of the id, which may be any text."""
    return hashlib.sha256(id.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class About:
    """What a run folder says of who answers.

    record          the models and settings.
    labels          all of them, in order.
    embedding_size  the length D of the embeddings that rows have; None where they have none.
    """

    record: RunRecord
    labels: tuple[str, ...]
    embedding_size: int | None


class Answering(Protocol):
    """Answers inputs: in this process, in others, or on other machines.

    skipped      inputs so far that the source had been told to skip.
    batch_sizes  stage -> pictures at once in the end, where memory made it halve its batches.
    """

    @property
    def skipped(self) -> int: ...

    @property
    def batch_sizes(self) -> dict[str, int]: ...

    def answers(self, items: Iterable[Item]) -> Iterator[Answer]:
        """Yield one answer for each item that is not skipped, in order."""


@dataclass(eq=False, slots=True)
class Answer:
    """What became of one input; the engine fills it in.

    item       the input.
    decoded    the picture and its file; None where it could not be read.
    error      why there is no answer; None where there is one.
    wanted     the labels that the detector looks for; None where there is an error.
    notes      why there is neither a tag nor a region.
    embedding  (D,) float32 of length 1, where it was asked for.
    rows       (V, D) float32: the embeddings of the picture and its windows, where there is a use for them.
    prepared   the picture as the tagger's model takes it, until it was asked; decoded has no pixels then.
    kept       what a run keeps of it, where it was made already; see light.
    drawn      the annotated picture as a PNG file, where it was drawn already.
    """

    item: Item
    decoded: Decoded | None = None
    error: Exception | None = None
    wanted: tuple[str, ...] | None = None
    tags: tuple[Tag, ...] = ()
    regions: Regions | None = None
    notes: tuple[str, ...] = ()
    embedding: NDArray[np.float32] | None = None
    rows: NDArray[np.float32] | None = None
    prepared: Prepared | None = None
    kept: Row | None = None
    drawn: bytes | None = None

    @property
    def kind(self) -> ErrorKind | None:
        """Why there is no answer, as a Row says it."""
        return None if self.error is None else kind_of(self.error)

    def result(self, record: RunRecord, labels: tuple[str, ...] = ()) -> Result:
        """Return the answer to an input that has one; its source is the input's id, and labels are the vocabulary.

        Raises:
            BadInput: the picture was decoded smaller than it is.
        """
        if self.decoded is None:
            raise BadInput(f"{self.item.id!r} could not be read, so that it has no result")
        file, regions = self.decoded, Regions.none() if self.regions is None else self.regions
        known = {"notes": self.notes, "labels": labels}
        return Result(self.item.id, file.width, file.height, self.tags, regions, record, file.pixels, **known)

    def png(self, record: RunRecord) -> bytes:
        """Return the annotated picture of an answer, as a PNG file.

        Raises:
            BadInput: as result.
        """
        if self.drawn is None:
            file = BytesIO()
            mark = PngInfo()
            mark.add_text(DRAWN_ID, drawn_id(self.item.id))
            self.result(record).draw().save(file, "PNG", pnginfo=mark)
            return file.getvalue()
        return self.drawn

    def light(self, record: RunRecord | None = None) -> Answer:
        """Return it without pixels and masks: small, and fit to pass between processes; its row is made.

        Args:
            record: where given, the annotated picture is drawn too.
        """
        drawn = None if record is None or self.error is not None else self.png(record)
        regions = None if self.regions is None else replace(self.regions, masks=None, mask_scores=None)
        error = None if self.error is None else portable(self.error)
        bare = replace(self.item, data=None)
        return Answer(
            bare,
            error=error,
            wanted=self.wanted,
            tags=self.tags,
            regions=regions,
            notes=self.notes,
            kept=self.row(),
            drawn=drawn,
        )

    def row(self) -> Row:
        """Return what a run keeps of it."""
        if self.kept is not None:
            return self.kept
        file = self.decoded
        known = Row(self.item.id)
        if file is not None:
            known = Row(self.item.id, file.sha256, file.width, file.height, file.frames)
        if self.error is not None:
            said = " ".join(str(self.error).split()) or type(self.error).__name__
            plain = said[:1000].encode("utf-8", "backslashreplace").decode()
            return replace(known, error_kind=self.kind, error=plain)
        found = None if self.regions is None else RowRegions.of(self.regions)
        return replace(known, tags=self.tags, regions=found, notes=self.notes, embedding=self.embedding)


def results(
    answers: Iterator[Answer],
    record: RunRecord,
    labels: tuple[str, ...],
    on_error: Callable[[Path, Exception], None] | None,
) -> Iterator[Result]:
    """Yield the results of answers, in order; errors are raised, or handed to on_error with the input's id."""
    for answer in answers:
        if answer.error is None:
            yield answer.result(record, labels)
        elif on_error is None:
            raise answer.error
        else:
            on_error(Path(answer.item.id), answer.error)
        del answer


def kind_of(error: Exception) -> ErrorKind:
    """Return the kind of row that an error of the engine becomes."""
    if isinstance(error, ImageError):
        return error.kind
    if isinstance(error, OutOfMemory):
        return "oom"
    return "nonfinite" if isinstance(error, BadOutput) else "failed"


def portable(error: Exception) -> Exception:
    """Return an error that another process can read: itself, or a RuntimeError with its words."""
    bare = error.with_traceback(None)
    bare.__context__ = bare.__cause__ = None
    try:
        pickle.loads(pickle.dumps(bare))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return bare
