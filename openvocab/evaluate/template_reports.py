"""Reports of templates: the same images and labels under several prompt sets, in one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import openvocab
from openvocab.errors import CannotWrite
from openvocab.evaluate.bootstrap import DRAWS
from openvocab.evaluate.classification import Classification
from openvocab.evaluate.multi_label import MultiLabel
from openvocab.evaluate.report_text import plain, table, versions, write_texts
from openvocab.evaluate.reports import Context, summary
from openvocab.evaluate.scoring import Scored

__all__ = ["template_table", "write_template_report"]

Row = tuple[Context, Classification | MultiLabel]


def template_table(rows: Sequence[Row]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the head and the rows of the table: a prompt set each, with its templates and its main figures."""
    names = [name for name, _, _ in summary(rows[0][1])]
    made = []
    for context, figures in rows:
        cells = [value if interval == "-" else f"{value} ({interval})" for _, value, interval in summary(figures)]
        many = context.prompts.templates
        made.append((many[0] if len(many) == 1 else context.prompts.name, str(len(many)), *cells))
    return ("prompts", "templates", *names), made


def write_template_report(folder: str, scored: Scored, rows: Sequence[Row]) -> None:
    """Write report.json and report.md.

    Args:
        scored: what any of the prompt sets gave; names, labels and digest are the same for all.
        rows: each prompt set's context and figures.

    Raises:
        CannotWrite: the folder cannot be made or written.
    """
    try:
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        write_texts(place, _report(scored, rows), _markdown(scored, rows))
    except OSError as error:
        raise CannotWrite(f"{folder!r} cannot be written ({error.strerror}); give another folder") from error


def _report(scored: Scored, rows: Sequence[Row]) -> dict[str, Any]:
    first = rows[0][0]
    return {
        "task": "templates",
        "openvocab": openvocab.__version__,
        "versions": versions(),
        "model": asdict(first.model),
        "data": {
            "path": first.path,
            "format": first.format,
            "digest": scored.digest,
            "images": len(scored.names),
            "labels": list(scored.labels),
            "unread": [{"image": name, "error": error} for name, error in scored.unread],
        },
        "bootstrap": {"seed": first.seed, "draws": DRAWS, "interval": 0.95},
        "prompts": [
            {
                "name": context.prompts.name,
                "templates": list(context.prompts.templates),
                "digest": context.prompts.digest,
                "figures": plain(figures),
            }
            for context, figures in rows
        ],
    }


def _markdown(scored: Scored, rows: Sequence[Row]) -> list[str]:
    first = rows[0][0]
    lines = ["# Templates", "", f"{len(scored.names)} images, {len(scored.labels)} labels; `{first.model.spec}`."]
    if scored.unread:
        lines.append(f"**{len(scored.unread)} images could not be read** and are in no figure.")
    lines += ["", *table(*template_table(rows)), "", f"In brackets: bootstrap 95 % intervals, seed {first.seed}."]
    return [*lines, f"Data {first.path} ({first.format}), digest {scored.digest}; openvocab {openvocab.__version__}."]
