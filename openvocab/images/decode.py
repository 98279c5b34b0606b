"""From an item of a source to a decoded image; on request in a process of its own, which a decoder may take down."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context

from openvocab.errors import ImageError
from openvocab.images.items import Item
from openvocab.images.read import MAX_PIXELS, Decoded, decode, read_file, read_image

__all__ = ["Isolated", "decode_item", "read_item"]


def decode_item(item: Item, max_pixels: int = MAX_PIXELS, least_side: int | None = None) -> Decoded:
    """Read an item once and decode the frame of it that is meant; see images.decode.

    Raises:
        ImageError: it cannot be read; kind says why.
        BadInput: as read_item.
    """
    data = read_item(item, max_pixels)
    return decode(data, repr(item.id), max_pixels=max_pixels, least_side=least_side, frame=item.frame)


def read_item(item: Item, max_pixels: int = MAX_PIXELS) -> bytes:
    """Return the bytes of an item; of a large file the header is looked at first.

    Pixels in memory become a PPM file, which costs a copy, so that they go the way of all images from here.

    Raises:
        ImageError: it cannot be read, or is too large.
        BadInput: an array of another shape or dtype.
    """
    if item.error is not None:
        raise item.error
    if item.url is not None:
        from openvocab.images.urls import fetch

        return fetch(item.url)
    if item.image is not None:
        pixels = read_image(item.image, max_pixels=max_pixels)
        return b"P6 %d %d 255\n" % pixels.shape[1::-1] + pixels.tobytes()
    if item.path is not None:
        return _read(item, item.path, max_pixels)
    return item.data or b""


def _read(item: Item, path: str, max_pixels: int) -> bytes:
    name = repr(item.id)
    try:
        return read_file(path, name, max_pixels)
    except ImageError as error:
        if item.listed and error.kind == "missing" and not os.path.lexists(path):
            gone = f"{name} was in its folder when that was listed and is gone; put it back or leave it out"
            raise ImageError("vanished", gone) from error
        raise


def _ignore_interrupt() -> None:
    """Leave Ctrl-C, which a terminal sends to every process, to the one that owns the run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@dataclass(frozen=True, slots=True)
class Isolated:
    """decode_item in worker processes, one for each thread that calls: a crash ends one process and one image.

    decoder is what runs there; it and what it takes and gives must be picklable. The processes are spawned, so that a
    script that uses this needs the usual `if __name__ == "__main__":`.
    """

    max_pixels: int = MAX_PIXELS
    least_side: int | None = None
    decoder: Callable[[Item, int, int | None], Decoded] = decode_item
    _local: threading.local = field(default_factory=threading.local)
    _pools: list[ProcessPoolExecutor] = field(default_factory=list)

    def __call__(self, item: Item) -> Decoded:
        """Decode an item in this thread's process.

        Raises:
            ImageError: as decode_item; with kind decoder_crashed where the process died.
        """
        try:
            return self._pool().submit(self.decoder, item, self.max_pixels, self.least_side).result()
        except BrokenProcessPool as error:
            self._local.pool = None
            message = f"{item.id!r} took its decoder down; save it anew with another program"
            raise ImageError("decoder_crashed", message) from error

    def _pool(self) -> ProcessPoolExecutor:
        pool: ProcessPoolExecutor | None = getattr(self._local, "pool", None)
        if pool is None:
            pool = self._local.pool = ProcessPoolExecutor(1, get_context("spawn"), _ignore_interrupt)
            self._pools.append(pool)
        return pool

    @contextmanager
    def running(self) -> Iterator[Isolated]:
        """End the processes when this is left."""
        try:
            yield self
        finally:
            for pool in self._pools:
                pool.shutdown(wait=False, cancel_futures=True)
