"""Silence libraries while they load: no root log handler, no progress bar, no warning.

Progress bars, the libraries' and our own, appear only after show_progress, which the command line calls on a terminal.
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
    """Show progress bars from now on, as the command line does on a terminal."""
    global _SHOWN
    _SHOWN = True


def label_batches(total: int, step: int, what: str) -> Iterator[int]:
    """Yield the start of each batch of labels, with a progress bar on stderr if bars are shown and it takes a while.

    Args:
        total: Number of labels.
        step: Labels a batch.
        what: Text before the bar.
    """
    from tqdm import tqdm

    with tqdm(total=total, desc=what, unit=" labels", delay=_PATIENCE, leave=False, disable=not _SHOWN) as bar:
        for start in range(0, total, step):
            yield start
            bar.update(min(step, total - start))


def quiet_supervision() -> None:
    """Import supervision without its warning about OpenCV, which openvocab does not need."""
    if "supervision" not in sys.modules:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "OpenCV .* is not installed", UserWarning)
            import supervision  # noqa: F401


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Load a model without side effects on logging and progress bars.

    open_clip calls logging.info, which adds a stderr handler to a root logger that has none; a NullHandler prevents
    that. The progress bars of transformers are restored on exit.
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
