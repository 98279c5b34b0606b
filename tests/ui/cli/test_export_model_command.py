"""`openvocab export-model` on the embedded models: what it prints loads and answers as the preset does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import openvocab
from openvocab.ui.cli.main import main
from tests.tiny.exported import need

STAGES = ("tagger", "detector", "segmenter")


def test_the_chain_of_an_exported_preset_answers_as_the_preset(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    need("openvino")
    out = tmp_path / "exported"
    assert main(["export-model", "pocket", "--out", str(out), "--format", "openvino", "--labels", "tent, dog"]) == 0
    said = capsys.readouterr().out
    options = " ".join(f"--{stage} openvino:{out}" for stage in STAGES)
    assert said.endswith(f"load it with {options}\n") and "box IoU 1.0000" in said
    scene = openvocab.example_scenes()[0]
    torch = openvocab.load("pocket", device="cpu", dtype="float32")
    loaders: Any = (openvocab.load_tagger, openvocab.load_detector, openvocab.load_segmenter)
    stages = [load(f"openvino:{out}", "cpu", "float32") for load in loaders]
    tagger, detector, segmenter = stages
    exported = openvocab.Pipeline(tagger, replace(detector, windows=1), segmenter, torch.settings)
    own: Any = torch.detector
    alone = replace(own, windows=1)  # of two windows that see an object, rounding decides
    torch = openvocab.Pipeline(torch.tagger, alone, torch.segmenter, torch.settings)
    expected, found = (pipe(scene.path, ["tent", "umbrella", "light bulb", "dog"]) for pipe in (torch, exported))
    assert len(expected.detections or ()) > 0
    assert [tag.label for tag in found.tags] == [tag.label for tag in expected.tags]
    one: Any = expected.detections
    other: Any = found.detections
    assert one.labels == other.labels
    np.testing.assert_allclose(other.scores, one.scores, atol=1e-3)
    np.testing.assert_allclose(other.xyxy, one.xyxy, atol=0.1)
    assert (one.masks != other.masks).mean() < 1e-3
    assert found.run.settings == expected.run.settings


def test_a_stage_that_is_there_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "detector").mkdir()
    assert main(["export-model", "pocket", "--out", str(tmp_path), "--format", "onnx"]) == 2
    assert "detector exists; remove it or name another folder" in capsys.readouterr().err


def test_a_negative_loss_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export-model", "pocket", "--out", "o", "--format", "onnx", "--max-loss", "-1"]) == 2
    assert "--max-loss is 0 or more, got -1" in capsys.readouterr().err
