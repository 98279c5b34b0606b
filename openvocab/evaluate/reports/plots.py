"""Plots as PNG files, drawn with matplotlib's Figure alone, so pyplot's global state is not touched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import counted
from openvocab.evaluate.metrics.classification import Reliability
from openvocab.evaluate.metrics.precision_recall import Curves
from openvocab.evaluate.metrics.presence import RiskCoverage

__all__ = [
    "most_confused",
    "plot_confusion",
    "plot_errors",
    "plot_precision_recall",
    "plot_reliability",
    "plot_risk_coverage",
]

_MAX_CHARACTERS = 24
"""Characters of a label that are drawn."""

_MAX_NAMES, _MAX_CELLS = 60, 25
"""Labels up to which the axes of a confusion matrix have names, and its cells have counts."""

_MAX_PAIRS, _MAX_CURVES = 20, 8
"""Confused pairs and precision-recall curves that are drawn."""

_BLUE, _GRAY = "#2f6690", "#b8bec4"

_ERROR_COLORS = {
    "detected": "#009E73",
    "correct": "#009E73",
    "not tagged": "#56B4E9",
    "missed": "#0072B2",
    "classification": "#E69F00",
    "localization": "#D55E00",
    "both": "#7A4B00",
    "mask": "#CC79A7",
    "duplicate": "#F0E442",
    "background": "#8A8A8A",
}
"""Okabe and Ito's palette, which color-blind readers can tell apart, and one brown; an error type has one color in
both bars."""

_DARK = ("#009E73", "#0072B2", "#D55E00", "#7A4B00")

_MIN_WRITTEN_SHARE = 0.035
"""Shares under this are in the legend only, because their text does not fit into the bar."""


def _shorten(label: str) -> str:
    if len(label) > _MAX_CHARACTERS:
        label = f"{label[: _MAX_CHARACTERS - 10]}…{label[-9:]}"
    return label.replace("$", r"\$")


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=110, layout="constrained")


def _save(figure: Any, path: str | Path) -> None:
    figure.savefig(path, metadata={"Software": None})


def plot_confusion(path: str | Path, confusion: NDArray[np.int64], labels: Sequence[str]) -> None:
    """Draw a confusion matrix; each row shows shares of the images that have its label.

    With up to 60 labels the axes have names, and with up to 25 the cells have counts. With more labels the axes have
    numbers, and a bar chart beside the matrix shows the 20 most confused pairs.

    Args:
        path: Path of the PNG file.
        confusion: (C, C) number of images; rows are true labels, columns predicted labels.
        labels: C labels.
    """
    count = len(labels)
    if count > _MAX_NAMES:
        figure = _figure(16, 7.5)
        left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
        _draw_matrix(figure, left, confusion)
        left.set(xlabel="predicted label, by its number in report.md", ylabel="true label, by its number")
        _draw_pairs(right, confusion, labels)
    else:
        side = 3.2 + 0.22 * max(8, count) + (0.1 * count if count <= _MAX_CELLS else 0)
        figure = _figure(side + 0.8, side)
        axes = figure.add_subplot()
        shares = _draw_matrix(figure, axes, confusion)
        names = [_shorten(label) for label in labels]
        axes.set_xticks(range(count), names, rotation=90, fontsize=9)
        axes.set_yticks(range(count), names, fontsize=9)
        axes.set(xlabel="predicted label", ylabel="true label")
        if count <= _MAX_CELLS:
            _write_counts(axes, confusion, shares)
    _save(figure, path)


def _draw_matrix(figure: Any, axes: Any, confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Draw the shares of each row, and return them."""
    from matplotlib.colors import PowerNorm

    total = confusion.sum(axis=1, keepdims=True)
    shares: NDArray[np.float64] = np.divide(confusion, total, out=np.zeros(confusion.shape), where=total > 0)
    norm = PowerNorm(1 if len(confusion) <= _MAX_CELLS else 0.4, 0, 1)  # makes small shares visible in small cells
    drawn = axes.imshow(shares, cmap="Blues", norm=norm, interpolation="nearest")
    figure.colorbar(drawn, ax=axes, label="share of the true label's images", shrink=0.7)
    return shares


def most_confused(confusion: NDArray[np.int64], max_pairs: int = _MAX_PAIRS) -> list[tuple[int, int, int]]:
    """Return true label, predicted label and number of images of the most confused pairs; of equals the first first.

    Args:
        confusion: (C, C) number of images; rows are true labels, columns predicted labels.
        max_pairs: Maximum number of pairs; pairs without an image are left out.
    """
    wrong = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-wrong, axis=None, kind="stable")[:max_pairs]
    pairs = (divmod(int(index), len(confusion)) for index in order if wrong.flat[index])
    return [(one, other, int(wrong[one, other])) for one, other in pairs]


def _draw_pairs(axes: Any, confusion: NDArray[np.int64], labels: Sequence[str]) -> None:
    pairs = most_confused(confusion)
    if not pairs:
        axes.axis("off")
        axes.set_title("no label is confused with another")
        return
    names = [f"{_shorten(labels[one])} → {_shorten(labels[other])}" for one, other, _ in pairs]
    bars = axes.barh(range(len(pairs)), [count for _, _, count in pairs], color=_BLUE)
    axes.bar_label(bars, padding=3, fontsize=9)
    axes.set_yticks(range(len(pairs)), names, fontsize=9)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel="images", title="most confused labels: true → predicted")


