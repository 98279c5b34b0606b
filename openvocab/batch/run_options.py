"""Options for writing a run folder, and the summary of a session."""

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
from openvocab.pipeline.settings import SettingChanges

__all__ = ["RunChoices", "RunOptions", "Summary"]


def _never() -> bool:
    return False


def _ignore(answer: Answer, skipped: int) -> None:
    """Ignore an answer."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options for writing a run folder; the settings of the chain are separate.

    Attributes:
        features: Also store the tagger's unit-length features of each image, in this precision.
        cache: Folder of a cache of features, created if it does not exist. Cached images are not encoded again, and
            are not decoded unless there is a detector or annotated images are written.
        draw: Also write each annotated image as images/NAME.png, which its row names.
        overwrite: Replace an existing run.
        on_change: What a resumed run does about changed inputs: "keep" counts them, "redo" also answers replaced files
            again, in rows at the end, and "refuse" raises an error before anything is written.
        retry_errors: Remove error rows first, so that their inputs are answered again, in rows at the end.
        frames: Which frames or pages of an image are answered: "first", "all", or the first N. Except for "first", each
            is an input of its own, PATH#frame=3.
        strict: Stop at the first input without an answer and raise its error; its row is not written.
        allow_urls: See Pipeline.run.
        workers: See Reading, as the next three.
        isolate: Decode in worker processes.
        decode_size: Decode JPEGs smaller.
        max_pixels: Refuse larger images.
        part_rows: Write a part after this many rows,
        part_seconds: or this many seconds after its first row,
        part_bytes: or when its rows take this many bytes of memory, whichever comes first.
        on_answer: Called with each answer and the number of skipped inputs so far, before the row is written.
        stop: Polled between images; once it returns True, the run ends after the current batch.
        command: The digest of the command line, for unchanged.nothing_to_do.
        devices: The devices of the workers, for run.json.
    """

    features: Literal["float16", "float32"] | None = None
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
    command: Mapping[str, Any] | None = None
    devices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Validate the values.

        Raises:
            BadInput: A value is invalid.
        """
        if self.features not in (None, "float16", "float32"):
            raise BadInput(f"features must be 'float16' or 'float32', got {self.features!r}")
        check_frames(self.frames)
        if self.on_change not in get_args(OnChange):
            raise BadInput(f"on_change must be 'keep', 'redo' or 'refuse', got {self.on_change!r}")
        if self.part_rows < 1:
            raise BadInput(f"part_rows must be an integer of at least 1, got {self.part_rows!r}")

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of the options."""
        return [each.name for each in fields(cls)]

    @classmethod
    def parted(cls, given: Mapping[str, Any]) -> tuple[RunOptions, dict[str, Any]]:
        """Split keyword arguments into run options and the settings of the chain.

        Raises:
            BadInput: An option is invalid.
        """
        own = cls.names()
        rest = {name: value for name, value in given.items() if name not in own}
        return cls(**{name: value for name, value in given.items() if name in own}), rest


class RunChoices(SettingChanges, total=False):
    """Keywords of run_to: fields of RunOptions, and settings to change."""

    features: Literal["float16", "float32"] | None
    cache: str | os.PathLike[str] | None
    draw: bool
    overwrite: bool
    on_change: OnChange
    retry_errors: bool
    frames: Frames
    strict: bool
    allow_urls: bool
    workers: int | None
    isolate: bool
    decode_size: int | None
    max_pixels: int
    part_rows: int
    part_seconds: float
    part_bytes: int
    on_answer: Callable[[Answer, int], None]
    stop: Callable[[], bool]
    command: Mapping[str, Any] | None
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """The summary of one session of a run.

    Attributes:
        folder: The run folder.
        ok: The number of rows written for answered inputs.
        errors: The number of rows written for other inputs, by error kind.
        skipped: The number of inputs that already had a row.
        errors_kept: The number of error rows of earlier sessions.
        seconds: The duration of the session.
        stopped: Whether the session was stopped early.
        batch_sizes: The final batch size of each stage that halved it because memory ran out.
        changed: The number of changed inputs: "replaced", "removed", "added" and "elsewhere".
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
        """The number of rows written in this session."""
        return self.ok + sum(self.errors.values())
