"""One command, one answer: a preset says the same on the command line, in Python, in `evaluate` and on the page."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import openvocab
from openvocab import Result, Settings
from openvocab.models import presets
from openvocab.testing import FakeSegmenter
from openvocab.ui.cli.main import main
from openvocab.weights.manifest import preset_records
from openvocab.weights.thresholds import tag_threshold
from tests.helpers.stages import FragileDetector, FragileTagger

SCENE = openvocab.example_scenes()[0]
WORDS = ", ".join(SCENE.labels)
LOADED_HERE = ("pocket",)
OTHERS = [name for name in preset_records() if name not in LOADED_HERE]


@pytest.fixture
def stand_ins(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a preset; where its weights cannot be here, stages without weights stand in for its own."""
    name = str(request.param)
    if name not in LOADED_HERE:
        monkeypatch.setattr(presets, "refuse_absent", lambda *_: None)
        for stage, made in (
            ("tagger", FragileTagger()),
            ("detector", FragileDetector()),
            ("segmenter", FakeSegmenter()),
        ):
            monkeypatch.setattr(presets, f"load_{stage}", _loads(made))
    return name


def _loads(made: Any) -> Any:
    return lambda spec, *_: replace(made, record=replace(made.record, spec=spec))


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """The scene as a COCO data set."""
    boxes = [[left, top, right - left, bottom - top] for left, top, right, bottom in SCENE.xyxy.tolist()]
    instances = [
        {"id": row, "image_id": 1, "category_id": row, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for row, box in enumerate(boxes, 1)
    ]
    names = [{"id": row, "name": name} for row, name in enumerate(SCENE.labels, 1)]
    images = [{"id": 1, "file_name": str(SCENE.path), "height": 256, "width": 256}]
    path = tmp_path / "coco.json"
    path.write_text(json.dumps({"images": images, "annotations": instances, "categories": names}), "utf-8")
    return path


def plain(result: Result) -> Any:
    return json.loads(json.dumps(result.to_dict()))


every_preset = pytest.mark.parametrize("stand_ins", [*LOADED_HERE, *OTHERS], indirect=True)


@every_preset
def test_tag_prints_what_python_answers(stand_ins: str, capsys: pytest.CaptureFixture[str]) -> None:
    if not preset_records()[stand_ins].tagger:
        pytest.skip("this preset has no tagger")
    pipe = openvocab.load(stand_ins, tags_alone=True)
    assert main(["tag", str(SCENE.path), "--labels", WORDS, "--preset", stand_ins, "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert {name: value for name, value in row.items() if name != "status"} == plain(pipe(SCENE.path, WORDS))


@every_preset
def test_annotate_writes_what_python_answers(stand_ins: str, tmp_path: Path) -> None:
    if preset_records()[stand_ins].detector == "":
        pytest.skip("this preset has no detector")
    wanted = openvocab.load(stand_ins)(SCENE.path, WORDS)
    run = tmp_path / "run"
    main(["annotate", str(SCENE.path), "--labels", WORDS, "--preset", stand_ins, "--out", str(run), "--no-images"])
    (row,) = openvocab.read_run(run)
    assert row.tags == wanted.tags and row.detections is not None
    assert row.detections.labels == wanted.detections.labels
    np.testing.assert_array_equal(row.detections.scores, wanted.detections.scores)
    np.testing.assert_array_equal(row.detections.xyxy, wanted.detections.xyxy)
    said = openvocab.read_run(run).record
    assert {name: said[name] for name in asdict(wanted.run)} == json.loads(json.dumps(asdict(wanted.run)))


@every_preset
def test_evaluate_measures_what_python_answers(
    stand_ins: str, coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if preset_records()[stand_ins].detector == "":
        pytest.skip("this preset has no detector")
    from openvocab.evaluate.runs import chain

    made: list[Any] = []

    def run_chain(*args: Any, **more: Any) -> Any:
        made.append(run(*args, **more))
        return made[0]

    run = chain.run_chain
    monkeypatch.setattr(chain, "run_chain", run_chain)
    data = ["--data", str(coco), "--format", "coco", "--out", str(tmp_path / "report"), "--preset", stand_ins]
    data += ["--images", str(SCENE.path.parent)]
    assert main(["evaluate", "chain", *data]) == 0
    wanted = openvocab.load(stand_ins)(SCENE.path, WORDS)
    (found,) = made[0].predictions
    assert made[0].record == wanted.run
    assert [made[0].labels[place] for place in found.class_ids] == list(wanted.detections.labels)
    np.testing.assert_array_equal(found.scores, wanted.detections.scores)
    if made[0].queried is not None:
        queried = {made[0].labels[row] for row in np.flatnonzero(made[0].queried[0])}
        least = float(wanted.run.settings["presence_threshold"])
        likely = {label for label, value in wanted.presence.items() if value >= least}
        strict = wanted.run.settings["gate"] == "threshold"
        assert queried == ({tag.label for tag in wanted.tags} if strict else set(SCENE.labels)) & likely


@every_preset
def test_the_page_shows_what_python_answers(stand_ins: str) -> None:
    pytest.importorskip("gradio")
    from openvocab.ui.web.api import Endpoints
    from openvocab.ui.web.context import Context
    from openvocab.ui.web.models import Models

    if preset_records()[stand_ins].detector == "":
        pytest.skip("this preset has no detector")
    got = Endpoints(Context(Models((stand_ins,)))).chain(str(SCENE.path), WORDS, stand_ins)
    wanted = plain(openvocab.load(stand_ins)(SCENE.path, WORDS))
    assert json.loads(json.dumps(got)) == wanted | {"source": SCENE.path.name}


def test_tag_and_python_give_the_same_scores_on_every_example(capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(scene.path) for scene in openvocab.example_scenes()]
    assert len(paths) == 8
    assert main(["tag", *paths, "--labels", "pocket", "--json"]) == 0
    rows = [json.loads(line)["tags"] for line in capsys.readouterr().out.splitlines()]
    pipe = openvocab.load("pocket")
    assert rows == [plain(pipe(path, "pocket"))["tags"] for path in paths]
    assert all(rows)


@pytest.mark.parametrize(
    "given",
    [pytest.param({}, id="nothing"), pytest.param({"windows": None, "box_threshold": None}, id="nothing, named")],
)
def test_what_is_not_given_is_the_presets_own(given: dict[str, Any]) -> None:
    """Thresholds that neither the user nor the preset gives are the checkpoint's."""
    own = Settings(tag_threshold=tag_threshold("pocket-tagger", independent=True).value)
    own = own.changed(**preset_records()["pocket"].settings).changed(verify=0)  # tags alone have no box to verify
    assert openvocab.load("pocket", tags_alone=True, **given).settings == own
    assert openvocab.Loader("pocket", tags_alone=True, settings=given)().settings == own


def test_evaluate_takes_the_presets_own_settings() -> None:
    from openvocab.ui.cli.evaluate_options import own_settings
    from openvocab.ui.cli.options import parser

    data = ["--data", "x", "--format", "list", "--out", "y"]
    args = parser().parse_args(["evaluate", "classify", *data])
    assert own_settings(args, "tagger") == Settings().changed(**preset_records()["pocket"].settings)
    args = parser().parse_args(["evaluate", "classify", *data, "--tagger", "open_clip:here"])
    assert own_settings(args, "tagger") == Settings()
