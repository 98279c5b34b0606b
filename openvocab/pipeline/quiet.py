"""Keeps libraries silent while they are loaded or load a model: no root handler, no progress bar, no warning.

Progress bars, those of libraries and our own, are shown only after show_progress, which the command line calls on a
terminal.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["label_batches", "quiet_loading", "quiet_supervision", "show_progress"]

_SHOWN = False
_PATIENCE = 1.0
"""Seconds before a progress bar appears, so that short work shows none."""


def show_progress() -> None:
    """Let progress bars be shown from now on, as the command line does on a terminal."""
    global _SHOWN
    _SHOWN = True


def label_batches(total: int, step: int, what: str) -> Iterator[int]:
    """Yield where each batch of labels begins, with a progress bar on stderr if bars are shown and it takes a while.

    Args:
        total: labels; step: those of a batch.
        what: stands before the bar.
    """
    from tqdm import tqdm

    with tqdm(total=total, desc=what, unit=" labels", delay=_PATIENCE, leave=False, disable=not _SHOWN) as bar:
        for start in range(0, total, step):
            yield start
            bar.update(min(step, total - start))


def quiet_supervision() -> None:
    """Import supervision without its warning that it does without OpenCV, which openvocab does not need either."""
    if "supervision" not in sys.modules:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "OpenCV .* is not installed", UserWarning)
            import supervision  # noqa: F401


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Load a model without a trace in the process.

    logging.info and the like, which open_clip calls, give a root logger without handlers one that writes to stderr; one
    that is there meanwhile, and does nothing, keeps them from it. The progress bars of transformers are as before when
    this is left.
    """
    from transformers.utils import logging as bars

    turn: Any = bars  # untyped upstream
    nothing, before = logging.NullHandler(), bars.is_progress_bar_enabled()
    logging.root.addHandler(nothing)
    if before and not _SHOWN:
        turn.disable_progress_bar()
    try:
        yield
    finally:
        logging.root.removeHandler(nothing)
        if before and not _SHOWN:
            turn.enable_progress_bar()
