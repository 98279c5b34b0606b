"""`openvocab evaluate` writes complete and reproducible reports, and refuses bad input in one sentence."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from PIL import Image

import openvocab
from openvocab.ui.cli.main import main
from tests.tiny.open_clip import write


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"open_clip:{write(tmp_path_factory.mktemp('clip') / 'model')}"


@pytest.fixture
def folder(tmp_path: Path, make_image) -> Path:
    """Three labels, eight images."""
    for row, (name, count) in enumerate({"cat": 3, "d|g": 4, "tea $pot": 1}.items()):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(make_image(30 + number, 40, 10 * row + number)).save(
                tmp_path / "data" / name / f"{number}.png"
            )
    return tmp_path / "data"


def run(spec: str, data: Path, out: Path, *more: str, kind: str = "imagefolder") -> int:
    given = ["--data", str(data), "--format", kind, "--out", str(out), "--tagger", spec]
    return main(["evaluate", "classify", *given, "--device", "cpu", "--dtype", "float32", *more])


def test_the_report_is_whole(spec, folder, tmp_path, capsys):
    assert run(spec, folder, tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "top-1" in printed and "8 images, 3 labels" in printed
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert report["metrics"]["labels"] == ["cat", "d|g", "tea $pot"]
    assert report["metrics"]["top5"] is None
    assert [sum(row) for row in report["metrics"]["confusion"]] == [3, 4, 1]
    assert len(report["data"]["digest"]) == len(report["model"]["sha256"]) == 64
    assert report["bootstrap"]["seed"] == 0 and report["versions"]["torch"]
    assert report["prompts"]["templates"] == ["This is a photo of a {label}"]
    text = (tmp_path / "out" / "report.md").read_text("utf-8")
    assert r"| d\|g | 4 |" in text and "![confusion](confusion.png)" in text
    for name in ("confusion.png", "reliability.png"):
        with Image.open(tmp_path / "out" / name) as plot:
            assert min(plot.size) > 300


def test_the_same_run_writes_the_same_files(spec, folder, tmp_path):
    for name in ("one", "two"):
        run(spec, folder, tmp_path / name, "--seed", "5", "--batch-size", "3")
    names = sorted(each.name for each in (tmp_path / "one").iterdir())
    assert names == ["confusion.png", "reliability.png", "report.json", "report.md", "worst.png"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_several_labels(spec, folder, tmp_path, capsys):
    lines = [{"path": f"cat/{number}.png", "labels": ["a"] * (number > 0) + ["b"] * (number < 2)} for number in (0, 1)]
    (folder / "list.jsonl").write_text("\n".join(map(json.dumps, lines)), "utf-8")
    assert run(spec, folder / "list.jsonl", tmp_path / "out", "--tag-threshold", "0.3", kind="list") == 0
    assert "mean average precision" in capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert (report["kind"], report["metrics"]["threshold"]) == ("multi-label", 0.3)
    assert [row["images"] for row in report["metrics"]["rows"]] == [1, 2]
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == ["report.json", "report.md"]


def test_class_map_labels_and_templates(spec, folder, tmp_path):
    given = ["--class-map", "d|g=dog, tea $pot=teapot", "--labels", "teapot, dog, cat, bird", "--template", "a {label}"]
    assert run(spec, folder, tmp_path / "out", *given) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert report["metrics"]["labels"] == ["teapot", "dog", "cat", "bird"]
    assert [row["images"] for row in report["metrics"]["rows"]] == [1, 4, 3, 0]
    assert report["prompts"]["templates"] == ["a {label}"]


def test_an_unreadable_image_is_reported_and_counted(spec, folder, tmp_path, capsys):
    (folder / "cat" / "broken.png").write_bytes(b"no image")
    assert run(spec, folder, tmp_path / "out") == 1
    assert "broken.png" in capsys.readouterr().err
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert report["data"]["images"] == 8
    assert [Path(each["image"]).name for each in report["data"]["unread"]] == ["broken.png"]
    assert "Images that could not be read, in no metric: 1." in (tmp_path / "out" / "report.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        pytest.param(["--labels", "cat, dog"], "2 labels that are not among those given", id="labels do not match"),
        pytest.param(["--class-map", "kat=cat"], "names 'kat', which is not a label", id="class map of another set"),
        pytest.param(["--class-map", "cat"], "--class-map has 'cat'", id="class map without ="),
        pytest.param(["--preset", "pocket"], "--preset and --tagger both", id="two taggers"),
        pytest.param(["--tag-threshold", "0.5"], "a threshold is for multi-label data", id="threshold"),
        pytest.param(["--batch-size", "0"], "--batch-size must be", id="no batch"),
        pytest.param(["--seed", "-1"], "--seed must be", id="negative seed"),
        pytest.param(["--out", "{data}/report"], "lies in --data", id="out in data"),
        pytest.param(["--data", "{data}/none"], "is not a folder", id="no data"),
    ],
)
def test_bad_input_is_one_line(more, says, spec, folder, tmp_path, capsys):
    more = [each.format(data=folder) if "{data}" in each else each for each in more]
    assert run(spec, folder, tmp_path / "out", *more) == 2
    error = capsys.readouterr().err.strip()
    assert says in error and "\n" not in error
    assert not (tmp_path / "out").exists()


def test_an_unknown_preset_is_refused_with_the_nearest(folder, tmp_path, capsys):
    given = ["--data", str(folder), "--format", "imagefolder", "--out", str(tmp_path / "out"), "--preset", "pockte"]
    assert main(["evaluate", "classify", *given]) == 2
    assert "did you mean 'pocket'" in capsys.readouterr().err


# --- detect


@pytest.fixture
def blood(tmp_path: Path, make_image) -> Path:
    """Two images with VOC's boxes, one of which is outside its image."""
    for folder in ("Annotations", "JPEGImages"):
        (tmp_path / "blood" / folder).mkdir(parents=True)
    for name, box in (("a", (3, 4, 30, 31)), ("b", (90, 1, 99, 9))):
        Image.fromarray(make_image(48, 64, ord(name))).save(tmp_path / "blood" / "JPEGImages" / f"{name}.png")
        edges = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
        text = (
            f"<annotation><filename>{name}.png</filename><size><width>64</width><height>48</height></size>"
            f"<object><name>WBC</name><bndbox>{edges}</bndbox></object></annotation>"
        )
        (tmp_path / "blood" / "Annotations" / f"{name}.xml").write_text(text, "utf-8")
    return tmp_path / "blood"