def _write_counts(axes: Any, confusion: NDArray[np.int64], shares: NDArray[np.float64]) -> None:
    size = 9 if confusion.max() < 1000 else 6
    for row, column in np.argwhere(confusion > 0):
        color = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(confusion[row, column]), ha="center", va="center", fontsize=size, color=color)


def plot_reliability(
    path: str | Path,
    bins: Reliability,
    error: float,
    names: tuple[str, str, str] = ("confidence", "accuracy", "images"),
) -> None:
    """Draw accuracy against confidence, and below it the number of images in each bin.

    Args:
        path: Path of the PNG file.
        bins: The bins.
        error: The expected calibration error, for the title.
        names: What is drawn on the axes: confidence, accuracy and images, or what they are here.
    """
    confidence, accuracy, images = names
    count = len(bins.counts)
    middle, width = (np.arange(count) + 0.5) / count, 1 / count
    figure = _figure(5.5, 6.5)
    above, below = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    above.bar(middle, np.nan_to_num(bins.accuracy), width, color=_BLUE, edgecolor="white", label=accuracy)
    above.plot(bins.confidence, bins.accuracy, "o", color="black", markersize=4, label=f"at the mean {confidence}")
    above.plot([0, 1], [0, 1], "--", color="gray", label="perfectly calibrated")
    above.set(ylim=(0, 1.02), xlim=(0, 1), ylabel=accuracy, title=f"expected calibration error {error:.3f}")
    above.legend(loc="upper left", fontsize=9)
    below.bar(middle, bins.counts, width, color=_GRAY, edgecolor="white")
    below.set(xlabel=confidence, ylabel=images)
    _save(figure, path)


def plot_risk_coverage(path: str | Path, curve: RiskCoverage) -> None:
    """Draw the error rate of the surest answers against the share of the pairs that is answered.

    Args:
        path: Path of the PNG file.
        curve: The curve.
    """
    figure = _figure(6, 4.5)
    axes = figure.add_subplot()
    axes.plot(curve.coverage, curve.risk, color=_BLUE, linewidth=2)
    axes.fill_between(curve.coverage, curve.risk, color=_BLUE, alpha=0.15)
    axes.set(xlim=(0, 1), ylim=(0, max(0.05, 1.1 * float(curve.risk.max()))))
    axes.set(xlabel="coverage: share of the pairs that is answered, surest first", ylabel="risk: share that is wrong")
    axes.set_title(f"mean risk {curve.area:.4f}")
    axes.grid(color="#e3e6e8")
    _save(figure, path)


def plot_precision_recall(path: str | Path, curves: Curves, labels: Sequence[str]) -> None:
    """Draw precision-recall curves: the mean over labels, and the 8 labels with the most objects.

    Args:
        path: Path of the PNG file.
        curves: The curves.
        labels: C labels, in the order of curves.
    """
    from matplotlib import colormaps

    recall = np.linspace(0, 1, curves.precision.shape[1])
    figure = _figure(8.5, 5.5)
    axes = figure.add_subplot()
    defined = np.flatnonzero(curves.objects)
    drawn = defined[np.argsort(-curves.objects[defined], kind="stable")][:_MAX_CURVES]
    for number, row in enumerate(drawn.tolist()):
        name = f"{_shorten(labels[row])}: {curves.precision[row].mean():.2f}"
        axes.plot(recall, curves.precision[row], color=colormaps["tab10"](number), linewidth=1.3, label=name)
    if len(defined) > 1:
        mean = curves.precision[defined].mean(axis=0)
        axes.plot(recall, mean, color="black", linewidth=2.6, label=f"mean of {len(defined)} labels: {mean.mean():.2f}")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    axes.set_title(f"boxes at IoU {curves.min_iou:g}; average precision beside each name")
    axes.grid(color="#e3e6e8")
    if len(defined):
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=10, frameon=False)
    _save(figure, path)


def plot_errors(path: str | Path, objects: Mapping[str, int], detections: Mapping[str, int]) -> None:
    """Draw the error types of the objects and of the detections, one stacked bar each.

    Args:
        path: Path of the PNG file.
        objects: Error type, of OBJECT_ERRORS -> number of objects.
        detections: Error type, of DETECTION_ERRORS -> number of detections.
    """
    figure = _figure(9, 5)
    above, below = figure.subplots(2)
    _draw_bar(above, counted(sum(objects.values()), "object"), objects)
    _draw_bar(below, counted(sum(detections.values()), "detection"), detections)
    _save(figure, path)


def _draw_bar(axes: Any, title: str, counts: Mapping[str, int]) -> None:
    """Draw one bar over the whole width, with its legend below."""
    total, left = sum(counts.values()), 0.0
    for name, count in counts.items():
        color, share = _ERROR_COLORS[name], count / total if total else 0.0
        label = f"{name} {share:.1%} ({count})"
        axes.barh(0, share, left=left, height=0.8, color=color, edgecolor="white", label=label)
        if share >= _MIN_WRITTEN_SHARE:
            ink = "white" if color in _DARK else "black"
            axes.text(left + share / 2, 0, f"{share:.0%}", ha="center", va="center", fontsize=11, color=ink)
        left += share
    axes.set(xlim=(0, 1), ylim=(-0.4, 0.4), yticks=[], xticks=[])
    axes.set_title(title, loc="left", fontsize=12)
    axes.spines[:].set_visible(False)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=3, fontsize=10, frameon=False)
