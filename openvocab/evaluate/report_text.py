"""What all reports share: plain JSON, tables in Markdown, and the versions that made them."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Iterable, Sequence
from dataclasses import is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["next_to_nothing", "number", "plain", "table", "versions", "write_texts"]

_PACKAGES = (
    "numpy",
    "open_clip_torch",
    "pillow",
    "pycocotools",
    "scikit-learn",
    "torch",
    "torchvision",
    "transformers",
)


_NEXT_TO_NOTHING = 0.01


def versions() -> dict[str, str | None]:
    """Return the versions of Python and of the packages that figures depend on; None for one that is not installed."""
    return {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def write_texts(place: Path, report: dict[str, Any], lines: Iterable[str]) -> None:
    """Write report.json and report.md into a folder that exists."""
    text = json.dumps(report, indent=1, ensure_ascii=False)
    (place / "report.json").write_text(text + "\n", "utf-8", "surrogateescape")
    (place / "report.md").write_text("\n".join(lines) + "\n", "utf-8", "surrogateescape")


def plain(value: Any) -> Any:
    """Return plain JSON types; what is not finite is null."""
    if is_dataclass(value) and not isinstance(value, type):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def number(value: float | None) -> str:
    """Return a figure with three decimals; a dash where it is not defined."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.3f}"


def next_to_nothing(figure: str, value: float | None, specs: Iterable[str]) -> list[str]:
    """Return the lines that say plainly that a figure is near zero; none where it is not.

    Args:
        specs: of the models, of which the embedded ones know drawn objects only.
    """
    if value is None or not value < _NEXT_TO_NOTHING:
        return []
    drawn = "; the embedded models know drawn objects only" if any(spec.startswith("pocket") for spec in specs) else ""
    return [
        "",
        f"**{figure} is {value:.4f}: next to nothing is found here.** The models may not know these labels{drawn}.",
    ]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    """Yield the lines of a table."""
    for place, row in enumerate([head, *rows]):
        cells = (" ".join(cell.split()).replace("|", r"\|") for cell in row)
        yield f"| {' | '.join(cells)} |"
        if place == 0:
            yield "|---" * len(head) + "|"
