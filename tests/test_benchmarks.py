"""The benchmarks run, on tiny models where they need some, and their page shows what they wrote."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import chain_batches, engine, gpu, page, report
from openvocab.models.device import to_device


def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu"])
    assert gpu.main() == 0
    assert capsys.readouterr().out.count("\n") == 1


def test_the_gpu_benchmark_checks_every_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = ["--device", "cpu", "--tiny", "--batch", "2", "--runs", "1", "--out", str(tmp_path / "gpu.json")]
    monkeypatch.setattr(sys, "argv", ["gpu", *given])
    assert gpu.main() == 0
    made = json.loads((tmp_path / "gpu.json").read_text("utf-8"))
    near = {(what, how): agreement for what, how, _, _, agreement in made["rows"]}
    assert {what for what, _ in near} == {"tagger", "detector", "segmenter, 10 boxes", "chain"}
    for what in ("tagger", "detector", "segmenter, 10 boxes"):
        assert near[what, "float32"] > 0.99
        assert near[what, "bfloat16"] > 0.8


def test_the_engine_and_the_chain_are_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert engine.rate(200, 10, 16, True, 2) > 0
    monkeypatch.setattr(sys, "argv", ["chain_batches", "--images", "2", "--runs", "1"])
    chain_batches.main()
    assert "embedded detector, 2 images" in capsys.readouterr().out


def test_the_page_has_a_table_and_a_plot_of_each_result(tmp_path: Path) -> None:
    for name, plot in (("one", "ratio"), ("two", "")):
        rows: list[list[Any]] = [["first", 1234, 2.5], ["second", 5, None]]
        command = f"python -m benchmarks.{name}"
        report.report(tmp_path / f"{name}.json", f"Title {name}", command, ["what", "count", "ratio"], rows, plot)
    results = [json.loads((tmp_path / f"{name}.json").read_text("utf-8")) for name in ("one", "two")]
    made = page.page(results, tmp_path)
    assert "| first | 1,234 | 2.5 |" in made
    assert "| second | 5 | - |" in made
    assert "cores" in made
    assert made.count("![") == 1
    assert "<svg" in (tmp_path / "benchmarks" / "one.svg").read_text("utf-8")


@pytest.mark.long
def test_every_benchmark_of_the_page_runs_at_its_smallest_size(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["page", "--quick"])
    assert page.main() == 0
    assert capfd.readouterr().out.count(" took ") == len(page.BENCHMARKS)


def test_a_benchmark_that_fails_is_named_and_the_others_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    report.report(tmp_path / "made.json", "Fine", "python -m benchmarks.fine", ["what", "ratio"], [["first", 2.5]])
    copy = f"import shutil, sys; shutil.copy({str(tmp_path / 'made.json')!r}, sys.argv[2])"
    commands = {"broken": ["-c", "raise SystemExit(3)"], "fine": ["-c", copy]}
    monkeypatch.setattr(page, "BENCHMARKS", commands)
    monkeypatch.setattr(page, "RESULTS", tmp_path)
    monkeypatch.setattr(page, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(sys, "argv", ["page"])
    assert page.main() == 1
    assert capfd.readouterr().err == "these failed: broken\n"
    assert "| first | 2.5 |" in (tmp_path / "page.md").read_text("utf-8")


def test_copies_to_cuda_are_pinned_and_do_not_wait() -> None:
    class Recorded:
        device = torch.device("cpu")

        def __init__(self) -> None:
            self.said: list[Any] = []

        def pin_memory(self) -> Recorded:
            self.said.append("pinned")
            return self

        def to(self, device: Any, **options: Any) -> Recorded:
            self.said.append((str(device), options))
            return self

    made: Any = Recorded()
    to_device(made, "cuda:0")
    assert made.said == ["pinned", ("cuda:0", {"non_blocking": True})]
