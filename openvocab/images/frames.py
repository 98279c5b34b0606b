"""The frames or pages of an image file: how many there are, told in bounded time, and one input for each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Literal

from openvocab.errors import BadInput
from openvocab.images.decode import read_item
from openvocab.images.items import Item
from openvocab.images.read import frames_in

__all__ = ["Frames", "check_frames", "each_frame", "file_id", "split_frame", "whole_files"]

Frames = Literal["first", "all"] | int
"""Which frames of an image are answered; a number means that many from the first on."""

_FRAME_ID = "{}#frame={}"
_FRAME = re.compile(r"(.+)#frame=([0-9]+)", re.DOTALL)


def check_frames(frames: object) -> None:
    """Look at a choice of frames.

    Raises:
        BadInput: it is neither "first" nor "all" nor a whole number of at least 1.
    """
    number = isinstance(frames, int) and not isinstance(frames, bool) and frames >= 1
    if not number and frames not in ("first", "all"):
        raise BadInput(f"frames must be 'first', 'all' or a whole number of at least 1, got {frames!r}")


def each_frame(items: Iterator[Item], frames: Frames, skip: Callable[[str], bool]) -> Iterator[Item]:
    """Yield an input for each frame that is asked for, with the id ID#frame=N; of one frame, the input itself.

    Each file is read for it; what is fetched from a web address has one.

    Args:
        items: of the files, none of them skipped.
        skip: tells the ids, those of frames too, that are yielded with nothing to read.
    """
    for item in items:
        there = 1 if item.error is not None or item.url is not None else _frames_of(item)
        for number in range(there if frames == "all" or frames == "first" else min(there, frames)):
            name = _FRAME_ID.format(item.id, number) if there > 1 else file_id(item.id)
            yield Item(name) if skip(name) else replace(item, id=name, frame=number)


def whole_files(read: Callable[[Callable[[str], bool]], Iterator[Item]], skip: Callable[[str], bool]) -> Iterator[Item]:
    """Yield the inputs that read gives for a skip, each under its file_id, where frames are no inputs of their own."""
    for item in read(lambda name: skip(file_id(name))):
        name = file_id(item.id)
        yield item if name == item.id else replace(item, id=name)


def file_id(name: str) -> str:
    """Return the id of a whole file: its name, with #frame=0 where the name itself ends like the id of a frame.

    So an id that ends in #frame=N is always frame N of what stands before it, and no two inputs share one.
    """
    return _FRAME_ID.format(name, 0) if _FRAME.fullmatch(name) else name


def split_frame(name: str) -> tuple[str, int | None]:
    """Return an id without its #frame=N, and N; None where there is none."""
    found = _FRAME.fullmatch(name)
    return (found[1], int(found[2])) if found else (name, None)


def _frames_of(item: Item) -> int:
    """Return how many frames the file of an item holds; 1 where it cannot be read, which decoding will tell of."""
    try:
        return frames_in(read_item(item))
    except Exception:
        return 1
