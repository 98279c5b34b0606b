"""What the calls of a pipeline take, and what they refuse by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import openvocab
from openvocab import BadInput, Pipeline
from tests.pipeline.stubs import LABELS, chain, save_pictures

IMAGE = np.full((8, 8, 3), 90, np.uint8)

CALLS: dict[str, Callable[[Pipeline, Path, dict[str, Any]], Any]] = {
    "pipe": lambda pipe, here, more: pipe(IMAGE, LABELS, **more),
    "run": lambda pipe, here, more: list(pipe.run(here / "p", LABELS, **more)),
    "run_to": lambda pipe, here, more: pipe.run_to(here / "run", here / "p", LABELS, **more),
    "explore": lambda pipe, here, more: list(pipe.explore(IMAGE, LABELS, **more)),
    "load": lambda pipe, here, more: openvocab.load("pocket", **more),
    "workers": lambda pipe, here, more: openvocab.Workers(openvocab.Loader("pocket"), ("cpu",)).run_to(
        here / "run", here / "p", LABELS, **more
    ),
}


@pytest.mark.parametrize(
    ("call", "given", "says"),
    [
        pytest.param(
            "pipe", "box_treshold", "pipe.. has no option .* mean 'box_threshold'.*options: template;", id="call"
        ),
        pytest.param("pipe", "embeddings", "options: template; settings: batch_size, box_threshold", id="call, run's"),
        pytest.param(
            "run", "on_eror", "run.. has no .* mean 'on_error'.*options: template, on_error.*settings", id="run"
        ),
        pytest.param(
            "run_to", "embedings", "run_to.. has no .* mean 'embeddings'.*retry_errors.*settings", id="run_to"
        ),
        pytest.param("explore", "flor", "explore.. has no .* mean 'floor'.*options: template, floor", id="explore"),
        pytest.param("load", "dtipe", "load.. has no .* mean 'dtype'.*tags_alone; settings: batch_size", id="load"),
        pytest.param("workers", "embedings", "run_to.. has no .* mean 'embeddings'", id="workers"),
    ],
)
def test_a_wrong_name_is_met_with_the_right_ones_of_that_call(call: str, given: str, says: str, tmp_path: Path) -> None:
    save_pictures(tmp_path / "p", 2)
    with pytest.raises(BadInput, match=says):
        CALLS[call](chain(), tmp_path, {given: 1})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("call", ["pipe", "run", "run_to", "explore"])
def test_a_template_for_encoded_labels_is_refused(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_pictures(tmp_path / "p", 2)
    pipe = chain()
    known = pipe.vocabulary(LABELS, "a {label}")
    monkeypatch.setitem(globals(), "LABELS", known)
    with pytest.raises(BadInput, match=r"encoded already; give the template to vocabulary\(\)"):
        CALLS[call](pipe, tmp_path, {"template": "a drawing of a {label}"})
    CALLS[call](pipe, tmp_path, {})
