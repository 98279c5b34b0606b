"""A library says nothing: what it loads neither writes to stderr nor changes the logging of the process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import openvocab
from openvocab.pipeline import quiet

CODE = """
import sys
{before}
import logging
import openvocab
scene = openvocab.example_scenes()[0]
pipe = openvocab.load("pocket")
result = pipe(scene.path, "tent, piano")
result.draw()
len(result.to_supervision())
len(list(pipe.run([scene.path], ["tent"])))
from transformers.utils.logging import is_progress_bar_enabled
print(logging.root.handlers, logging.root.level == logging.WARNING, is_progress_bar_enabled())
"""

WITHOUT_OPENCV = "sys.modules['cv2'] = None"


def run(before: str) -> tuple[int, str, str]:
    own = {name: value for name, value in os.environ.items() if name != "HF_HUB_DISABLE_PROGRESS_BARS"}
    done = subprocess.run([sys.executable, "-c", CODE.format(before=before)], capture_output=True, text=True, env=own)
    return done.returncode, done.stdout.strip(), done.stderr


def test_loading_and_running_pocket_says_nothing_also_without_opencv() -> None:
    assert run(WITHOUT_OPENCV) == (0, "[] True True", "")


@pytest.mark.parametrize(
    ("shown", "told"),
    [
        pytest.param(False, (), id="a library"),
        pytest.param(
            True,
            ("tokenizing labels", "encoding labels for the tagger", "encoding labels for the detector", "/600"),
            id="where progress is shown",
        ),
    ],
)
def test_encoding_many_labels_shows_progress_only_where_it_is_asked_for(
    shown: bool, told: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pipe = openvocab.load("pocket", device="cpu", dtype="float32")
    monkeypatch.setattr(quiet, "_SHOWN", shown)
    monkeypatch.setattr(quiet, "_PATIENCE", 0)
    capfd.readouterr()
    pipe.vocabulary([f"label {number}" for number in range(600)])
    said = capfd.readouterr().err
    assert all(words in said for words in told) and bool(said) == shown
