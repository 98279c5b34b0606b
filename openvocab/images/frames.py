"""Frames and pages of image files as inputs of their own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Literal

from openvocab.errors import BadInput
from openvocab.images.decode import read_item
from openvocab.images.items import Item, Skip
from openvocab.images.read import frame_count_of

__all__ = ["Frames", "check_frames", "file_id", "frame_items", "split_frame", "whole_file_items"]

Frames = Literal["first", "all"] | int
"""Which frames of a file are inputs: the first, all, or the first N."""

_MARK = "#frame="
_FRAME_ID = "{}#frame={}"
_FRAME = re.compile(r"(.+)#frame=([0-9]+)", re.DOTALL)


def check_frames(frames: object) -> None:
    """Validate a choice of frames.

    Raises:
        BadInput: frames is not "first", "all" or an integer of at least 1.
    """
    number = isinstance(frames, int) and not isinstance(frames, bool) and frames >= 1
    if not number and frames not in ("first", "all"):
        raise BadInput(f"frames must be 'first', 'all' or a whole number of at least 1, got {frames!r}")


def frame_items(items: Iterator[Item], frames: Frames, skip: Skip) -> Iterator[Item]:
    """Yield one item per selected frame, with the id ID#frame=N; a file of one frame stays one item.

    Every file is read to count its frames. A web address counts as one frame.

    Args:
        items: The items of whole files; none is skipped.
        frames: The frames to select; "first" selects all, as "all" does.
        skip: Returns whether an id, of a file or of a frame, is skipped.
    """
    for item in items:
        total = 1 if item.error is not None or item.url is not None else _frames_of(item)
        for number in range(total if frames == "all" or frames == "first" else min(total, frames)):
            name = _FRAME_ID.format(item.id, number) if total > 1 else file_id(item.id)
            yield Item(name) if skip(name) else replace(item, id=name, frame=number)


def whole_file_items(read: Callable[[Skip], Iterator[Item]], skip: Skip) -> Iterator[Item]:
    """Yield the items of whole files, each with its file_id; read returns the items for a skip function."""
    for item in read(lambda name, touched=None: skip(file_id(name), touched)):
        name = file_id(item.id)
        yield item if name == item.id else replace(item, id=name)


def file_id(name: str) -> str:
    """Return the id of a whole file: its name, with #frame=0 appended if the name itself ends in #frame=N.

    An id that ends in #frame=N therefore always is frame N of the file before it, and ids stay unique.
    """
    return _FRAME_ID.format(name, 0) if _MARK in name and _FRAME.fullmatch(name) else name


def split_frame(name: str) -> tuple[str, int | None]:
    """Return an id without its #frame=N, and N, or None for an id without one."""
    found = _FRAME.fullmatch(name) if _MARK in name else None  # most names have none, and a pattern is slow
    return (found[1], int(found[2])) if found else (name, None)


def _frames_of(item: Item) -> int:
    """Return the number of frames in the file of an item; 1 if it cannot be read, which decoding reports."""
    try:
        return frame_count_of(read_item(item))
    except Exception:
        return 1
