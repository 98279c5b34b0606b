"""`openvocab fit`: from labeled images to a file that changes the answers, and what is refused."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import openvocab
from openvocab import BadInput, Calibration, Pipeline, Settings
from openvocab.evaluate.data import load_annotated, load_labeled
from openvocab.evaluate.fitting.fit import fit_calibration
from openvocab.testing import FakeDetector, FakeTagger
from openvocab.ui.cli.main import main

LABELS = ("lamp", "night", "day")
"""The fake detector boxes the first label with the brightness of the image as score, and here a lamp is on over 0.6."""


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sixty gray images from dark to bright; the brighter ones hold a lamp."""
    monkeypatch.chdir(tmp_path)
    images, objects = list[dict[str, Any]](), list[dict[str, Any]]()
    levels = np.linspace(0.2, 1, 60)
    for number, level in enumerate(np.random.default_rng(0).permutation(levels)):
        Image.new("RGB", (40, 32), (int(255 * level),) * 3).save(f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": 32, "width": 40})
        for label, there in enumerate((level > 0.6, level < 0.5, level > 0.8), 1):
            if there:
                one = {"id": len(objects), "image_id": number, "category_id": label, "bbox": [0, 0, 20, 16]}
                objects.append(one | {"area": 320, "iscrowd": 0})
    names = [{"id": row, "name": name} for row, name in enumerate(LABELS, 1)]
    Path("data.json").write_text(json.dumps({"images": images, "annotations": objects, "categories": names}), "utf-8")
    return tmp_path / "data.json"


def pipe(**settings: Any) -> Pipeline:
    """Fake stages: the detector finds lamps by brightness; the tagger is sure of lamp and day in every image."""
    scores = {"lamp": 0.7, "night": 0.1, "day": 0.6}
    return Pipeline(FakeTagger(scores), FakeDetector(), None, Settings(0.3, box_threshold=0.3).changed(**settings))


def test_boxes_get_the_threshold_that_the_images_mean(data: Path) -> None:
    made = fit_calibration(pipe(), load_annotated(str(data), "coco"))
    tags, boxes = made.stages
    assert (tags.stage, boxes.stage, boxes.report.images, boxes.report.labels) == ("tags", "boxes", 60, 3)
    assert boxes.report.rule != "default" and boxes.report.f1 > boxes.report.f1_default + 0.03
    with_fit = pipe(calibration=made.calibration)
    found = {number: with_fit(f"{number}.png", LABELS).detections.labels for number in range(60)}
    lamps = {number for number, labels in found.items() if labels == ("lamp",)}
    levels = np.random.default_rng(0).permutation(np.linspace(0.2, 1, 60))
    assert {number for number in range(60) if levels[number] > 0.62} <= lamps
    assert not lamps & {number for number in range(60) if levels[number] < 0.58}


def test_the_file_names_models_images_and_templates(data: Path) -> None:
    given = openvocab.prompt_set("a {label}")
    made = fit_calibration(pipe(tiles=2), load_annotated(str(data), "coco"), given, seed=3).calibration
    tagger, detector = FakeTagger().record, FakeDetector().record
    assert made.tagger is not None and (made.tagger.spec, made.tagger.sha256) == (tagger.spec, tagger.sha256)
    assert made.detector is not None and made.detector.sha256 == detector.sha256
    assert (made.windows, made.tiles, made.about["seed"], made.about["templates"]) == (0, 2, 3, ["a {label}"])
    made.save("fit.json")
    assert openvocab.read_calibration("fit.json") == made


def test_labels_of_whole_images_fit_the_tagger_alone(data: Path) -> None:
    for number in range(12):
        folder = Path("folders", "dark" if number % 2 else "light")
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (20 * number,) * 3).save(folder / f"{number}.png")
    made = fit_calibration(pipe(), load_labeled("folders", "imagefolder"))
    assert [each.stage for each in made.stages] == ["tags"] and made.calibration.boxes is None
    assert made.presence is not None and made.presence.evidence == ("image",) and made.calibration.verified is None
    assert pipe(calibration=made.calibration).settings.box_threshold is not None
    with pytest.raises(BadInput, match=r"'folders' has labels of whole images, which fit a tagger"):
        fit_calibration(Pipeline(None, FakeDetector(), None, Settings()), load_labeled("folders", "imagefolder"))


@pytest.mark.parametrize(
    ("verify", "risk", "verified"),
    [
        pytest.param(3, None, True, id="as the pipeline verifies"),
        pytest.param(0, None, False, id="not at all"),
        pytest.param(3, 0.2, False, id="not with a bound on what is missed"),
    ],
)
def test_boxes_are_fitted_as_the_pipeline_will_answer(
    verify: int, risk: float | None, verified: bool, data: Path
) -> None:
    detector = FakeDetector()
    stages = replace(pipe(verify=verify), detector=detector)
    made = fit_calibration(stages, load_annotated(str(data), "coco"), risk=risk).calibration
    assert made.verified == verified and sum(detector.calls) == 60, "each image is detected once"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pipe(verify=verify).changed(calibration=made).settings.verify == (verify if verified else 0)


