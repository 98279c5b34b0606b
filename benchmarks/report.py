"""Prints a benchmark's table and writes it, with the machine, as JSON for the page in the documentation."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["add_out", "machine", "report", "table"]

Cell = str | int | float | None


def add_out(parser: argparse.ArgumentParser) -> None:
    """Add --out, the JSON file."""
    parser.add_argument("--out", type=Path, help="also write the table to this JSON file; see make benchmarks")


def machine() -> dict[str, Any]:
    """Return what a figure depends on: the processor, its cores, the precision that it is fast in, and torch."""
    import torch

    from openvocab.models.device import cpu_has_amx

    known = {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "AMX": cpu_has_amx(),
        "torch": torch.__version__,
        "threads of torch": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        known["device"] = torch.cuda.get_device_name()
    return known


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Return a table in Markdown."""
    lines = [columns, ["---"] * len(columns), *([_text(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(cell: Cell) -> str:
    if cell is None:
        return "-"
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:.3g}" if isinstance(cell, float) else cell


def report(
    out: Path | None, title: str, command: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], plot: str = ""
) -> None:
    """Print a table, and write it to a file if one is given.

    Args:
        out: The JSON file, or None.
        title: Of the table.
        command: What measures it.
        columns: The names of the columns.
        rows: One list of cells a line.
        plot: The column to draw as bars; none where empty.
    """
    print(f"{title}\n\n{table(columns, rows)}")
    if out is not None:
        made = {"title": title, "command": command, "machine": machine(), "columns": list(columns), "plot": plot}
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps({**made, "rows": [list(row) for row in rows]}, indent=1) + "\n", encoding="utf-8")
