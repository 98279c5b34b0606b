"""The fates of things and of detections as one stacked bar each, in a PNG file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["plot_losses"]

_COLORS = {
    "found": "#009E73",
    "right": "#009E73",
    "never tagged": "#56B4E9",
    "no box": "#0072B2",
    "wrong label": "#E69F00",
    "too loose": "#D55E00",
    "bad mask": "#CC79A7",
    "duplicate": "#F0E442",
    "background": "#8A8A8A",
}
"""Okabe and Ito's, told apart by color-blind readers too: one for a fate, the same in both bars."""

_DARK = ("#009E73", "#0072B2", "#D55E00")

_WRITTEN = 0.035
"""Shares under this are only in the legend, since their number would not fit into the bar."""


def plot_losses(path: str | Path, things: Mapping[str, int], detections: Mapping[str, int]) -> None:
    """Draw two bars: what became of the things, and what the detections are.

    Args:
        things, detections: fate, of THING_FATES and of DETECTION_FATES -> how many.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), dpi=110, layout="constrained")
    above, below = figure.subplots(2)
    _bar(above, f"{sum(things.values())} things: what became of them", things)
    _bar(below, f"{sum(detections.values())} detections found: what they are", detections)
    figure.savefig(path, metadata={"Software": None})


def _bar(axes: Any, title: str, counts: Mapping[str, int]) -> None:
    """Draw one bar of the whole width, with its legend below."""
    total, left = sum(counts.values()), 0.0
    for name, count in counts.items():
        color = _COLORS[name]
        share = count / total if total else 0.0
        axes.barh(
            0, share, left=left, height=0.8, color=color, edgecolor="white", label=f"{name} {share:.1%} ({count})"
        )
        if share >= _WRITTEN:
            ink = "white" if color in _DARK else "black"
            axes.text(left + share / 2, 0, f"{share:.0%}", ha="center", va="center", fontsize=11, color=ink)
        left += share
    axes.set(xlim=(0, 1), ylim=(-0.4, 0.4), yticks=[], xticks=[])
    axes.set_title(title, loc="left", fontsize=12)
    axes.spines[:].set_visible(False)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=3, fontsize=10, frameon=False)
