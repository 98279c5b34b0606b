"""Plots as PNG files, drawn with matplotlib's Figure alone, so that no state of pyplot is touched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.evaluate.classification import Reliability
from openvocab.evaluate.curves import Curves

__all__ = ["plot_confusion", "plot_precision_recall", "plot_reliability", "worst_pairs"]

_LONGEST, _NAMES, _COUNTS, _PAIRS, _CURVES = 24, 60, 25, 20, 8
"""Characters of a label that are shown; labels that are named on an axis; labels up to which counts are written; pairs
of labels and curves that are drawn."""

_BLUE, _GRAY = "#2f6690", "#b8bec4"


def _short(label: str) -> str:
    cut = label if len(label) <= _LONGEST else f"{label[: _LONGEST - 10]}…{label[-9:]}"
    return cut.replace("$", r"\$")


def plot_confusion(path: str | Path, confusion: NDArray[np.int64], labels: Sequence[str]) -> None:
    """Draw a confusion matrix, each row as shares of the images that have its label.

    Up to 60 labels each is named, and up to 25 the images are counted in the cells. Of more labels the axes have
    their numbers only, and beside them the 20 pairs that are confused most are drawn as bars.

    Args:
        confusion: (C, C) images; the row is the true label, the column the one given.
        labels: C labels.
    """
    from matplotlib.figure import Figure

    count = len(labels)
    if count > _NAMES:
        figure = Figure(figsize=(16, 7.5), dpi=110, layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
        _matrix(figure, left, confusion)
        left.set(xlabel="label given, by its number in report.md", ylabel="true label, by its number")
        _worst_pairs(right, confusion, labels)
    else:
        side = 3.2 + 0.22 * max(8, count) + (0.1 * count if count <= _COUNTS else 0)
        figure = Figure(figsize=(side + 0.8, side), dpi=110, layout="constrained")
        axes = figure.add_subplot()
        shares = _matrix(figure, axes, confusion)
        names = [_short(label) for label in labels]
        axes.set_xticks(range(count), names, rotation=90, fontsize=9)
        axes.set_yticks(range(count), names, fontsize=9)
        axes.set(xlabel="label given", ylabel="true label")
        if count <= _COUNTS:
            _write_counts(axes, confusion, shares)
    figure.savefig(path, metadata={"Software": None})


def _matrix(figure: Any, axes: Any, confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Draw the shares of each row, and return them."""
    from matplotlib.colors import PowerNorm

    total = confusion.sum(axis=1, keepdims=True)
    shares: NDArray[np.float64] = np.divide(confusion, total, out=np.zeros(confusion.shape), where=total > 0)
    scale = PowerNorm(1 if len(confusion) <= _COUNTS else 0.4, 0, 1)  # among small cells, small shares are not seen
    drawn = axes.imshow(shares, cmap="Blues", norm=scale, interpolation="nearest")
    figure.colorbar(drawn, ax=axes, label="share of the true label's images", shrink=0.7)
    return shares


def worst_pairs(confusion: NDArray[np.int64], most: int = _PAIRS) -> list[tuple[int, int, int]]:
    """Return true label, label given and images of the pairs that are confused most, of equals the first first.

    Args:
        confusion: (C, C) images; the row is the true label, the column the one given.
        most: how many pairs at most; pairs without an image are left out.
    """
    wrong = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    places = (divmod(int(place), len(confusion)) for place in order if wrong.flat[place])
    return [(one, other, int(wrong[one, other])) for one, other in places]


def _worst_pairs(axes: Any, confusion: NDArray[np.int64], labels: Sequence[str]) -> None:
    pairs = worst_pairs(confusion)
    if not pairs:
        axes.axis("off")
        axes.set_title("no label was confused with another")
        return
    names = [f"{_short(labels[one])} → {_short(labels[other])}" for one, other, _ in pairs]
    counts = [many for _, _, many in pairs]
    bars = axes.barh(range(len(pairs)), counts, color=_BLUE)
    axes.bar_label(bars, padding=3, fontsize=9)
    axes.set_yticks(range(len(pairs)), names, fontsize=9)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel="images", title="most often confused: true → given")


def _write_counts(axes: Any, confusion: NDArray[np.int64], shares: NDArray[np.float64]) -> None:
    size = 9 if confusion.max() < 1000 else 6
    for row, column in np.argwhere(confusion > 0):
        color = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(confusion[row, column]), ha="center", va="center", fontsize=size, color=color)


def plot_reliability(path: str | Path, bins: Reliability, error: float) -> None:
    """Draw accuracy against confidence, and below it how many images each bin has.

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
    above.plot([0, 1], [0, 1], "--", color="gray", label="perfectly calibrated")
    above.set(ylim=(0, 1.02), xlim=(0, 1), ylabel="accuracy", title=f"expected calibration error {error:.3f}")
    above.legend(loc="upper left", fontsize=9)
    below.bar(middle, bins.counts, width, color=_GRAY, edgecolor="white")
    below.set(xlabel="confidence", ylabel="images")
    figure.savefig(path, metadata={"Software": None})


def plot_precision_recall(path: str | Path, curves: Curves, labels: Sequence[str]) -> None:
    """Draw precision against recall: the mean over labels, and up to 8 labels, those with the most things.

    Args:
        labels: C labels, as curves has them.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    recall = np.linspace(0, 1, curves.precision.shape[1])
    figure = Figure(figsize=(8.5, 5.5), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    known = np.flatnonzero(curves.things)
    shown = known[np.argsort(-curves.things[known], kind="stable")][:_CURVES]
    for place, row in enumerate(shown.tolist()):
        area = curves.precision[row].mean()
        named = f"{_short(labels[row])}: {area:.2f}"
        axes.plot(recall, curves.precision[row], color=colormaps["tab10"](place), linewidth=1.3, label=named)
    if len(known) > 1:
        mean = curves.precision[known].mean(axis=0)
        said = f"mean of {len(known)} labels: {mean.mean():.2f}"
        axes.plot(recall, mean, color="black", linewidth=2.6, label=said)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    axes.set_title(f"boxes at IoU {curves.least:g}; average precision beside each name")
    axes.grid(color="#e3e6e8")
    if len(known):
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=10, frameon=False)
    figure.savefig(path, metadata={"Software": None})
