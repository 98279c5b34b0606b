"""`tag --out` and `annotate`: what is said, and with which exit status."""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import openvocab
from openvocab.errors import CannotWrite
from openvocab.ui.cli.main import main
from tests.batch.test_workers import rows_in
from tests.helpers.stages import chain, save_images
from tests.helpers.workers import FakeLoader
from tests.pipeline.test_gate import chain as unsure

README = (Path(__file__).parents[3] / "README.md").read_text("utf-8")


@pytest.fixture(autouse=True)
def fake_stages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Stages without weights, and a current folder of its own."""
    monkeypatch.setattr(openvocab, "load", lambda *_, **__: chain(), raising=False)
    monkeypatch.chdir(tmp_path)


def tag(*options: str) -> int:
    return main(["tag", "p", "--labels", "a, b", *options])


def test_the_readme_commands_run_and_do_nothing_the_second_time(capsys: pytest.CaptureFixture[str]) -> None:
    save_images(Path("photos"), 9)
    section = README.partition("## Tag a million images")[2].partition("## ")[0]
    commands = re.findall(r"^openvocab (.*)$", section, re.MULTILINE)
    assert len(commands) >= 2
    for command in commands:
        words = shlex.split(command, comments=True)
        assert main(words) == 0
        before = sorted(Path(words[words.index("--out") + 1]).glob("part-*"))
        capsys.readouterr()
        assert main(words) == 0
        assert capsys.readouterr().out.startswith("nothing to do: 9 images have a row in ")
        assert sorted(Path(words[words.index("--out") + 1]).glob("part-*")) == before


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["tag", "p"], id="tag"),
        pytest.param(["tag", "p", "--out", "o"], id="tag --out"),
        pytest.param(["annotate", "p", "--out", "o"], id="annotate"),
    ],
)
def test_one_line_of_the_terminal_says_why_nothing_was_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    save_images(Path("p"), 1)
    monkeypatch.setattr(openvocab, "load", lambda *_, **__: unsure(tag_threshold=0.5, box_threshold=0.5))
    assert main([*arguments, "--labels", "a, b"]) == 0
    said = capsys.readouterr().err.splitlines()
    (why,) = [line for line in said if "00000.png" in line]
    assert "00000.png: no tag: best label 'a' scored 0.15," in why
    assert "no box: none of the 2 labels looked for scored over the box threshold 0.5" in why


def test_the_readme_s_words_on_frames_and_errors_hold(capsys: pytest.CaptureFixture[str]) -> None:
    section = README.partition("## Tag a million images")[2].partition("\n## ")[0]
    with pytest.raises(SystemExit):
        main(["tag", "--help"])
    there = set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out))
    assert set(re.findall(r"--[a-z][a-z-]+", section)) <= there
    save_images(Path("p"), 2)
    pages = [Image.new("RGB", (9, 9), color) for color in ("red", "lime", "blue")]
    pages[0].save("p/walk.gif", save_all=True, append_images=pages[1:])
    Path("p/x.png").write_bytes(b"")
    assert tag("--out", "run", "--frames", "all") == 1
    ids = [row.id for row in openvocab.read_run("run")]
    assert [name for name in ids if "#" in name] == [f"p/walk.gif#frame={number}" for number in range(3)]
    Image.new("RGB", (9, 9)).save("p/x.png")
    assert tag("--out", "run", "--frames", "all") == 1
    assert tag("--out", "run", "--frames", "all", "--retry-errors") == 0
    assert sorted((row.id, row.status) for row in openvocab.read_run("run")) == sorted((name, "ok") for name in ids)
    capsys.readouterr()
    command = ["export", "run", "--format", "yolo", "--out", "dataset", "--images", "copy"]
    assert main(command) == 0 and len(list(Path("dataset/images").iterdir())) == len(ids)


def test_json_is_one_summary(capsys: pytest.CaptureFixture[str]) -> None:
    save_images(Path("p"), 3)
    Path("p/x.png").write_bytes(b"")
    assert tag("--out", "run", "--json", "--features", "float16", "--workers", "2") == 1
    said = json.loads(capsys.readouterr().out)
    assert {name: said[name] for name in ("folder", "rows", "ok", "errors", "skipped", "stopped")} == {
        "folder": "run",
        "rows": 4,
        "ok": 3,
        "errors": {"empty": 1},
        "skipped": 0,
        "stopped": False,
    }


def test_complaints_end_where_they_stop_helping(capsys: pytest.CaptureFixture[str]) -> None:
    for path in save_images(Path("p"), 30):
        path.write_bytes(b"")
    assert tag("--out", "run") == 1
    err = capsys.readouterr().err
    assert err.count("is empty") == 20
    assert err.count("there are more errors") == 1


def test_progress_is_shown_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    save_images(Path("p"), 12)
    Path("p/x.png").write_bytes(b"")
    for stream, shown in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        tag("--out", f"run-{shown}")
        assert ("images/s" in stream.getvalue()) is shown


@pytest.mark.parametrize("options", [["--out", "run"], []])
def test_strict_stops_at_the_first(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    save_images(Path("p"), 5)[2].write_bytes(b"")
    assert tag("--strict", *options) == 1
    assert "00002.png' is empty" in capsys.readouterr().err
    assert not options or len(openvocab.read_run("run")) == 2


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        pytest.param(["--overwrite"], 2, "--overwrite needs a run folder; name one with --out", id="no run folder"),
        pytest.param(["--devices", "cpu,cpu"], 2, "name one with --out", id="devices and no run folder"),
        pytest.param(["--out", "run", "--engine", "ray"], 2, "needs --devices", id="no actors"),
        pytest.param(["--out", "run", "--devices", "cpu*x"], 2, "not a number of workers", id="devices"),
        pytest.param(["--out", "run", "--devices", "cpu", "--device", "cpu"], 2, "cannot be combined", id="both"),
        pytest.param(["--out", "run", "--frames", "some"], 2, "frames must be", id="frames"),
        pytest.param(["--out", "p/00000.png"], 2, "cannot be made a folder", id="a file"),
        pytest.param(["--out", "p"], 2, "could be overwritten", id="the images' own folder"),
        pytest.param(["--out", "run", "--workers", "0"], 2, "workers must be", id="no worker"),
        pytest.param(["https://example.org/a.png"], 2, "--allow-urls", id="web address"),
        pytest.param(["*.jpg"], 2, "no file matches", id="pattern"),
    ],
)
def test_what_cannot_be_used(arguments: list[str], status: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    save_images(Path("p"), 1)
    paths = ["p"] if arguments[0].startswith("--") else []
    assert main(["tag", *paths, *arguments, "--labels", "a, b"]) == status
    said = capsys.readouterr()
    assert words in said.err
    assert said.out == ""


def test_an_output_that_cannot_be_written_is_status_3(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise CannotWrite("run cannot be written; make room")

    save_images(Path("p"), 1)
    monkeypatch.setattr("openvocab.batch.run_folder.write_atomic", refuse)
    assert tag("--out", "run") == 3


def test_sources_are_read_from_the_command_line() -> None:
    save_images(Path("p"), 4)
    Path("list.txt").write_text("p/00001.png\np/00003.png\n", "utf-8")
    assert main(["tag", "list.txt", "p/*2.png", "--labels", "a, b", "--out", "run"]) == 0
    assert [row.id for row in openvocab.read_run("run")] == ["p/00001.png", "p/00003.png", "p/00002.png"]


def test_a_run_folder_within_the_images_is_not_read(capsys: pytest.CaptureFixture[str]) -> None:
    save_images(Path("p"), 2)
    command = ["annotate", "p", "--labels", "a, b", "--out", "p/run"]
    assert main(command) == 0
    assert main(command) == 0
    assert [row.id for row in openvocab.read_run("p/run")] == ["p/00000.png", "p/00001.png"]


def test_nothing_to_do_loads_no_model(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    save_images(Path("p"), 4)
    Path("p/x.png").write_bytes(b"")
    assert tag("--out", "run") == 1

    def refuse(*_: Any, **__: Any) -> None:
        pytest.fail("a model was loaded")

    capsys.readouterr()
    monkeypatch.setattr(openvocab, "load", refuse)
    assert tag("--out", "run", "--batch-size", "2", "--workers", "1") == 1
    said = capsys.readouterr().out
    assert said == "nothing to do: 5 images have a row in run\n1 of the rows from before is an error\n"
    assert tag("--out", "run", "--json") == 1
    assert json.loads(capsys.readouterr().out)["skipped"] == 5


def test_errors_are_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    save_images(Path("p"), 4)[2].write_bytes(b"")
    assert tag("--out", "run") == 1
    save_images(Path("p"), 4)
    assert tag("--out", "run") == 1
    assert tag("--out", "run", "--retry-errors") == 0
    assert "1 row written to run, 3 were there before; 0 errors" in capsys.readouterr().out
    assert len(openvocab.read_run("run")) == 4


@pytest.mark.parametrize(("frames", "rows"), [("first", 1), ("all", 3), ("2", 2)])
@pytest.mark.parametrize("command", ["tag", "annotate"])
def test_frames_are_rows(command: str, frames: str, rows: int) -> None:
    made = [Image.new("RGB", (8, 8), (0, 80 * number, 0)) for number in range(3)]
    made[0].save("a.gif", save_all=True, append_images=made[1:])
    assert main([command, "a.gif", "--labels", "a, b", "--out", "run", "--frames", frames]) == 0
    assert len(openvocab.read_run("run")) == rows


def test_tags_are_printed_from_the_cache(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    save_images(Path("p"), 5)
    assert tag("--cache", "cache") == 0
    first = capsys.readouterr().out
    pipe = chain()
    monkeypatch.setattr(openvocab, "load", lambda *_, **__: pipe)
    assert tag("--cache", "cache") == 0
    assert capsys.readouterr().out == first and first.count("\n") == 5
    assert pipe.tagger is not None and pipe.tagger.calls == []  # type: ignore[attr-defined]


def test_devices_are_worker_processes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    save_images(Path("p"), 20)
    monkeypatch.setattr(openvocab, "Loader", lambda *_, **__: FakeLoader(settings={}))
    assert tag("--out", "alone") == 0
    assert tag("--out", "run", "--devices", "cpu*2") == 0
    assert "20 rows written to run" in capsys.readouterr().out
    assert rows_in(Path("run")) == rows_in(Path("alone"))
    assert tag("--out", "run", "--devices", "cpu*2") == 0
    assert "nothing to do: 20 images" in capsys.readouterr().out


def test_changed_images_are_told_and_answered_again_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    save_images(Path("p"), 3)
    assert tag("--out", "run") == 0
    Image.new("RGB", (9, 9), "white").save("p/00001.png")
    capsys.readouterr()
    assert tag("--out", "run") == 0
    assert "1 replaced (--on-change redo answers them again)" in capsys.readouterr().out
    assert tag("--out", "run", "--on-change", "refuse") == 2
    assert "have changed since they were answered (1 replaced)" in capsys.readouterr().err
    assert tag("--out", "run", "--on-change", "redo") == 0
    assert {row.id: row.width for row in openvocab.read_run("run")}["p/00001.png"] == 9
