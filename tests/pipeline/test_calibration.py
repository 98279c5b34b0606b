"""A calibration: scores by hand, thresholds a label, files that are refused, and one answer on every way."""

from __future__ import annotations

import hashlib
import json
import math
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import openvocab
from openvocab import BadInput, Calibration, CannotWrite, ModelRecord, OpenVocabWarning, Pipeline, Settings
from openvocab.pipeline.calibration import FittedModel, LabelFit, StageFit, logit
from openvocab.pipeline.candidates import Candidates
from openvocab.ui.cli.main import main
from tests.helpers.stages import LABELS, chain, save_images, tagging

TAGGER, DETECTOR = FittedModel("fake:tagger", None), FittedModel("fake:detector", None)
SAME = LabelFit(1.0, 0.0, 0.5)
"""Leaves scores as they are."""


def made(tags: StageFit | None = None, boxes: StageFit | None = None, **more: Any) -> Calibration:
    return Calibration(TAGGER if tags else None, DETECTOR if boxes else None, tags, boxes, **more)


FULL = made(
    StageFit(SAME, {"dark": LabelFit(2.0, math.log(3), 0.6)}),
    StageFit(LabelFit(0.5, -1.0, 0.3), {"zürich": SAME}),
    windows=2,
    about={"images": 7},
)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_images(tmp_path / "photos", 5)
    return tmp_path / "photos"


@pytest.mark.parametrize(
    ("fit", "score", "wanted"),
    [
        pytest.param(SAME, 0.3, 0.3, id="identity"),
        pytest.param(LabelFit(2.0, 0.0, 0.5), 0.75, 0.9, id="scale 2: the odds are squared, 3 to 9"),
        pytest.param(LabelFit(1.0, math.log(3), 0.5), 0.5, 0.75, id="shift log 3: the odds are times 3"),
        pytest.param(LabelFit(0.5, 0.0, 0.5), 0.9, 0.75, id="scale 0.5: the root of 9"),
    ],
)
def test_a_score_is_calibrated_as_by_hand(fit: LabelFit, score: float, wanted: float) -> None:
    got = StageFit(fit).scores(np.array([score], np.float32), ("cat",))
    assert got.dtype == np.float32 and got == pytest.approx(wanted, abs=1e-6)


def test_each_label_has_its_own_fit_and_others_share_one() -> None:
    stage = StageFit(LabelFit(1.0, 0.0, 0.2), {"cat": LabelFit(1.0, math.log(3), 0.8)})
    labels, half = ("dog", "cat"), np.full(2, 0.5, np.float32)
    assert stage.scores(half, labels).tolist() == pytest.approx([0.5, 0.75])
    assert stage.thresholds(labels, 0.2).tolist() == pytest.approx([0.2, 0.8])
    one_each = stage.scores(np.full(3, 0.5, np.float32), labels, np.array([1, 0, 1]))
    assert one_each.tolist() == pytest.approx([0.75, 0.5, 0.75])
    assert stage.scores(np.zeros(0, np.float32), ()).shape == (0,)


@pytest.mark.parametrize(
    ("setting", "wanted"),
    [
        pytest.param(0.2, [0.2, 0.8], id="the shared threshold"),
        pytest.param(0.0, [0.0, 0.0], id="0 admits everything"),
        pytest.param(1.0, [1.0, 1.0], id="1 admits nothing"),
        pytest.param(0.5, [0.5, 16 / 17], id="odds times 4 for both"),
    ],
)
def test_another_setting_moves_all_thresholds(setting: float, wanted: list[float]) -> None:
    stage = StageFit(LabelFit(1.0, 0.0, 0.2), {"cat": LabelFit(1.0, 1.0, 0.8)})
    assert stage.thresholds(("dog", "cat"), setting).tolist() == pytest.approx(wanted)


def test_no_box_under_the_lowest_score_reaches_its_threshold() -> None:
    rng, labels = np.random.default_rng(3), tuple("abcdef")
    for _ in range(200):
        fits = [LabelFit(*rng.uniform((0.05, -6, 0), (4, 6, 1))) for _ in range(7)]
        stage = StageFit(fits[0], dict(zip(labels[:5], fits[1:], strict=False)))
        setting = float(rng.choice([0.0, fits[0].threshold, rng.random(), 1.0]))
        lowest = stage.lowest(labels, setting)
        raw, index = rng.random(400).astype(np.float32), rng.integers(6, size=400)
        reported = stage.scores(raw, labels, index) > stage.thresholds(labels, setting)[index]
        assert 0 <= lowest <= 1 and (raw[reported] > lowest).all()


