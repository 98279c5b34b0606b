"""Every notebook runs from its first cell to its last, in an empty folder."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from openvocab.ui.cli.main import main

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
HOLDS: dict[str, str] = {
    "1-tag-a-folder": "summary.ok == 8 and summary.errors == {'not_an_image': 1} and result.presence['crab'] < 0.5",
    "2-prompts-and-exemplars": "'umbrella' in without.detections.labels and masks.shape == (3, 256, 256)",
    "3-how-good-is-it": "Path('report/report.md').is_file() and Path('report-presence/report.md').is_file()",
    "4-train-a-student": "agreement and min(agreement.values()) > 0.5 and list(Path('dataset').rglob('*.png'))",
}
"""Notebook -> what holds after its last cell."""


def cells(path: Path) -> list[tuple[str, str]]:
    """Kind and text of each cell."""
    return [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(path.read_text("utf-8"))["cells"]]


def run(text: str, known: dict[str, Any]) -> None:
    """Run a cell as Jupyter does: a line that begins with "!" is a command."""
    if not text.startswith("!"):
        exec(compile(text, "<cell>", "exec"), known)
        return
    for line in text.splitlines():
        program, *words = shlex.split(line.removeprefix("!"))
        assert program == "openvocab" and main(words) in (0, 1), line


def test_every_notebook_has_something_to_check() -> None:
    assert sorted(HOLDS) == [path.stem for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    known: dict[str, Any] = {"__name__": "__main__"}
    for kind, text in cells(path):
        if kind == "code":
            run(text, known)
    assert eval(HOLDS[path.stem], known)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(path: Path) -> None:
    book = json.loads(path.read_text("utf-8"))
    assert not [cell for cell in book["cells"] if cell.get("outputs") or cell.get("execution_count")]
