"""How a run folder is written, and what writing it came to."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from openvocab.batch.answers import Answer
from openvocab.batch.changes import OnChange
from openvocab.errors import BadInput
from openvocab.images.frames import Frames, check_frames
from openvocab.images.read import MAX_PIXELS

__all__ = ["RunOptions", "Summary"]


def _never() -> bool:
    return False


def _ignore(answer: Answer, skipped: int) -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run folder is written; settings of the chain are not among them.

    embeddings    also keep the tagger's unit-length embedding of each image, in that precision.
    cache         the folder of a cache of embeddings, made where there is none: what the tagger has seen before is not
                  decoded, unless there is a detector or something to draw, and does not go through it again.
    draw          also write each image with its detections drawn on it, as images/NAME.png, which its row names.
    overwrite     begin anew, whatever the folder holds.
    on_change     what a resumed run does about inputs that are not what they were: "keep" counts them, "redo" also
                  answers replaced files again, in rows at the end, "refuse" ends before anything is written.
    retry_errors  drop the rows that are errors first, so that they are done again; the new ones stand at the end.
    frames        of an image with several frames or pages: "first" answers one, "all" each, N the first N of them;
                  but for "first" each is an input of its own, PATH#frame=3.
    strict        stop at the first input without an answer, raising its error; its row is not written.
    allow_urls, workers, isolate, decode_size, max_pixels    see Pipeline.run and engine.Reading.
    part_rows     rows after which a part is written,
    part_seconds  or seconds after its first row,
    part_bytes    or bytes that its rows take in memory, whichever comes first.
    on_answer     called with each answer, and how many inputs were skipped so far, before its row is written.
    stop          looked at between images; once true, the image in hand is the last one.
    asked         what the command line was given, for unchanged.nothing_to_do.
    devices       noted in run.json.
    """

    embeddings: Literal["float16", "float32"] | None = None
    cache: str | os.PathLike[str] | None = None
    draw: bool = False
    overwrite: bool = False
    on_change: OnChange = "keep"
    retry_errors: bool = False
    frames: Frames = "first"
    strict: bool = False
    allow_urls: bool = False
    workers: int | None = None
    isolate: bool = False
    decode_size: int | None = None
    max_pixels: int = MAX_PIXELS
    part_rows: int = 4096
    part_seconds: float = 60.0
    part_bytes: int = 2**24
    on_answer: Callable[[Answer, int], None] = _ignore
    stop: Callable[[], bool] = _never
    asked: Mapping[str, Any] | None = None
    devices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            BadInput: one does not fit.
        """
        if self.embeddings not in (None, "float16", "float32"):
            raise BadInput(f"embeddings must be 'float16' or 'float32', got {self.embeddings!r}")
        check_frames(self.frames)
        if self.on_change not in get_args(OnChange):
            raise BadInput(f"on_change must be 'keep', 'redo' or 'refuse', got {self.on_change!r}")
        if self.part_rows < 1:
            raise BadInput(f"part_rows must be a whole number of at least 1, got {self.part_rows!r}")

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of the options."""
        return [each.name for each in fields(cls)]

    @classmethod
    def parted(cls, given: Mapping[str, Any]) -> tuple[RunOptions, dict[str, Any]]:
        """Return what is given as options of a run, and what is left: settings of the chain.

        Raises:
            BadInput: an option does not fit.
        """
        own = cls.names()
        rest = {name: value for name, value in given.items() if name not in own}
        return cls(**{name: value for name, value in given.items() if name in own}), rest


@dataclass(frozen=True, slots=True)
class Summary:
    """What one call did.

    folder       the run folder.
    ok           rows written for inputs that were answered.
    errors       rows written for others, by kind.
    skipped      inputs that had a row already.
    errors_kept  how many of the rows there before are errors.
    seconds      from the first look at the folder to the last file.
    stopped      whether it ended early because stop said so.
    batch_sizes  stage -> images at once in the end, where memory made it halve its batches.
    changed      inputs that are not what they were: "replaced", "removed", "added", "elsewhere" -> count.
    """

    folder: str
    ok: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    skipped: int = 0
    errors_kept: int = 0
    seconds: float = 0.0
    stopped: bool = False
    batch_sizes: dict[str, int] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows written by this call."""
        return self.ok + sum(self.errors.values())