@pytest.mark.parametrize(
    "calibration", [pytest.param(None, id="none"), pytest.param(made(boxes=StageFit(SAME)), id="one of boxes")]
)
def test_a_box_that_was_found_under_no_wanted_label_is_no_detection(calibration: Calibration | None) -> None:
    scores = np.array([[0, 0.9]], np.float32)
    seen = Candidates(np.array([[0, 0, 4, 4]], np.float32), scores, 0.0, scores[0])
    settings = Settings(box_threshold=0.0, calibration=calibration)
    found = [len(seen.detections(("cat", "dog"), np.array([wanted]), settings, (8, 8))) for wanted in (0, 1)]
    assert found == [0, 1]


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: LabelFit(0.0, 0.0, 0.5), id="a scale of 0 loses the order"),
        pytest.param(lambda: LabelFit(-1.0, 0.0, 0.5), id="a scale under 0 reverses it"),
        pytest.param(lambda: LabelFit(1.0, math.nan, 0.5), id="not a number"),
        pytest.param(lambda: LabelFit(1.0, 0.0, 1.5), id="a threshold over 1"),
        pytest.param(lambda: Calibration(), id="neither tags nor boxes"),
        pytest.param(lambda: Calibration(TAGGER, None, None, StageFit(SAME)), id="a fit of no model"),
        pytest.param(lambda: Settings(calibration=3), id="no calibration"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_calibration_is_refused(make: Any) -> None:
    with pytest.raises(BadInput, match="a calibration|must be a Calibration"):
        make()


def test_a_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    FULL.save(tmp_path / "fit.json")
    read = openvocab.read_calibration(tmp_path / "fit.json")
    assert read == FULL and read.name == "fit.json" and read.to_json() == FULL.to_json()
    assert hashlib.sha256((tmp_path / "fit.json").read_bytes()).hexdigest() == read.digest
    assert read.boxes is not None and read.boxes.labels == {"zürich": SAME} and read.about == {"images": 7}
    assert pickle.loads(pickle.dumps(read)) == read and read != made(StageFit(SAME)) and len({read, FULL}) == 1
    with pytest.raises(CannotWrite, match="choose another file"):
        FULL.save(tmp_path)


def damaged(**changes: Any) -> str:
    return json.dumps(json.loads(FULL.to_json()) | changes)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(None, "cannot be read .No such file", id="absent"),
        pytest.param("{", "cannot be read", id="cut off"),
        pytest.param("[1]", "no calibration; write one with: openvocab fit", id="a list"),
        pytest.param('{"a": 1}', "no calibration", id="another file"),
        pytest.param(damaged(format="openvocab calibration 9"), r"another version .openvocab calib.* 9", id="later"),
        pytest.param(damaged(tagger={"spec": "x"}), "damaged .'sha256'.; fit it again", id="no digest"),
        pytest.param(damaged(about=None), "damaged", id="about nothing"),
    ],
)
def test_a_file_that_is_no_calibration_is_refused_in_one_sentence(text: str | None, says: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "fit.json").write_text(text, "utf-8")
    with pytest.raises(BadInput, match=says) as caught:
        openvocab.read_calibration(tmp_path / "fit.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fitted", "loaded", "same"),
    [
        pytest.param(("a:b", "1" * 64), ("a:b", "1" * 64), True, id="the same"),
        pytest.param(("a:b", "1" * 64), ("/moved", "1" * 64), True, id="the same weights in another place"),
        pytest.param(("a:b", "1" * 64), ("a:b", "2" * 64), False, id="other weights of that name"),
        pytest.param(("a:b", None), ("a:b", "2" * 64), True, id="weights that were not hashed"),
        pytest.param(("a:b", None), ("a:c", None), False, id="another name"),
    ],
)
def test_other_models_are_refused(fitted: Any, loaded: Any, same: bool) -> None:
    calibration = Calibration(FittedModel(*fitted), None, StageFit(SAME), name="fit.json")
    record = ModelRecord(loaded[0], loaded[1], "cpu", "float32")
    if same:
        calibration.check(record, None, 0, 0)
    else:
        with pytest.raises(BadInput, match=r"'fit.json' was fitted for the tagger a:b .*load that tagger, or fit"):
            calibration.check(record, None, 0, 0)
    calibration.check(None, record, 0, 0)  # of a detector it says nothing


