"""The canvas's ES modules in node's test runner."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import openvocab

FOLDER = Path(__file__).parent / "canvas"
MODULES = Path(openvocab.__file__).parent / "ui" / "web" / "canvas"


def test_the_modules_pass_their_own_tests(tmp_path):
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node")
    masks = [np.zeros((5, 7), bool), np.ones((5, 7), bool), np.random.default_rng(3).random((61, 47)) < 0.4]
    rows = [
        {**openvocab.encode_mask(mask), "counts": openvocab.encode_mask(mask)["counts"].decode(), "bits": mask.ravel()}
        for mask in masks
    ]
    text = ",".join(
        f'{{"size": [{row["size"][0]}, {row["size"][1]}], "counts": {_quoted(row["counts"])},'
        f' "bits": [{",".join(str(int(bit)) for bit in row["bits"])}]}}'
        for row in rows
    )
    (tmp_path / "masks.json").write_text(f"[{text}]")
    done = subprocess.run(
        [node, "--test", *sorted(map(str, FOLDER.glob("*.test.mjs")))],
        capture_output=True,
        text=True,
        env={"CANVAS": str(MODULES), "MASKS": str(tmp_path / "masks.json"), "PATH": str(Path(node).parent)},
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# pass 0" not in done.stdout


def _quoted(text: str) -> str:
    import json

    return json.dumps(text)
