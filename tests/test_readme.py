"""The README's examples are true: commands are understood, and the code of its first sections runs as it stands."""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

import openvocab
from openvocab.ui.cli.options import parser

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
SYNOPSIS = README.partition("## On the command line")[2].split("```")[1].strip()
COMMANDS = [
    line
    for block in README.split("```")[1::2]
    for line in block.splitlines()
    if line.startswith("openvocab ") and not re.search(r"\[|\||\.\.\.", line)
]
BLOCKS = re.findall(r"```python\n(.*?)```", README.partition("## In Python")[2].partition("\n## ")[0], re.DOTALL)


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
    parser().parse_args(shlex.split(line, comments=True)[1:])


def test_the_code_in_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scene = openvocab.example_scenes()[0]
    Path("images").mkdir()
    for name in ("scene.png", "images/a.png"):
        shutil.copy(scene.path, name)
    known: dict[str, Any] = {}
    for block in BLOCKS:
        exec(block, known)
    assert len(BLOCKS) == 2 and Path("out.png").is_file()
    assert known["result"].labels == ("apple", "guitar", "dog")
    assert known["scores"].shape == (1, 3)