@pytest.mark.parametrize(
    ("views", "warned"),
    [
        pytest.param({"windows": 2}, [], id="the same"),
        pytest.param({"windows": 0}, ["windows=2, and windows=0 is set"], id="windows"),
        pytest.param({"windows": 2, "tiles": 3}, ["tiles=0, and tiles=3 is set"], id="tiles"),
    ],
)
def test_other_windows_or_tiles_are_warned_of(views: dict[str, Any], warned: list[str]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        chain(calibration=FULL, **views)
    texts = [str(each.message) for each in caught if each.category is OpenVocabWarning]
    assert len(texts) == len(warned) and all(part in text for part, text in zip(warned, texts, strict=True))


def answers(pipe: Pipeline, photos: Path, name: str) -> list[Any]:
    """Return tags and detections of five images: called, streamed, written and explored."""
    paths = sorted(photos.iterdir())
    pipe.run_to(name, photos, LABELS, overwrite=True)
    explored = []
    for path in paths:
        *_, last = pipe.explore(path, LABELS)
        explored.append(last.result())
    ways: list[list[Any]] = [[pipe(path, LABELS) for path in paths], list(pipe.run(photos, LABELS)), explored]
    ways.insert(2, list(openvocab.read_run(name)))
    return [[(one.tags, *_boxes(one.detections)) for one in way] for way in ways]


def _boxes(found: Any) -> Any:
    return found.labels, found.scores.tolist(), found.xyxy.tolist()


def test_the_identity_changes_no_answer_and_every_way_gives_the_same(photos: Path) -> None:
    plain = Settings(tag_threshold=0.4, box_threshold=0.5)
    same = made(StageFit(LabelFit(1.0, 0.0, 0.4)), StageFit(SAME))
    default, calibrated = (
        answers(chain().changed(**each), photos, "run")
        for each in ({"tag_threshold": 0.4, "box_threshold": 0.5}, {"calibration": same})
    )
    assert plain.threshold("tag_threshold") == 0.4 and any(one[0] for one in default[0])
    for way in range(4):
        for got, wanted in zip(calibrated[way], default[0], strict=True):
            assert [tag.label for tag in got[0]] == [tag.label for tag in wanted[0]] and got[1] == wanted[1]
            assert [tag.score for tag in got[0]] == pytest.approx([tag.score for tag in wanted[0]], abs=1e-5)
            assert got[2] == pytest.approx(wanted[2], abs=1e-5) and got[3] == wanted[3]


def test_every_way_uses_the_thresholds_and_scores_of_the_labels(photos: Path) -> None:
    (path, *_), never = sorted(photos.iterdir()), LabelFit(1.0, 0.0, 1.0)
    raw = chain()(path, LABELS)
    assert {tag.label for tag in raw.tags} == set(LABELS) and set(raw.detections.labels) == {"dark"}
    fits = {"dark": never, "red": LabelFit(3.0, 8.0, 0.0)}
    pipe = chain(gate="none").changed(calibration=made(*[StageFit(LabelFit(1.0, 0.0, 0.0), fits)] * 2))
    for way in answers(pipe, photos, "run"):
        assert all("dark" not in {tag.label for tag in one[0]} and "dark" not in one[1] for one in way)
        (score,) = (tag.score for tag in way[0][0] if tag.label == "red")
        (before,) = (tag.score for tag in raw.tags if tag.label == "red")
        assert score == pytest.approx(1 / (1 + math.exp(-3 * float(logit(np.array(before))) - 8)), abs=1e-5)
    note = pipe.changed(tag_threshold=1.0)(path, LABELS).notes[0]
    assert "under the tag threshold 1 (calibrated)" in note


def test_a_calibration_brings_its_thresholds_unless_others_are_given() -> None:
    calibration = made(StageFit(LabelFit(1.0, 0.0, 0.7)), StageFit(LabelFit(1.0, 0.0, 0.2)))
    pipe = chain(tag_threshold=0.4)
    settings = pipe.changed(calibration=calibration).settings
    assert (settings.tag_threshold, settings.box_threshold) == (0.7, 0.2)
    assert pipe.changed(calibration=calibration, tag_threshold=0.1).settings.tag_threshold == 0.1
    assert pipe.changed(max_tags=3).settings.tag_threshold == 0.4


def test_the_run_names_the_calibration_and_is_resumed_with_no_other(photos: Path) -> None:
    one, other = (made(StageFit(LabelFit(1.0, shift, 0.5))) for shift in (0.0, 1.0))
    one.save("one.json")
    one.save("copy.json")
    tagging().run_to("run", photos, LABELS, calibration="one.json")
    record = openvocab.read_run("run").record["settings"]
    assert record["calibration"] == f"sha256:{hashlib.sha256(Path('one.json').read_bytes()).hexdigest()}"
    assert tagging().run_to("run", photos, LABELS, calibration="copy.json").skipped == 5
    for given in ({"calibration": other}, {}):
        with pytest.raises(BadInput, match=r"another run .*settings.calibration: .sha256:"):
            tagging().run_to("run", photos, LABELS, **given)  # type: ignore[arg-type]


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fake stages in place of those of openvocab.load, with the settings that were given."""

    def load(*_: Any, tags_alone: bool = False, tagger: Any = None, **given: Any) -> Pipeline:
        known = {name: value for name, value in given.items() if name in Settings.__dataclass_fields__}
        return (tagging() if tags_alone or (tagger and not given.get("detector")) else chain()).changed(**known)

    monkeypatch.setattr(openvocab, "load", load)


ALL = ["--labels", ", ".join(LABELS)]
COMMANDS = [
    pytest.param(["tag", "photos", *ALL, "--out", "new"], id="tag"),
    pytest.param(["annotate", "photos", *ALL, "--out", "new", "--no-images"], id="annotate"),
    pytest.param(["relabel", "run", *ALL, "--out", "new"], id="relabel"),
]


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize("command", COMMANDS)
def test_commands_take_a_calibration(command: list[str], photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tagging().run_to("run", photos, LABELS, features="float32")
    never = StageFit(SAME, dict.fromkeys(("dark", "light"), LabelFit(1.0, 0.0, 1.0)))
    made(never, StageFit(SAME)).save("fit.json")
    assert main([*command, "--calibration", "absent.json"]) == 2
    assert "the calibration 'absent.json' cannot be read" in capsys.readouterr().err
    assert main([*command, "--calibration", "fit.json"]) == 0
    found = openvocab.read_run("new")
    assert {tag.label for row in found for tag in row.tags} <= {"red"}
    assert found.record["settings"]["calibration"].startswith("sha256:")
    assert found.record["settings"]["tag_threshold"] == 0.5


@pytest.mark.usefixtures("fakes")
def test_a_run_with_a_calibration_is_relabeled_without_its_threshold(photos: Path) -> None:
    made(StageFit(LabelFit(1.0, 0.0, 0.9))).save("fit.json")
    tagging().run_to("run", photos, LABELS, features="float32", calibration="fit.json")
    assert main(["relabel", "run", *ALL]) == 0
    settings = openvocab.read_run("run-relabeled").record["settings"]
    assert "calibration" not in settings and settings["tag_threshold"] != 0.9


@pytest.mark.usefixtures("fakes")
def test_evaluate_chain_measures_with_the_calibration(photos: Path) -> None:
    Image.new("RGB", (40, 32), (200, 20, 30)).save("one.png")
    objects = [{"id": 0, "image_id": 0, "category_id": 3, "bbox": [0, 0, 20, 16], "area": 320, "iscrowd": 0}]
    names = [{"id": row, "name": name} for row, name in enumerate(LABELS, 1)]
    images = [{"id": 0, "file_name": "one.png", "height": 32, "width": 40}]
    Path("data.json").write_text(json.dumps({"images": images, "annotations": objects, "categories": names}))
    calibration = made(StageFit(SAME), StageFit(SAME))
    calibration.save("fit.json")
    command = ["evaluate", "chain", "--data", "data.json", "--format", "coco", "--out", "report"]
    assert main([*command, "--calibration", "fit.json"]) == 0
    settings = json.loads(Path("report/report.json").read_text("utf-8"))["run"]["settings"]
    assert settings["calibration"] == f"sha256:{calibration.digest}" and settings["box_threshold"] == 0.5


def test_the_embedded_models_refuse_a_calibration_of_others(tmp_path: Path) -> None:
    FULL.save(tmp_path / "fit.json")
    with pytest.raises(BadInput, match=r"'fit.json' was fitted for the tagger fake:tagger"):
        openvocab.load("pocket", calibration=tmp_path / "fit.json")
