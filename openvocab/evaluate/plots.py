"""Plots as PNG files, drawn with matplotlib's Figure alone, so that no state of pyplot is touched."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.evaluate.classification import Reliability

__all__ = ["plot_confusion", "plot_reliability"]

_LONGEST, _NAMES, _COUNTS = 24, 60, 25
"""Characters of a label that are shown; labels that are named on an axis; labels up to which counts are written."""

_BLUE, _GREY = "#2f6690", "#b8bec4"


def _short(label: str) -> str:
    cut = label if len(label) <= _LONGEST else f"{label[: _LONGEST - 10]}…{label[-9:]}"
    return cut.replace("$", r"\$")


def plot_confusion(path: str | Path, confusion: NDArray[np.int64], labels: Sequence[str]) -> None:
    """Draw a confusion matrix, each row as shares of the pictures that have its label.

    Up to 60 labels each is named; of more, every second, third and so on is, so that names never overlap. Up to 25
    labels the pictures are counted in the cells.

    Args:
        confusion: (C, C) pictures; the row is the true label, the column the one given.
        labels: C labels.
    """
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    count = len(labels)
    step = math.ceil(count / _NAMES)
    shown = list(range(0, count, step))
    side = 3.2 + 0.22 * max(8, len(shown)) + (0.1 * count if count <= _COUNTS else 0)
    figure = Figure(figsize=(side + 0.8, side), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    total = confusion.sum(axis=1, keepdims=True)
    shares = np.divide(confusion, total, out=np.zeros(confusion.shape), where=total > 0)
    scale = PowerNorm(1 if count <= _COUNTS else 0.4, 0, 1)  # among small cells, small shares would not be seen
    drawn = axes.imshow(shares, cmap="Blues", norm=scale, interpolation="nearest")
    names = [_short(labels[row]) for row in shown]
    axes.set_xticks(shown, names, rotation=90, fontsize=8)
    axes.set_yticks(shown, names, fontsize=8)
    axes.set_xlabel("given" if step == 1 else f"given (1 of {step} labels is named)")
    axes.set_ylabel("true")
    if count <= _COUNTS:
        _write_counts(axes, confusion, shares)
    figure.colorbar(drawn, ax=axes, label="share of the true label's pictures", shrink=0.7)
    figure.savefig(path, metadata={"Software": None})


def _write_counts(axes: Any, confusion: NDArray[np.int64], shares: NDArray[np.float64]) -> None:
    size = 9 if confusion.max() < 1000 else 6
    for row, column in np.argwhere(confusion > 0):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(confusion[row, column]), ha="center", va="center", fontsize=size, color=colour)


def plot_reliability(path: str | Path, bins: Reliability, error: float) -> None:
    """Draw accuracy against confidence, and below it how many pictures each bin has.

    Args:
        error: the expected calibration error, written above.
    """
    from matplotlib.figure import Figure

    count = len(bins.counts)
    middle, width = (np.arange(count) + 0.5) / count, 1 / count
    figure = Figure(figsize=(5.5, 6.5), dpi=110, layout="constrained")
    above, below = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    above.bar(middle, np.nan_to_num(bins.accuracy), width, color=_BLUE, edgecolor="white", label="accuracy")
    above.plot(bins.confidence, bins.accuracy, "o", color="black", markersize=4, label="at the mean confidence")
    above.plot([0, 1], [0, 1], "--", color="grey", label="perfectly calibrated")
    above.set(ylim=(0, 1.02), xlim=(0, 1), ylabel="accuracy", title=f"expected calibration error {error:.3f}")
    above.legend(loc="upper left", fontsize=9)
    below.bar(middle, bins.counts, width, color=_GREY, edgecolor="white")
    below.set(xlabel="confidence", ylabel="pictures")
    figure.savefig(path, metadata={"Software": None})
