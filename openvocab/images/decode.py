"""Reading and decoding an item, in this process or in an isolated one that may crash."""

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


def decode_item(item: Item, max_pixels: int = MAX_PIXELS, min_side: int | None = None) -> Decoded:
    """Read an item and decode its frame; see read.decode.

    Raises:
        ImageError: The item cannot be read or decoded; `kind` names the reason.
        BadInput: The item is an array of another shape or dtype.
    """
    data = read_item(item, max_pixels)
    return decode(data, repr(item.id), max_pixels=max_pixels, min_side=min_side, frame=item.frame)


def read_item(item: Item, max_pixels: int = MAX_PIXELS) -> bytes:
    """Return the bytes of an item; the header of a large file is checked first.

    An image in memory is encoded as a PPM file, at the cost of a copy, so that every image is decoded the same way.

    Raises:
        ImageError: The item cannot be read or is too large.
        BadInput: The item is an array of another shape or dtype.
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
            message = f"{name} was deleted after its folder was listed; restore it or leave it out"
            raise ImageError("vanished", message) from error
        raise


def _ignore_interrupt() -> None:
    """Ignore Ctrl-C, which a terminal sends to every process; the process that owns the run handles it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@dataclass(frozen=True, slots=True)
class Isolated:
    """decode_item in worker processes, one per calling thread: a crash costs one process and one image.

    The processes are spawned, so a script that uses this class needs `if __name__ == "__main__":`.

    Attributes:
        max_pixels: The largest accepted width times height.
        min_side: The shorter side in pixels that scaled decoding keeps, or None for the full size.
        decoder: The function that the processes call; its arguments and its result must be picklable.
    """

    max_pixels: int = MAX_PIXELS
    min_side: int | None = None
    decoder: Callable[[Item, int, int | None], Decoded] = decode_item
    _local: threading.local = field(default_factory=threading.local)
    _pools: list[ProcessPoolExecutor] = field(default_factory=list)

    def __call__(self, item: Item) -> Decoded:
        """Decode an item in the process of this thread.

        Raises:
            ImageError: As decode_item; kind is decoder_crashed if the process died.
        """
        try:
            return self._pool().submit(self.decoder, item, self.max_pixels, self.min_side).result()
        except BrokenProcessPool as error:
            self._local.pool = None
            message = f"{item.id!r} crashed its decoder; save it again with another program"
            raise ImageError("decoder_crashed", message) from error

    def _pool(self) -> ProcessPoolExecutor:
        pool: ProcessPoolExecutor | None = getattr(self._local, "pool", None)
        if pool is None:
            pool = self._local.pool = ProcessPoolExecutor(1, get_context("spawn"), _ignore_interrupt)
            self._pools.append(pool)
        return pool

    @contextmanager
    def running(self) -> Iterator[Isolated]:
        """End the processes when the context exits."""
        try:
            yield self
        finally:
            for pool in self._pools:
                pool.shutdown(wait=False, cancel_futures=True)
