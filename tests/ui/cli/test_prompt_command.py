"""`openvocab prompt` writes what `annotate --prompt` reads, and the answer is that of Python, run and record."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import openvocab
from openvocab import read_prompt
from openvocab.ui.cli.main import main

SCENE = openvocab.example_scenes()[0]
BOX, OTHER = (",".join(f"{edge:g}" for edge in box) for box in SCENE.xyxy[:2])
MASK = np.zeros((256, 256), np.bool_)
MASK[100:120, 60:90] = True


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A prompt file with words, exemplars and negatives."""
    Image.fromarray(MASK).save(tmp_path / "mask.png")
    path = tmp_path / "prompt.json"
    for given in (
        ["--label", SCENE.labels[0], "--exemplar", f"{SCENE.path}:{BOX}", "--exemplar", f"{SCENE.path}:60,70"],
        ["--label", "part 17", "--no-words", "--exemplar", f"{SCENE.path}@{tmp_path / 'mask.png'}"],
        ["--label", "crab", "--negative"],
        ["--exemplar", f"{SCENE.path}:{OTHER}", "--negative", "--label", "not this"],
        ["--exemplar", f"{SCENE.path}:{BOX}"],
    ):
        assert main(["prompt", "add", str(path), *given]) == 0
    return path


def test_add_writes_words_exemplars_and_negatives(made: Path) -> None:
    prompt = read_prompt(made)
    assert (prompt.labels, prompt.unnamed) == ((SCENE.labels[0],), ("part 17", "object"))
    assert [bool(each.points) for each in prompt.exemplars] == [False, True, False, False]
    assert prompt.exemplars[2].mask is not None
    assert prompt.exemplars[2].mask.sum() == MASK.sum()
    assert (prompt.negative_labels, [each.label for each in prompt.negative_exemplars]) == (("crab",), ["not this"])


def test_show_counts_and_remove_takes_out(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["prompt", "show", str(made), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["digest"] == read_prompt(made).digest
    assert shown["labels"][0] == {"label": SCENE.labels[0], "meant": True, "words": True, "exemplars": 2}
    assert shown["labels"][-1] == {"label": "not this", "meant": False, "words": False, "exemplars": 1}
    assert main(["prompt", "remove", str(made), "part 17"]) == 0
    left = [row for row in shown["labels"] if row["label"] != "part 17"]
    counts = f"{len(left)} labels, {sum(row['exemplars'] for row in left)} exemplars"
    assert capsys.readouterr().out == f"{made}: {counts}\n"
    assert main(["prompt", "show", str(made)]) == 0
    assert "part 17" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "says"),
    [
        pytest.param(["add", "p.json"], "there is nothing to add; give --label WORD", id="nothing"),
        pytest.param(["add", "p.json", "--exemplar", "a.png"], "'a.png' has no place; write IMAGE:LEFT", id="no place"),
        pytest.param(["add", "p.json", "--exemplar", "a.png:1,2,3"], "has no place", id="three numbers"),
        pytest.param(["add", "p.json", "--exemplar", "none.png:1,2"], "none.png.* does not exist", id="no image"),
        pytest.param(["add", "p.json", "--exemplar", f"{SCENE.path}:9,9,9,9"], "holds no pixel", id="empty box"),
        pytest.param(["add", "p.json", "--label", " "], "label 1 is blank", id="blank label"),
        pytest.param(["add", "p.json", "--label", "a", "--no-words"], "--no-words is for a label with", id="no words"),
        pytest.param(["show", "none.json"], "'none.json' does not exist", id="no file"),
    ],
)
def test_what_cannot_be_added_is_refused_and_no_file_is_left(
    given: Sequence[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["prompt", *given]) == 2
    assert re.search(says, capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("given", [[], ["--labels", "cat", "--prompt", "p.json"]], ids=["none", "both"])
def test_annotate_takes_labels_or_a_prompt(
    given: Sequence[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["annotate", str(SCENE.path), "--out", str(tmp_path / "run"), *given]) == 2
    assert "give either --labels or --prompt" in capsys.readouterr().err


def test_a_saved_prompt_answers_alike_in_python_on_the_command_line_and_in_a_run(made: Path, tmp_path: Path) -> None:
    prompt = read_prompt(made)
    pipe = openvocab.load("pocket", device="cpu")
    expected = pipe(SCENE.path, prompt)
    assert len(expected) > 0
    command = ["annotate", str(SCENE.path), "--prompt", str(made), "--device", "cpu", "--no-images"]
    assert main([*command, "--out", str(tmp_path / "command")]) == 0
    pipe.run_to(tmp_path / "python", SCENE.path, prompt)
    for folder in ("command", "python"):
        run = openvocab.read_run(tmp_path / folder)
        (row,) = run
        assert row.detections is not None
        assert row.detections.labels == expected.detections.labels
        np.testing.assert_allclose(row.detections.xyxy, expected.detections.xyxy, atol=1e-3)
        np.testing.assert_allclose(row.detections.scores, expected.detections.scores, atol=1e-5)
        assert run.record["prompt"] == expected.run.prompt == prompt.digest
        assert tuple(run.labels) == prompt.classes


def test_another_prompt_does_not_resume_a_run(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["annotate", str(SCENE.path), "--prompt", str(made), "--no-images", "--out", str(tmp_path / "run")]
    assert main(command) == 0
    capsys.readouterr()
    assert main(command) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert main(["prompt", "remove", str(made), "not this"]) == 0
    assert main(command) == 2
    assert "holds another run (prompt: " in capsys.readouterr().err