def test_presence_is_fitted_and_used(data: Path) -> None:
    made = fit_calibration(pipe(), load_annotated(str(data), "coco"))
    assert made.presence is not None and made.presence.taken and made.presence.evidence == ("image", "box")
    assert (made.presence.images, made.presence.pairs) == (60, 180)
    assert made.presence.fitted.log_loss < made.presence.shipped.log_loss
    assert made.calibration.presence is not None and made.calibration.presence.source.startswith("fitted on 60 images")
    assert made.calibration.about["presence"]["taken"] is True
    bright = pipe(calibration=made.calibration).run(["0.png", "1.png", "2.png"], LABELS)
    assert all(dict(one.presence) != dict(pipe()(one.image, LABELS).presence) for one in bright)


def test_a_tagger_without_a_detector_fits_its_own_presence(data: Path) -> None:
    made = fit_calibration(replace(pipe(), detector=None), load_annotated(str(data), "coco"))
    assert made.presence is not None and made.presence.evidence == ("image",)


def test_a_risk_bounds_what_is_missed(data: Path) -> None:
    made = fit_calibration(pipe(), load_annotated(str(data), "coco"), risk=0.2)
    tags = made.stages[0]
    assert tags.guarantee is not None and tags.guarantee.images == 30 and tags.report.images == 30
    assert made.presence is not None and made.presence.images == 30, "the other half decides the threshold"
    assert made.calibration.tags is not None and tags.guarantee.threshold is not None
    assert made.calibration.tags.shared.threshold == tags.guarantee.threshold
    assert set(made.calibration.tags.thresholds(LABELS, tags.guarantee.threshold)) == {tags.guarantee.threshold}
    boxes = made.stages[1].guarantee  # nights are never boxed, so that no threshold helps
    assert boxes is not None and boxes.threshold is None and boxes.lowest > 0.2
    assert made.calibration.about["tags"]["risk"]["risk"] == 0.2


@pytest.mark.parametrize(
    ("limit", "options", "says"),
    [
        pytest.param(4, {}, "a fit needs 5 labeled images or more, got 4", id="too few images"),
        pytest.param(
            17, {"risk": 0.1}, "a fit and a risk of 0.1 needs 18 labeled images or more, got 17", id="for a risk"
        ),
        pytest.param(None, {"calibrated": True}, "has a calibration already", id="calibrated twice"),
    ],
)
def test_what_cannot_be_fitted_is_refused(limit: int | None, options: dict[str, Any], says: str, data: Path) -> None:
    images, own = load_annotated(str(data), "coco"), pipe()
    if options.pop("calibrated", False):
        own = pipe(calibration=fit_calibration(pipe(), images).calibration)
    with pytest.raises(BadInput, match=says):
        fit_calibration(own, images.first(limit), **options)


def test_an_image_that_cannot_be_read_is_left_out_and_named(data: Path) -> None:
    Path("7.png").write_bytes(b"broken")
    made = fit_calibration(pipe(), load_annotated(str(data), "coco"))
    assert [name.endswith("7.png") for name, _ in made.unread] == [True]
    assert [each.report.images for each in made.stages] == [59, 59]


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any, **given: Any) -> Pipeline:
        return pipe(**{name: value for name, value in given.items() if name in Settings.__dataclass_fields__})

    monkeypatch.setattr(openvocab, "load", load)


@pytest.mark.usefixtures("fakes")
def test_the_command_writes_the_file_and_prints_what_it_brings(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "data.json", "--format", "coco", "--out", "fit.json", "--risk", "0.2"]) == 0
    out, err = capsys.readouterr()
    assert (
        "F1, default" in out
        and "tags ≤ 0.2" in out
        and "Figures of the fit are cross-validated" in out
        and "presence, coefficients" in out
    )
    assert "no threshold of boxes keeps the bound" in err
    made = openvocab.read_calibration("fit.json")
    assert isinstance(made, Calibration) and made.about["labels"] == 3
    report = ["evaluate", "chain", "--data", "data.json", "--format", "coco", "--out", "report"]
    assert main([*report, "--calibration", "fit.json"]) == 0
    Path("7.png").write_bytes(b"broken")
    assert main(["fit", "data.json", "--format", "coco", "--out", "fit.json"]) == 1


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize(
    ("more", "says"),
    [
        pytest.param(["--risk", "1"], "--risk lies over 0 and under 1", id="risk"),
        pytest.param(["--out", "."], "--out . is a folder", id="a folder"),
        pytest.param(["--out", "data.json"], "--out data.json is the data", id="the data"),
        pytest.param(["--seed", "-1"], "--seed must be", id="seed"),
        pytest.param(["--labels", "lamp"], "2 labels that are not among those given", id="labels"),
        pytest.param(["--split", "val"], "a split is for yolo", id="split"),
    ],
)
def test_the_command_refuses_what_it_cannot_do(
    more: list[str], says: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "data.json", "--format", "coco", "--out", "fit.json", *more]) == 2
    assert says in capsys.readouterr().err and not Path("fit.json").exists()
