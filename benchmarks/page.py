"""Runs the benchmarks and writes their page for the documentation: tables, plots, and the machine.

    python -m benchmarks.page            # all of them, then docs/benchmarks.md
    python -m benchmarks.page --only engine,scale
    python -m benchmarks.page --write    # the page again, from what was measured before
    python -m benchmarks.page --quick    # the smallest sizes, to see that each runs; writes no page

Each benchmark writes a JSON file into build/benchmarks/, from which the page is made.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import table

__all__ = ["BENCHMARKS", "page"]

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "build" / "benchmarks", ROOT / "docs" / "benchmarks.md"

BENCHMARKS = {
    "first_tags": ["-m", "benchmarks.first_tags"],
    "engine": ["-m", "benchmarks.engine"],
    "chain_batches": ["-m", "benchmarks.chain_batches", "--owlv2"],
    "scale": ["-m", "benchmarks.scale"],
    "verification": ["-m", "benchmarks.verification"],
    "stages": ["-m", "benchmarks.stages", "--runs", "3"],
    "gpu": ["-m", "benchmarks.gpu"],
}
"""Name -> the command, in the order of the page; each takes --out FILE."""

_QUICK = {
    "first_tags": ["--runs", "1"],
    "engine": ["--images", "2000", "--runs", "1"],
    "chain_batches": ["--images", "2", "--runs", "1"],
    "scale": ["--paths", "2000", "--labels", "1000"],
    "verification": ["--runs", "1"],
    "stages": ["--runs", "1", "--only", "ViT-B/32, tags"],
    "gpu": ["--device", "cpu", "--tiny", "--batch", "2", "--runs", "1"],
}
"""Name -> what its command is given for the smallest sizes."""

_HEAD = """# Benchmarks

`make benchmarks` measures this page on the machine at hand and writes it. Compare ratios:
seconds are those of one machine. [Speed](speed.md) explains what is measured, and has what other machines gave.
"""


def page(results: Sequence[Mapping[str, Any]], folder: Path, note: str = "") -> str:
    """Return the page, and write the plots that it shows.

    Args:
        results: What benchmarks.report.report wrote, in order.
        folder: Of the page; plots go into benchmarks/ there.
        note: A sentence about how it was measured.
    """
    parts = [_HEAD, f"{note}\n"] if note else [_HEAD]
    for made in results:
        known = ", ".join(f"{name}: {value}" for name, value in made["machine"].items())
        figures = table(made["columns"], made["rows"])
        parts.append(f"## {made['title']}\n\n`{made['command']}` on {known}.\n\n{figures}\n")
        if made["plot"]:
            name = f"benchmarks/{made['command'].rpartition('.')[2].split()[0]}.svg"
            (folder / name).parent.mkdir(exist_ok=True)
            _plot(made, folder / name)
            parts.append(f"![{made['title']}: {made['plot']}]({name})\n")
    return "\n".join(parts)


def _plot(made: Mapping[str, Any], path: Path) -> None:
    """Draw a column as bars."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "openvocab"  # the same file for the same figures
    column = made["columns"].index(made["plot"])
    rows = [row for row in made["rows"] if row[column] is not None]
    names = [" ".join(str(cell) for cell in row[:column] if isinstance(cell, str)) for row in rows]
    figure, axes = pyplot.subplots(figsize=(7, 0.4 + 0.35 * len(rows)), layout="constrained")
    axes.bar_label(axes.barh(names, [row[column] for row in rows], color="#4c72b0"), fmt="%.3g", padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel(made["plot"])
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _measure(names: Sequence[str], results: Path, *, quick: bool) -> list[str]:
    """Run benchmarks, each writing NAME.json into results; return the names of those that failed."""
    failed = []
    for name in names:
        print(f"--- {name}", flush=True)
        began = time.perf_counter()
        more = _QUICK[name] if quick else []
        command = [sys.executable, *BENCHMARKS[name], *more, "--out", str(results / f"{name}.json")]
        if subprocess.run(command, cwd=ROOT).returncode:
            failed.append(name)
        print(f"--- {name} took {time.perf_counter() - began:.0f} s", flush=True)
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", help="names of benchmarks, with commas")
    parser.add_argument("--write", action="store_true", help="run nothing; write the page from what was measured")
    parser.add_argument("--quick", action="store_true", help="the smallest sizes, to see that each runs; no page")
    parser.add_argument("--note", default="", help="a sentence about how it was measured, for the page")
    args = parser.parse_args()
    names = args.only.split(",") if args.only else list(BENCHMARKS)
    with tempfile.TemporaryDirectory() as scratch:
        failed = _measure([] if args.write else names, Path(scratch) if args.quick else RESULTS, quick=args.quick)
    if failed:
        print(f"these failed: {', '.join(failed)}", file=sys.stderr)
    if args.quick:
        return int(bool(failed))
    files = [RESULTS / f"{name}.json" for name in BENCHMARKS]
    results = [json.loads(file.read_text("utf-8")) for file in files if file.exists()]
    PAGE.write_text(page(results, PAGE.parent, args.note), "utf-8")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
