"""Exported stages answer as the torch stages that they were made from, and say what they are."""

from __future__ import annotations

import json
import shutil
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import openvocab
from openvocab.errors import BadInput, BadOutput, BadWeights, MissingExtra, UnknownName
from openvocab.models.export import export as exporting
from openvocab.models.export.detectors import DetectorExport
from openvocab.models.export.samples import Samples
from openvocab.models.export.segmenters import SegmenterExport
from tests.conftest import random_image
from tests.tiny.exported import Exports, export_tiny, need
from tests.tiny.open_clip import write_kind

LABELS = ["cat", "red dog", "a thing", "bird"]
IMAGES = [random_image(height, width, seed) for seed, (height, width) in enumerate([(60, 60), (40, 100), (97, 33)])]
CLOSE = 1e-4


def spec_of(family: str, folder: Path) -> str:
    """Write a tiny checkpoint; FAMILY or FAMILY/KIND."""
    name, _, kind = family.partition("/")
    write = import_module(f"tests.tiny.{name}").write
    return f"{name}:{write_kind(folder, kind) if kind else write(folder)}"


@pytest.fixture(scope="module", params=["openvino", pytest.param("onnx", marks=pytest.mark.long)])
def exports(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exports:
    return export_tiny(request.param, tmp_path_factory.mktemp("exports"))


def both(stage: str, exports: Exports) -> list[Any]:
    """Load the torch stage and its export in float32."""
    load = getattr(openvocab, f"load_{stage}")
    return [load(spec, "cpu", "float32") for spec in (exports.sources[stage], exports.spec)]


def same_scores(torch: Any, exported: Any) -> None:
    expected = torch.score(IMAGES, LABELS)
    np.testing.assert_allclose(exported.score(IMAGES, LABELS), expected, atol=CLOSE)
    np.testing.assert_allclose(exported.score(IMAGES[1:2], LABELS[::-1]), expected[1:2, ::-1], atol=CLOSE)
    assert exported.independent == torch.independent
    assert exported.record.spec.partition(":")[2] == torch.record.spec
    assert exported.record.sha256 != torch.record.sha256


def same_boxes(torch: Any, exported: Any) -> None:
    labels = ["cat", "dog", "bird"]
    expected, found = (each.detect(IMAGES, each.encode_labels(labels), 0.0) for each in (torch, exported))
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, atol=CLOSE)
        np.testing.assert_allclose(one.xyxy[:5], other.xyxy[:5], atol=0.05)
        assert (one.label_index[:5] == other.label_index[:5]).all()


def test_tagger_scores_as_in_torch(exports: Exports) -> None:
    same_scores(*both("tagger", exports))


def test_detector_finds_the_boxes_of_torch(exports: Exports) -> None:
    torch, exported = both("detector", exports)
    same_boxes(torch, exported)
    np.testing.assert_allclose(torch.propose(IMAGES[0])[1], exported.propose(IMAGES[0])[1], atol=CLOSE)


SAME = {"tagger": same_scores, "detector": same_boxes}


@pytest.mark.long
@pytest.mark.parametrize("form", ["openvino", "onnx"])
@pytest.mark.parametrize(
    ("stage", "family"),
    [
        pytest.param("tagger", "open_clip/siglip", id="SigLIP in open_clip"),
        pytest.param("tagger", "open_clip/pe", id="image tower of timm"),
        pytest.param("tagger", "clip", id="CLIP in transformers"),
        pytest.param("tagger", "siglip", id="SigLIP in transformers"),
        pytest.param("tagger", "metaclip2", id="MetaCLIP 2"),
        pytest.param("detector", "owlvit", id="OWL-ViT"),
    ],
)
def test_other_families_answer_as_in_torch(form: str, stage: str, family: str, tmp_path: Path) -> None:
    need(form)
    specs: Any = {stage: spec_of(family, tmp_path / "model")}
    openvocab.export_model(out=tmp_path / "out", format=form, labels=LABELS, **specs)
    SAME[stage](*both(stage, Exports(specs, f"{form}:{tmp_path / 'out'}", {})))


def test_exported_detector_takes_exemplars_and_negatives(exports: Exports) -> None:
    loaded = both("detector", exports)
    shown = openvocab.QueryRow("cat", True, (openvocab.Exemplar("cat", IMAGES[0], (4, 4, 50, 50)),))
    negative = openvocab.QueryRow("dog", True)
    expected, found = (each.detect(IMAGES[:1], each.encode_prompt([shown], [negative]), 0.0) for each in loaded)
    np.testing.assert_allclose(expected[0].scores, found[0].scores, atol=CLOSE)


