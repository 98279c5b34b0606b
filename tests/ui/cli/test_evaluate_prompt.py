"""`openvocab evaluate` takes a prompt file wherever it takes labels."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import openvocab
from openvocab import Exemplar, Prompt
from openvocab.ui.cli.main import main

SCENE = openvocab.example_scenes()[0]
OTHERS, SHOWN = SCENE.labels[:-1], SCENE.labels[-1]


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """The scene with its true boxes."""
    (tmp_path / "data").mkdir()
    shutil.copy(SCENE.path, tmp_path / "data" / "scene.png")
    boxes = [[left, top, right - left, bottom - top] for left, top, right, bottom in SCENE.xyxy.tolist()]
    objects = [
        {"id": row, "image_id": 1, "category_id": row, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for row, box in enumerate(boxes, 1)
    ]
    whole = {
        "images": [{"id": 1, "file_name": "scene.png", "height": 256, "width": 256}],
        "annotations": objects,
        "categories": [{"id": row, "name": name} for row, name in enumerate(SCENE.labels, 1)],
    }
    (tmp_path / "data" / "instances.json").write_text(json.dumps(whole), "utf-8")
    return tmp_path / "data" / "instances.json"


@pytest.fixture(scope="module")
def prompts() -> dict[str, Prompt]:
    """A prompt of words and one whose last label has an exemplar alone."""
    image = openvocab.read_image(SCENE.path)
    shown = Exemplar.cut(image, SHOWN, SCENE.xyxy[-1])
    other = Exemplar.cut(image, "not this", SCENE.xyxy[0])
    return {
        "words": Prompt(SCENE.labels),
        "shown": Prompt(OTHERS, [shown]),
        "negative": Prompt(SCENE.labels, (), (), [other]),
    }


def run(task: str, data: Path, prompt: Prompt, out: Path, *more: str) -> int:
    prompt.save(out.parent / "prompt.json")
    given = ["--data", str(data), "--format", "coco", "--out", str(out), "--prompt", str(out.parent / "prompt.json")]
    return main(["evaluate", task, *given, "--device", "cpu", *more])


@pytest.mark.parametrize(
    ("kind", "objects"),
    [
        pytest.param("words", 4, id="words"),
        pytest.param("shown", 4, id="an exemplar without a name"),
        pytest.param("negative", 3, id="a negative exemplar"),
    ],
)
@pytest.mark.parametrize("task", ["detect", "chain", "presence"])
def test_models_are_asked_for_all_that_the_prompt_holds(
    task: str, kind: str, objects: int, prompts: dict[str, Prompt], coco: Path, tmp_path: Path
) -> None:
    prompt = prompts[kind]
    assert run(task, coco, prompt, tmp_path / "out") == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert report["data"]["queries"] == prompt.digest
    if task == "detect":
        assert report["metrics"]["ap50"] == pytest.approx(objects / len(SCENE.labels))
    else:
        assert report["run"]["prompt"] == prompt.digest
        assert (report["run"]["tagger"] is None) == (kind == "shown")


def test_classify_uses_the_words_and_refuses_what_is_none(
    prompts: dict[str, Prompt], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for label in SCENE.labels:
        (tmp_path / "images" / label).mkdir(parents=True)
        shutil.copy(SCENE.path, tmp_path / "images" / label / "a.png")
    prompts["words"].save(tmp_path / "words.json")
    prompts["shown"].save(tmp_path / "shown.json")
    given = ["--data", str(tmp_path / "images"), "--format", "imagefolder", "--device", "cpu"]
    command = ["evaluate", "classify", *given, "--out"]
    assert main([*command, str(tmp_path / "out"), "--prompt", str(tmp_path / "words.json")]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert report["data"]["queries"] == prompts["words"].digest
    assert main([*command, str(tmp_path / "no"), "--prompt", str(tmp_path / "shown.json")]) == 2
    assert f"a tagger scores words, and {SHOWN!r} of the prompt is none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "says"),
    [
        pytest.param(["--labels", "tent"], "--labels and --prompt are both a vocabulary", id="both"),
        pytest.param(["--class-map", f"{SHOWN}=hut"], "1 label that is not among those given", id="a label it lacks"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    more: list[str],
    says: str,
    prompts: dict[str, Prompt],
    coco: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("detect", coco, prompts["words"], tmp_path / "out", *more) == 2
    assert says in capsys.readouterr().err
