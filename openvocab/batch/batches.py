"""Running a stage over batches that shrink when memory runs out, with one error per failing image."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np

from openvocab.errors import BadInput, ModelFailed, OutOfMemory
from openvocab.pipeline.protocols import ImageArray

__all__ = ["Batches", "is_out_of_memory"]

R = TypeVar("R")
_MAX_FAILURES = 10
"""The number of consecutive failing images after which the stage itself is taken to fail."""
_PROBE_SIDE = 32
_SIGNS = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of a model means that memory ran out."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SIGNS)


class Batches(Generic[R]):
    """Runs one stage over batches of images and contains its failures.

    Attributes:
        stage: The name of the stage in error messages.
        size: The number of images, or views of them, per model call; halved each time memory runs out, down to 1.
        halved: How often size was halved.
    """

    def __init__(self, stage: str, size: int) -> None:
        self.stage, self.size, self.halved = stage, size, 0
        self._failures = 0

    def __call__(
        self, work: Callable[[Sequence[ImageArray], int], list[R]], images: Sequence[ImageArray]
    ) -> list[R | Exception]:
        """Return one answer per image, or its error: OutOfMemory, BadOutput, or the model's own.

        Args:
            work: The stage; it takes images and the number of images per model call, and returns one answer per image.
            images: The batch.

        Raises:
            ModelFailed: Every image fails: ten consecutive ones, or a whole batch and a plain test image.
        """
        while True:
            try:
                made: list[R | Exception] = list(work(images, self.size))
                self._failures = 0
                return made
            except Exception as error:
                kept = _bare(error)
            if not is_out_of_memory(kept):
                return self._apart(work, images, kept)
            _free()
            if self.size == 1:
                return self._apart(work, images, kept)
            self.size //= 2
            self.halved += 1

    def _apart(
        self, work: Callable[[Sequence[ImageArray], int], list[R]], images: Sequence[ImageArray], error: Exception
    ) -> list[R | Exception]:
        """Answer each image by itself, so that only the failing ones have an error."""
        if len(images) == 1:
            made: list[R | Exception] = [self._named(error)]
        else:
            made = [self._alone(work, image) for image in images]
        odd = [one for one in made if isinstance(one, Exception)]
        self._failures = self._failures + len(odd) if len(odd) == len(made) else 0
        if self._failures >= _MAX_FAILURES or (1 < len(odd) == len(made) and self._fails_on_a_plain_one(work)):
            raise _failed(self.stage, self._failures, odd[-1])
        return made

    def _fails_on_a_plain_one(self, work: Callable[[Sequence[ImageArray], int], list[R]]) -> bool:
        """Return whether the stage also fails on a plain test image."""
        shades = np.linspace(0, 255, _PROBE_SIDE, dtype=np.uint8)
        plain = np.ascontiguousarray(np.broadcast_to(shades[None, :, None], (_PROBE_SIDE, _PROBE_SIDE, 3)))
        return isinstance(self._alone(work, plain), Exception)

    def _alone(self, work: Callable[[Sequence[ImageArray], int], list[R]], image: ImageArray) -> R | Exception:
        try:
            return work([image], 1)[0]
        except Exception as error:
            kept = _bare(error)
        if is_out_of_memory(kept):
            _free()
        return self._named(kept)

    def _named(self, error: Exception) -> Exception:
        if is_out_of_memory(error):
            return OutOfMemory(
                f"the {self.stage} ran out of memory on this image alone; make it smaller or use another device"
            )
        return error


def _failed(stage: str, count: int, error: Exception) -> ModelFailed:
    """Return the error that ends a run whose stage fails on every image."""
    if isinstance(error, BadInput):  # the stage is well, and the error says what to do
        return ModelFailed(f"the {stage} refuses every image, {count} in a row: {error}")
    cause = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
    remedy = "check its weights, or try dtype='float32' or another device"
    made = ModelFailed(f"the {stage} failed on every image, {count} in a row ({cause}); {remedy}")
    made.__cause__ = error
    return made


def _bare(error: Exception) -> Exception:
    """Drop the frames that an error references, and with them the memory that they hold."""
    error.__context__ = error.__cause__ = None
    return error.with_traceback(None)


def _free() -> None:
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