@pytest.mark.filterwarnings("default::openvocab.errors.OpenVocabWarning")
def test_detect_reports_what_it_left_out(blood, owlv2_folder, tmp_path, capsys):
    given = ["--data", str(blood), "--format", "voc", "--out", str(tmp_path / "out"), "--class-map", "WBC=white cell"]
    model = ["--detector", f"owlv2:{owlv2_folder}", "--device", "cpu", "--dtype", "float32"]
    assert main(["evaluate", "detect", *given, *model, "--labels", "white cell, platelet"]) == 0
    printed = capsys.readouterr()
    assert "AP50" in printed.out and "2 images, 2 labels" in printed.out
    assert "boxes outside their image, left out: 1, the first in" in printed.err
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert report["data"]["objects"] == {"white cell": 1, "platelet": 0}
    assert report["data"]["faults"] == {"boxes outside their image, left out": 1}
    assert report["metrics"]["per_label"]["platelet"] is None
    assert report["settings"]["box_threshold"] == 0.01
    text = (tmp_path / "out" / "report.md").read_text("utf-8")
    assert "Boxes outside their image, left out: 1." in text
    if report["metrics"]["ap50"] < 0.01:
        assert "close to zero" in text


def test_detect_finds_what_an_oracle_knows(blood, tmp_path, monkeypatch, capsys):
    import numpy as np

    import openvocab
    from openvocab.pipeline.protocols import Boxes, Queries

    class Oracle:
        record = openvocab.ModelRecord("oracle", None, "cpu", "float32")

        def encode_labels(self, labels, template=None):
            return Queries(tuple(labels), "{label}", np.zeros((len(labels), 1)))

        def detect(self, images, queries, threshold):
            box = np.array([[2, 3, 30, 31]], np.float32)
            return [Boxes(box, np.array([0.9], np.float32), np.zeros(1, np.int64)) for _ in images]

    monkeypatch.setattr(openvocab, "load_detector", lambda *_: Oracle())
    (blood / "Annotations" / "b.xml").unlink()
    given = ["--data", str(blood), "--format", "voc", "--out", str(tmp_path / "out")]
    assert main(["evaluate", "detect", *given]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert report["metrics"]["ap"] == pytest.approx(1)
    assert report["data"]["predicted_boxes"] == 1
    assert (report["data"]["resized"], report["template"]) == ([], "{label}")


@pytest.mark.parametrize(
    ("given", "ap", "boxes"),
    [
        pytest.param([], 1.0, 2, id="off by default"),
        pytest.param(["--duplicates", "best"], 0.0, 1, id="asked for"),
        pytest.param(["--nms-iou", "1"], 1.0, 3, id="no suppression at all"),
    ],
)
def test_detect_measures_ap_without_suppression_between_labels(given, ap, boxes, blood, tmp_path, monkeypatch):
    import numpy as np

    import openvocab
    from openvocab.pipeline.protocols import Boxes, Queries

    class Torn:
        """Detects the cell, a platelet in its place with a higher score, and that platelet again."""

        record = openvocab.ModelRecord("torn", None, "cpu", "float32")

        def encode_labels(self, labels, template=None):
            return Queries(tuple(labels), "{label}", np.zeros((len(labels), 1)))

        def detect(self, images, queries, threshold):
            boxes = np.array([[2, 3, 30, 31]] * 3, np.float32)
            return [Boxes(boxes, np.array([0.9, 0.8, 0.7], np.float32), np.array([1, 0, 1])) for _ in images]

    monkeypatch.setattr(openvocab, "load_detector", lambda *_: Torn())
    (blood / "Annotations" / "b.xml").unlink()
    common = ["--data", str(blood), "--format", "voc", "--out", str(tmp_path / "out"), "--labels", "WBC, platelet"]
    assert main(["evaluate", "detect", *common, *given]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert report["metrics"]["per_label"]["WBC"] == pytest.approx(ap)
    assert report["data"]["predicted_boxes"] == boxes


@pytest.mark.parametrize(
    ("more", "says"),
    [
        pytest.param(["--labels", "platelet"], "the first is 'WBC'", id="labels do not match"),
        pytest.param(["--box-threshold", "2"], "--box-threshold must lie in 0 to 1", id="threshold"),
        pytest.param(["--images", "x"], "a folder of images is for coco", id="images"),
        pytest.param(["--format", "coco"], "is not a file", id="another format"),
    ],
)
@pytest.mark.filterwarnings("default::openvocab.errors.OpenVocabWarning")
def test_detect_refuses(more, says, blood, tmp_path, capsys):
    given = ["--data", str(blood), "--format", "voc", "--out", str(tmp_path / "out")]
    assert main(["evaluate", "detect", *given, *more]) == 2
    assert says in capsys.readouterr().err


# --- templates


def test_templates_are_the_metrics_of_classify_in_one_table(spec, folder, tmp_path, capsys):
    given = ["--data", str(folder), "--format", "imagefolder", "--out", str(tmp_path / "out"), "--tagger", spec]
    given += ["--device", "cpu", "--dtype", "float32", "--template", "simple", "--template", "art of a {label}"]
    assert main(["evaluate", "templates", *given]) == 0
    assert "top-1" in capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert [one["templates"] for one in report["prompts"]] == [["This is a photo of a {label}"], ["art of a {label}"]]
    for row, template in enumerate(("simple", "art of a {label}")):
        run(spec, folder, tmp_path / f"alone{row}", "--template", template)
        alone = json.loads((tmp_path / f"alone{row}" / "report.json").read_text("utf-8"))
        assert report["prompts"][row]["metrics"] == alone["metrics"]
    text = (tmp_path / "out" / "report.md").read_text("utf-8")
    assert "| This is a photo of a {label} | 1 |" in text and "| art of a {label} | 1 |" in text


def test_templates_default_to_the_four_prompt_sets(spec, folder, tmp_path):
    given = ["--data", str(folder), "--format", "imagefolder", "--out", str(tmp_path / "out"), "--tagger", spec]
    assert main(["evaluate", "templates", *given, "--device", "cpu"]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert [(one["name"], len(one["templates"])) for one in report["prompts"]] == [
        ("simple", 1),
        ("plain", 1),
        ("openai7", 7),
        ("openai80", 80),
    ]


@pytest.mark.parametrize("task", ["classify", "templates"])
def test_a_missing_extra_is_reported_before_a_model_is_loaded(task, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setattr(openvocab, "load_tagger", None)
    assert (
        main(["evaluate", task, "--data", str(tmp_path), "--format", "imagefolder", "--out", str(tmp_path / "o")]) == 2
    )
    assert "pip install 'openvocab[evaluate]'" in capsys.readouterr().err
