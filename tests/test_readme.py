"""The documents' examples are true: commands are understood, and the README's Python runs as it stands.

Where an example names what no test has (published checkpoints, CUDA devices), a small stand-in takes its place.
"""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import openvocab
from openvocab.ui.options import parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
SYNOPSIS = README.partition("## On the command line")[2].split("```")[1].strip()
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PYTHON = {
    heading: block
    for section in re.split(r"\n## ", README)
    for heading in [section.partition("\n")[0]]
    for block in ["\n".join(re.findall(r"```python\n(.*?)```", section, re.DOTALL))]
    if block
}
"""Heading -> the code below it."""


def _commands(text: str) -> list[str]:
    """Return the commands of a document: lines of its blocks, and those in its sentences that are named in full."""
    text = text.replace(SYNOPSIS, "")
    lines = [line for block in text.split("```")[1::2] for line in block.splitlines() if line.startswith("openvocab ")]
    prose = "".join(text.split("```")[0::2])
    return [*lines, *(code for code in re.findall(r"`(openvocab \w+ [^`\n]*)`", prose) if " -" not in code)]


COMMANDS = [
    pytest.param(line, id=f"{path.name}: {line}") for path in DOCUMENTS for line in _commands(path.read_text("utf-8"))
]


def _replaced(code: str, stand_ins: dict[str, str]) -> str:
    """Return code with stand-ins for what it names, each of which must be there."""
    for named, other in stand_ins.items():
        assert named in code
        code = code.replace(named, other)
    return code


@pytest.mark.parametrize("synopsis", re.split(r"\n(?=openvocab )", SYNOPSIS), ids=lambda text: text.split(" [")[0][:40])
def test_the_synopsis_names_options_that_there_are(synopsis: str) -> None:
    command: Any = parser()
    for word in synopsis.split()[1:]:
        below = [each for each in command._actions if isinstance(each, argparse._SubParsersAction)]
        if not below or word not in below[0].choices:
            break
        command = below[0].choices[word]
    known = {name for action in command._actions for name in action.option_strings}
    assert set(re.findall(r"--[a-z-]+", synopsis)) <= known


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_is_understood(line: str) -> None:
    plain = re.sub(r"\[(\w+)\.\.\.\]|(\w)\.\.\.", r"\1\2", line.replace(" COMMAND", " doctor"))
    parser().parse_args(shlex.split(plain, comments=True)[1:])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with the files that examples name."""
    monkeypatch.chdir(tmp_path)
    scene = openvocab.example_scenes()[0]
    for name in ("scene.png", "pictures/a.png", "photos/b.png"):
        Path(name).parent.mkdir(exist_ok=True)
        shutil.copy(scene.path, name)
    return tmp_path


def test_every_section_with_code_is_run_by_a_test() -> None:
    assert list(PYTHON) == [
        "In Python",
        "Tag a million pictures",
        "Web demo",  # tests/ui/web/test_examples.py
        "Formats of other tools",
        "How good is a model on your pictures?",
        "Other checkpoints",
    ]


def test_the_code_in_python_and_that_of_runs_and_formats_runs(here: Path) -> None:
    known: dict[str, Any] = {"__name__": "__main__"}
    exec(PYTHON["In Python"], known)
    assert Path("out.png").is_file()
    assert known["result"].labels == ("apple", "guitar", "dog")
    assert known["scores"].shape == (1, 3)
    stand_ins = {'Loader("base")': 'Loader("pocket")', '("cuda:0", "cuda:1")': '("cpu",)'}
    process, workers = _replaced(PYTHON["Tag a million pictures"], stand_ins).split("\nif __name__")
    exec(process, known)
    assert known["summary"].ok == 1 and known["run"].dataset.count_rows() == 1
    exec(PYTHON["Formats of other tools"], known)
    assert Path("coco.json").is_file() and list(Path("dataset").rglob("*.png"))
    shutil.rmtree("run")
    exec("if __name__" + workers, known)
    assert [row.status for row in openvocab.read_run("run")] == ["ok"]


def test_the_code_of_figures_runs() -> None:
    rows = np.eye(3, 8, dtype=np.float32)
    known: dict[str, Any] = {"logits": rows[:, :2], "truth": np.array([0, 1, 1]), "labels": ["cat", "dog"]}
    known |= {"picture_rows": rows, "text_rows": rows, "picture_of_text": np.arange(3)}
    exec(PYTHON["How good is a model on your pictures?"], known)
    top = known["figures"].top1
    assert top.low <= top.value <= top.high and top.value == pytest.approx(2 / 3)
    assert known["recall"] is not None


def test_the_code_of_other_checkpoints_runs(
    here: Path, clip_folders: dict[str, Path], owlv2_folder: Path, tmp_path: Path
) -> None:
    from tests.tiny import sam

    stand_ins = {
        "open_clip:ViT-B-32/laion2b_s34b_b79k": f"open_clip:local-dir:{clip_folders['softmax']}",
        "owlv2:google/owlv2-base-patch16-ensemble": f"owlv2:{owlv2_folder}",
        "sam:vit_b@sam_vit_b_01ec64.pth": f"sam:{sam.write(tmp_path / 'sam')}",
    }
    known: dict[str, Any] = {"openvocab": openvocab}
    exec(_replaced(PYTHON["Other checkpoints"], stand_ins), known)
    assert known["pipe"]("scene.png", ["cat", "dog"]).labels == ("cat", "dog")