def test_segmenter_cuts_the_masks_of_torch(exports: Exports) -> None:
    torch, exported = both("segmenter", exports)
    boxes = np.array([[3, 3, 50, 30], [10, 5, 20, 39], [0, 0, 99, 40]], np.float32)
    (expected, scores), (masks, ours) = (each.masks(each.encode(IMAGES[1]), boxes) for each in (torch, exported))
    np.testing.assert_allclose(ours, scores, atol=CLOSE)
    assert (masks != expected).mean() < 1e-3
    batch = [each.features for each in exported.encode_batch(IMAGES)]
    np.testing.assert_array_equal(batch[1].numpy(), exported.encode(IMAGES[1]).features.numpy())
    given = np.array([[30, 20], [5, 5]], np.float32), np.array([1, 0])
    for prompt in ((*given, None), (None, None, boxes[0]), (*given, boxes[0])):
        (expected, scores), (masks, ours) = (each.prompt(each.encode(IMAGES[1]), *prompt) for each in (torch, exported))
        np.testing.assert_allclose(ours, scores, atol=CLOSE)
        assert (masks != expected).mean() < 1e-3


def test_the_record_names_source_versions_checks_and_files(exports: Exports) -> None:
    folder = Path(exports.spec.partition(":")[2]) / "tagger"
    record = json.loads((folder / "export.json").read_text("utf-8"))
    source = openvocab.load_tagger(exports.sources["tagger"], "cpu", "float32").record
    assert (record["source"], record["source_sha256"], record["precision"]) == (source.spec, source.sha256, "float32")
    assert {"openvocab", "torch", exports.spec.partition(":")[0]} <= set(record["versions"])
    assert record["checks"]["cosine_min"] > 0.9999 and record["checks"]["top1_agreement"] == 1
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(record["files"]) == written - {"export.json"}


@pytest.mark.parametrize(
    ("stage", "check"), [("tagger", "top1_agreement"), ("detector", "box_iou_mean"), ("segmenter", "mask_iou_mean")]
)
def test_each_stage_is_compared_with_torch(stage: str, check: str, exports: Exports) -> None:
    assert exports.records[stage].checks[check] > 0.99


@pytest.mark.parametrize(
    ("stage", "export", "name", "alone"),
    [
        pytest.param("detector", DetectorExport(), "windows", 1, id="detector"),
        pytest.param("segmenter", SegmenterExport(), "zoom", 0, id="segmenter"),
    ],
)
def test_an_exported_stage_looks_at_the_windows_of_its_source(
    exports: Exports, tmp_path: Path, stage: str, export: Any, name: str, alone: int
) -> None:
    load = {"detector": openvocab.load_detector, "segmenter": openvocab.load_segmenter}[stage]
    pocket: Any = load("pocket", "cpu", "float32")
    assert export.save(pocket, tmp_path)[name] == getattr(pocket, name) > alone
    folder = shutil.copytree(exports.spec.partition(":")[2], tmp_path / "copy")
    path = folder / stage / "export.json"
    record = json.loads(path.read_text("utf-8"))
    assert record["settings"].pop(name) == alone
    for given, wanted in (({name: 3}, 3), ({}, alone)):
        path.write_text(json.dumps({**record, "settings": {**record["settings"], **given}}), "utf-8")
        loaded: Any = load(f"{exports.spec.partition(':')[0]}:{folder}", "cpu", "float32")
        assert getattr(loaded, name) == wanted


def test_detectors_are_compared_at_all_places_whatever_their_boxes(tmp_path: Path) -> None:
    detector: Any = openvocab.load_detector(spec_of("owlv2", tmp_path), "cpu", "float32")
    detector.model.box_head.dense2.bias.data.fill_(
        -200.0
    )  # boxes of no width: two models may differ in which have some
    image = openvocab.example_scenes()[0].path
    features, boxes = DetectorExport().answers(detector, Samples((image,), tuple(LABELS), None))[0]
    assert len(features) == detector._grid([openvocab.read_image(image)]).flatten(1, 2).shape[1]
    assert len(boxes.xyxy) == len(detector.encode(openvocab.read_image(image)).features) == 0


def test_an_export_has_the_thresholds_of_its_source() -> None:
    from openvocab.weights.presence import presence_model
    from openvocab.weights.thresholds import box_threshold, tag_threshold

    assert tag_threshold("onnx:pocket-tagger", independent=True) == tag_threshold("pocket-tagger", independent=True)
    assert box_threshold("openvino:pocket-detector") == box_threshold("pocket-detector")
    names = ("pocket-tagger", "pocket-detector")
    exported = presence_model(*(f"openvino:{name}" for name in names), independent=True)
    assert exported == presence_model(*names, independent=True) and exported.fitted


# --- refusals


def _changed(folder: Path) -> None:
    path = folder / "tagger" / "image.bin"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")


