"""`openvocab evaluate retrieve` and `reproduce`: what they print, write and refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import openvocab
from openvocab.ui.cli.main import main
from tests.tiny.open_clip import write

RECIPE = """
[data.things]
name = "two things"
kind = "imagefolder"
images = {images}
prompts = "plain"
get = "https://example.org/things.tar"
[source.paper]
url = "https://example.org/paper"
[recipe.tiny]
spec = "{spec}"
data = "things"
source = "paper"
top1 = {top1}
tolerance = {tolerance}
"""


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"open_clip:{write(tmp_path_factory.mktemp('clip') / 'model')}"


@pytest.fixture
def folder(tmp_path: Path, make_image: Any) -> Path:
    for row, name in enumerate(("cat", "dog")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(3):
            Image.fromarray(make_image(30, 40, 10 * row + number)).save(tmp_path / "data" / name / f"{number}.png")
    return tmp_path / "data"


def test_retrieve(spec, folder, tmp_path, capsys):
    rows = [f"{file},an image of {file.parent.name} {file.stem}" for file in sorted(folder.rglob("*.png"))]
    (tmp_path / "list.csv").write_text("\n".join(["path,caption", *rows, f"{folder}/cat/0.png,again"]), "utf-8")
    given = ["--data", str(tmp_path / "list.csv"), "--tagger", spec, "--device", "cpu", "--dtype", "float32"]
    for out in ("one", "two"):
        assert main(["evaluate", "retrieve", *given, "--out", str(tmp_path / out)]) == 0
    printed = capsys.readouterr().out
    assert "image to text, recall at 1 " in printed and "6 images, 7 captions; report in" in printed
    report = json.loads((tmp_path / "one" / "report.json").read_text("utf-8"))
    assert report["metrics"]["text_to_image"]["10"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    for name in ("report.json", "report.md"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_recipes_are_listed_with_what_they_need(capsys):
    assert main(["evaluate", "reproduce"]) == 0
    assert "vit-b-32-laion2b-cifar10" in capsys.readouterr().out
    assert main(["evaluate", "reproduce", "vit-b-32-laion2b-cifar10"]) == 0
    printed = capsys.readouterr().out
    assert "top-1 0.9358, from https://github.com/mlfoundations/open_clip" in printed
    assert "from https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz" in printed and "--data ROOT" in printed


def test_recipes_of_one_image_are_listed_with_what_they_need(capsys):
    assert main(["evaluate", "reproduce"]) == 0
    assert "owlv2-base-cats" in capsys.readouterr().out
    assert main(["evaluate", "reproduce", "grounding-dino-tiny-cats"]) == 0
    printed = capsys.readouterr().out
    assert "3 scores of one image, from https://github.com/huggingface/transformers/blob/0297569bcb42" in printed
    assert "the image http://images.cocodataset.org/val2017/000000039769.jpg" in printed and "hence +max" in printed


def test_benchmarks_are_listed_with_their_sources(capsys):
    assert main(["evaluate", "reproduce", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in listed["benchmarks"]}
    assert rows["owlv2-saco-gold"]["metrics"] == {"cgF1": 17.27, "IL_MCC": 0.46, "pmF1": 36.8}
    assert all(row["source"].startswith("https://") and row["metrics"] for row in rows.values())
    assert len({row["name"] for row in listed["recipes"]} | rows.keys()) == len(listed["recipes"]) + len(rows)
    assert main(["evaluate", "reproduce", "sam3-saco-gold"]) == 0
    printed = capsys.readouterr().out
    assert "cgF1 54.06, IL_MCC 0.82, pmF1 66.11, from https://github.com/facebookresearch/sam3" in printed
    assert "evaluate chain --format saco" in printed


EXAMPLE = """
[image.scene]
url = "https://example.org/0.png"
[source.paper]
url = "https://example.org/paper"
[example.scene]
stage = "tagger"
spec = "{spec}"
image = "scene"
source = "paper"
labels = ["cat", "dog"]
scores = [{{ label = "cat", score = {score} }}, {{ label = "dog", score = 0.5 }}]
tolerance = {tolerance}
"""


@pytest.mark.parametrize(
    ("score", "tolerance", "status", "says"),
    [
        pytest.param(0.5, 0.5, 0, "pass: scene, all 2 scores hold; tolerance 0.5", id="pass"),
        pytest.param(0.0, 1e-9, 1, "fail: scene, 2 of 2 scores differ", id="fail"),
    ],
)
def test_an_example_image_to_a_verdict(score, tolerance, status, says, spec, folder, tmp_path, capsys):
    (tmp_path / "own.toml").write_text(EXAMPLE.format(spec=spec, score=score, tolerance=tolerance), "utf-8")
    given = ["scene", "--recipes", str(tmp_path / "own.toml"), "--data", str(folder / "cat"), "--device", "cpu"]
    assert main(["evaluate", "reproduce", *given]) == status
    printed = capsys.readouterr().out
    expected = openvocab.load_tagger(spec, "cpu", "float32").score(
        [openvocab.read_image(folder / "cat" / "0.png")],
        openvocab.load_tagger(spec, "cpu", "float32").encode_labels(["cat", "dog"], openvocab.prompt_set("{label}")),
    )[0]
    assert says in printed
    assert f"{score:.4f}     {expected[0]:.4f}    {expected[0] - score:+.4f}" in printed


@pytest.mark.parametrize(
    ("images", "top1", "tolerance", "status", "says"),
    [
        pytest.param(6, 0.5, 1, 0, "pass: tiny holds over 6 images", id="pass"),
        pytest.param(6, 1.0, 0.001, 1, "fail: tiny is", id="fail"),
        pytest.param(7, 0.5, 1, 1, "no verdict: tiny", id="images are missing"),
    ],
)
def test_a_recipe_from_files_to_a_verdict(images, top1, tolerance, status, says, spec, folder, tmp_path, capsys):
    text = RECIPE.format(images=images, top1=top1, tolerance=tolerance, spec=spec)
    (tmp_path / "own.toml").write_text(text, "utf-8")
    given = ["--recipes", str(tmp_path / "own.toml"), "--data", str(folder), "--out", str(tmp_path / "out")]
    assert main(["evaluate", "reproduce", "tiny", *given, "--device", "cpu", "--dtype", "float32"]) == status
    printed = capsys.readouterr()
    assert says in printed.out and f"published  {top1:.4f}" in printed.out
    assert ("6 images were measured, and the published result is of 7" in printed.err) is (images == 7)
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert report["prompts"]["name"] == "plain" and report["data"]["images"] == 6


@pytest.mark.parametrize(
    ("given", "says"),
    [
        pytest.param(["vit-b-32-laion2b-cifar"], "did you mean 'vit-b-32-laion2b-cifar10'", id="another name"),
        pytest.param(["nosuch"], "and 30 others; see: openvocab evaluate reproduce", id="no such name"),
        pytest.param(["--data", "x"], "--data and --out are for one recipe", id="data without a name"),
        pytest.param(["vit-b-32-laion2b-cifar10", "--data", "."], "cannot read '.'", id="no data there"),
        pytest.param(["sam3-ear", "--data", "."], "needs http://images.cocodataset.org/val2", id="no image"),
        pytest.param(["sam3-ear", "--data", ".", "--out", "x"], "--out is for a data set, and sam3-ear", id="a report"),
        pytest.param(["--recipes", "no.toml"], "'no.toml' is not a file", id="no recipes there"),
    ],
)
def test_bad_input(given, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "reproduce", *given]) == 2
    assert says in capsys.readouterr().err