@pytest.mark.parametrize(
    ("damage", "spec", "message"),
    [
        pytest.param(_changed, "openvino:{}", "image.bin was changed since it was exported", id="changed file"),
        pytest.param(lambda at: (at / "tagger/text.xml").unlink(), "openvino:{}", "text.xml is absent", id="no file"),
        pytest.param(lambda at: (at / "tagger/export.json").write_text("[1]"), "openvino:{}", "no record", id="record"),
        pytest.param(lambda at: None, "onnx:{}", "was exported as openvino; write openvino:", id="other format"),
        pytest.param(shutil.rmtree, "openvino:{}", "holds no exported tagger", id="no folder"),
    ],
)
def test_what_is_not_as_it_was_written_is_refused(damage: Any, spec: str, message: str, tmp_path: Path) -> None:
    shutil.copytree(export_tiny("openvino", tmp_path / "exports").spec.partition(":")[2], tmp_path / "copy")
    damage(tmp_path / "copy")
    with pytest.raises(BadWeights, match=message):
        openvocab.load_tagger(spec.format(tmp_path / "copy"))


def test_an_export_runs_on_the_cpu_only(exports: Exports) -> None:
    with pytest.raises(BadInput, match="exported models run on the CPU, not on 'cuda'"):
        openvocab.load_tagger(exports.spec, "cuda")


@pytest.mark.parametrize(
    ("stage", "family", "message"),
    [
        pytest.param("tagger", "classifier", "of taggers, the checkpoints of open_clip, clip", id="classifier"),
        pytest.param("detector", "detr", "of detectors, the checkpoints of owlvit and owlv2 can", id="DETR"),
        pytest.param("segmenter", "sam2", "of segmenters, the checkpoints of sam can", id="SAM 2"),
    ],
)
def test_a_family_that_cannot_be_exported_is_named(stage: str, family: str, message: str, tmp_path: Path) -> None:
    need("openvino")
    spec: Any = spec_of(family, tmp_path / "model")
    with pytest.raises(BadInput, match=f"{stage} {family}:.*cannot be exported; {message}"):
        openvocab.export_model(out=tmp_path / "out", format="openvino", **{stage: spec})
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.long
def test_a_distant_export_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("openvino")
    monkeypatch.setattr(exporting, "MIN_COSINE", 1.01)
    with pytest.raises(BadOutput, match=r"differ from those of torch \(cosine 1\.00000, 1\.01 or more is needed\)"):
        openvocab.export_model(out=tmp_path / "out", format="openvino", tagger=spec_of("open_clip", tmp_path / "model"))
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        pytest.param(
            {"tagger": "pocket", "format": "coreml"}, UnknownName, "no export format named 'coreml'", id="format"
        ),
        pytest.param({}, BadInput, "nothing to export", id="no stage"),
        pytest.param({"preset": "pockt"}, UnknownName, "did you mean 'pocket'", id="preset"),
        pytest.param({"tagger": "pocket", "int8": True}, BadInput, "with calibrate", id="int8 without images"),
        pytest.param({"tagger": "pocket", "calibrate": "empty"}, BadInput, "empty holds no image", id="no image"),
    ],
)
def test_options_are_checked_first(
    options: Any, error: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    with pytest.raises(error, match=message):
        openvocab.export_model(**{"out": "out", "format": "onnx", **options})
    assert not Path("out").exists()


@pytest.mark.parametrize(("form", "package"), [("openvino", "openvino"), ("onnx", "onnx")])
def test_a_missing_extra_is_one_sentence(
    form: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"^{package} is not installed; run: pip install 'openvocab\[{form}\]'$"):
        openvocab.export_model(out=tmp_path / "out", format=form, tagger="pocket")


def test_openvino_finds_no_telemetry_client(exports: Exports) -> None:
    openvocab.load_tagger(exports.spec)
    assert "openvino_telemetry" not in sys.modules


# --- int8


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images in a folder for each of two labels."""
    for number in range(6):
        place = tmp_path / "images" / ("apple", "car")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random_image(48, 64, number)).save(place / f"{number}.png")
    return tmp_path / "images"


@pytest.mark.parametrize("form", ["openvino", pytest.param("onnx", marks=pytest.mark.long)])
def test_int8_is_measured_on_the_images(form: str, folder: Path, tmp_path: Path) -> None:
    need(form, "nncf")
    source = spec_of("open_clip", tmp_path / "model")
    options: Any = {"format": form, "tagger": source, "int8": True, "calibrate": folder}
    record = openvocab.export_model(out=tmp_path / "out", max_loss=100, **options)["tagger"]
    assert record.precision == "int8" and record.checks["labels"] == 2
    assert record.checks["float32"]["cosine_min"] > record.checks["cosine_min"] > 0.9
    assert {"top1", "top1_torch"} <= set(record.checks)
    loaded = openvocab.load_tagger(f"{form}:{tmp_path / 'out'}")
    assert loaded.record.dtype == "int8"
    with pytest.raises(BadOutput, match=r"int8 loses -?\d+\.\d\d points of top-1 on the 6 images, more than -101"):
        openvocab.export_model(out=tmp_path / "other", max_loss=-101, **options)
    assert list((tmp_path / "other").iterdir()) == []
