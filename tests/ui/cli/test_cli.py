"""The command line against a pipeline that needs no weights."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

import openvocab
from openvocab.errors import BadInput, BadWeights, OpenVocabWarning
from openvocab.pipeline.settings import Settings
from openvocab.testing import FakeDetector, FakeSegmenter, FakeTagger
from openvocab.ui.cli.main import main


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Replace openvocab.load; the list holds (preset, SPECs, settings) of each call."""
    calls: list[Any] = []

    def load(preset=None, *, tagger=None, detector=None, segmenter=None, tags_alone=False, **more):
        settings = {name: value for name, value in more.items() if name not in ("device", "dtype")}
        calls.append((preset, (tagger, detector, segmenter), Settings().changed(**settings)))
        fakes: tuple[Any, Any, Any] = (
            FakeTagger({"dog": 0.75, "犬": 0.75}),
            FakeDetector([("dog", 0.5, 0, 0, 40, 30)]),
            FakeSegmenter(),
        )
        if tags_alone:
            return openvocab.Pipeline(fakes[0], None, None, calls[-1][2])
        first, second, third = (
            fake if preset or spec else None for fake, spec in zip(fakes, calls[-1][1], strict=True)
        )
        return openvocab.Pipeline(first, second, third, calls[-1][2])

    monkeypatch.setattr(openvocab, "load", load, raising=False)
    return calls


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with two good images of one stem and a broken one between them."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a.jpg", "a.png"):
        Image.new("RGB", (40, 30), "red").save(folder / name)
    (folder / "a.jpg.png").write_bytes(b"not an image")
    return folder


def rows_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_annotate_writes_a_row_for_each_and_an_image_for_those_it_reads(loads, images, tmp_path, capsys):
    out = tmp_path / "deep" / "out"
    status = main(["annotate", str(images), "--labels", "dog, cat", "--out", str(out), "--preset", "pocket"])
    said = capsys.readouterr()
    rows = list(openvocab.read_run(out))
    assert status == 1
    assert [row.status for row in rows] == ["ok", "error", "ok"]
    assert rows[1].error_kind == "not_an_image"
    drawings = [row.drawing for row in rows]
    assert drawings[:2] == ["images/a.png", None]
    assert sorted(f"images/{path.name}" for path in (out / "images").iterdir()) == sorted(filter(None, drawings))
    assert rows[0].detections is not None and rows[0].detections.labels == ("dog",)
    assert "dog 0.50" in said.out and "; not in this image: cat 0.0" in said.out
    assert said.err.count("openvocab: ") == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        pytest.param(
            ["dog,"], ["pocket, the default preset, knows 140 drawn objects and no photographs"], id="default"
        ),
        pytest.param(["dog,", "--preset", "pocket"], [], id="chosen"),
        pytest.param(["dog,", "--preset", "base"], [], id="another preset"),
        pytest.param(
            ["Dog, gnu", "--preset", "pocket"], ["pocket does not know 'gnu': such scores"], id="unknown label"
        ),
        pytest.param(["{here}/known.yaml", "--preset", "pocket"], [], id="known synonym and child"),
    ],
)
@pytest.mark.parametrize("command", ["tag", "annotate", "everything"])
def test_what_the_embedded_models_know_is_said_once_on_stderr(loads, images, tmp_path, capsys, command, given, said):
    (tmp_path / "known.yaml").write_text("canine: [dog]\nfruit: {children: [apple]}\napple: []\n", "utf-8")
    labels, *preset = [each.format(here=tmp_path) for each in given]
    main([command, str(images / "a.png"), "--labels", labels, *preset, "--out", str(tmp_path / "o")])
    lines = capsys.readouterr().err.splitlines()
    found = [line.removeprefix("openvocab: ") for line in lines if "know" in line]
    assert len(found) == len(said) and all(map(str.startswith, found, said))


def test_everything_prints_a_row_for_each_image_as_json(images, capsys):
    assert main(["everything", str(images), "--labels", "dog,", "--json"]) == 1
    rows = rows_of(capsys.readouterr().out)
    assert [(row["status"], row.get("error_kind")) for row in rows] == [
        ("ok", None),
        ("error", "not_an_image"),
        ("ok", None),
    ]


def test_json_leaves_nothing_else_on_stdout(loads, images, tmp_path, capsys):
    main(["tag", str(images), "--labels", "dog,", "--json"])
    rows = rows_of(capsys.readouterr().out)
    assert [row["status"] for row in rows] == ["ok", "error", "ok"]
    main(["annotate", str(images), "--labels", "dog,", "--out", str(tmp_path / "o"), "--json"])
    (summary,) = rows_of(capsys.readouterr().out)
    assert (summary["rows"], summary["ok"], summary["errors"]) == (3, 2, {"not_an_image": 1})


@pytest.mark.filterwarnings("ignore:no installed font")
@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_file_may_be_called_anything(loads, images, tmp_path, capsys):
    source = images / "\udcff\x1b[31m\u200d.png"
    source.write_bytes((images / "a.png").read_bytes())
    command = ["annotate", str(source), "--labels", "犬,", "--out", str(tmp_path / "o")]
    assert main(command) == 0
    assert "\x1b" not in capsys.readouterr().out
    (row,) = openvocab.read_run(tmp_path / "o")
    assert (row.id, row.tags[0].label) == (str(source), "犬")
    assert main(["tag", str(source), "--labels", "犬,", "--json"]) == 0
    assert rows_of(capsys.readouterr().out)[0]["source"] == str(source)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        pytest.param("dog,", "dog 0.75; present: dog 0.96", id="present"),
        pytest.param("cat, dog", "dog 0.75; present: dog 0.96; not in this image: cat 0.00", id="absent"),
        pytest.param("a,b,c,d,e,f,g", "nothing; not in this image: a, +2", id="many"),
    ],
)
def test_tag_prints_tags_and_what_is_not_there(loads, images, capsys, labels, said):
    path = str(images / "a.png")
    assert main(["tag", path, "--labels", labels]) == 0
    shown = capsys.readouterr().out.replace(" 0.00, b 0.00, c 0.00, d 0.00, e 0.00", "")
    assert shown == f"{path}: {said}\n"


@pytest.mark.parametrize(
    ("given", "templates"),
    [
        pytest.param([], ["This is a photo of a {label}"], id="none"),
        pytest.param(["a {label}"], ["a {label}"], id="one"),
        pytest.param(["a {label}", "the {label}"], ["a {label}", "the {label}"], id="two"),
    ],
)
def test_templates_reach_the_result(loads, images, capsys, given, templates):
    options = [word for template in given for word in ("--template", template)]
    main(["tag", str(images / "a.png"), "--labels", "dog,", "--json", *options])
    assert rows_of(capsys.readouterr().out)[0]["run"]["templates"] == templates


@pytest.mark.parametrize(
    ("given", "loaded"),
    [
        pytest.param([], ("pocket", (None, None, None)), id="the preset is the default"),
        pytest.param(["--detector", "owlv2:here"], (None, (None, "owlv2:here", None)), id="a SPEC stands alone"),
        pytest.param(["--preset", "pocket", "--tagger", "t"], ("pocket", ("t", None, None)), id="a SPEC in a preset"),
    ],
)
def test_models_are_loaded_as_named(loads, images, tmp_path, given, loaded):
    main(["annotate", str(images / "a.png"), "--labels", "dog,", "--out", str(tmp_path / "o"), *given])
    assert loads[0][:2] == loaded


@pytest.mark.parametrize(
    ("command", "given", "name", "value"),
    [
        pytest.param("tag", ["--max-tags", "3"], "max_tags", 3, id="max tags"),
        pytest.param("tag", ["--tag-threshold", "0.5"], "tag_threshold", 0.5, id="threshold"),
        pytest.param("tag", ["--windows", "3"], "windows", 3, id="windows"),
        pytest.param("annotate", ["--box-threshold", "0.125"], "box_threshold", 0.125, id="box threshold"),
        pytest.param("annotate", ["--mask-threshold", "0.5"], "mask_threshold", 0.5, id="mask threshold"),
        pytest.param("annotate", ["--duplicates", "keep"], "duplicates", "keep", id="a choice"),
        pytest.param("annotate", ["--gate", "none"], "gate", "none", id="the gate"),
    ],
)
def test_options_become_settings(loads, images, tmp_path, command, given, name, value):
    out = ["--out", str(tmp_path / "o")] if command == "annotate" else []
    main([command, str(images / "a.png"), "--labels", "dog,", *out, *given])
    settings = loads[0][2]
    assert settings == replace(Settings(), **{name: value})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["tag", "{here}/none.png", "--labels", " "], "label", id="no labels"),
        pytest.param(["tag", "{here}", "--labels", "a, A"], "label", id="duplicate labels"),
        pytest.param(["tag", "{here}/empty", "--labels", "a, b"], "no image", id="empty folder"),
        pytest.param(["everything", "{here}/empty", "--labels", "a,"], "no image", id="everything, empty folder"),
        pytest.param(["tag", "{here}", "--labels", "a, b", "--tag-threshold", "2"], "0 to 1", id="threshold"),
        pytest.param(["annotate", "{here}", "--labels", "a, b", "--out", "{here}"], "overwritten", id="own folder"),
        pytest.param(
            ["annotate", "{here}", "--labels", "a, b", "--out", "{here}/a.png"],
            "cannot be made a folder",
            id="out is a file",
        ),
        pytest.param(
            ["tag", "{here}", "--labels", "a, b", "--template", "no slot here"], "place for the label", id="template"
        ),
        pytest.param(
            ["annotate", "{here}", "--labels", "a, b", "--out", "{here}-o", "--tagger", "t", "--box-threshold", "0.5"],
            "--box-threshold is for a detector",
            id="a box option without a detector",
        ),
        pytest.param(
            ["annotate", "{here}", "--labels", "a, b", "--out", "{here}-o", "--preset", "sam3", "--max-tags", "3"],
            "--max-tags is for a tagger",
            id="a tag option without a tagger",
        ),
        pytest.param(
            ["tag", "{here}", "--labels", "a, b", "--part-rows", "3"], "name one with --out", id="parts of no folder"
        ),
        pytest.param(["labels", "show", "pokcet"], "did you mean 'pocket'", id="label set"),
        pytest.param(["models", "bsae"], "no preset or model family named 'bsae'; did you mean 'base'", id="preset"),
        pytest.param(["tag", "{here}", "--labels", ""], "there are no labels; give at least one\n", id="no labels"),
        pytest.param(
            ["tag", "https://example.org/a.png", "--labels", "a,"],
            "give --allow-urls to fetch",
            id="an option, no argument",
        ),
        pytest.param(
            ["tag", "{here}", "--labels", "a,", "--max-tags", "-1"],
            "openvocab: --max-tags must be",
            id="the option's own name",
        ),
    ],
)
def test_bad_input_is_one_line_and_status_2(loads, images, capsys, arguments, said):
    (images / "empty").mkdir()
    assert main([argument.format(here=images) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("openvocab: ")
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param([], "COMMAND", id="no command"),
        pytest.param(["tagg"], "no command named 'tagg'; did you mean 'tag'?", id="unknown command"),
        pytest.param(["labels", "shw"], "no command named 'shw'; did you mean 'show'?", id="unknown nested command"),
        pytest.param(["tag", "a.png"], "--labels", id="no labels"),
        pytest.param(["tag", "a.png", "--lables=a"], "'--lables'; did you mean '--labels'?", id="unknown option"),
        pytest.param(["tag", "a.png", "--labels", "a", "--max-tags", "many"], "--max-tags", id="no number"),
        pytest.param(["tag", "a", "--labels", "a", "--features", "float8"], "no value of --features", id="no choice"),
        pytest.param(["annotate", "a.png", "--labels", "a"], "--out", id="no folder"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(arguments, said, capsys):
    with pytest.raises(SystemExit) as left:
        main(arguments)
    text = capsys.readouterr().err
    assert left.value.code == 2 and text.startswith("openvocab: ") and said in text and text.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [
        pytest.param(BadInput("so"), 2, id="bad input"),
        pytest.param(BadWeights("so"), 2, id="bad weights"),
        pytest.param(KeyboardInterrupt(), 130, id="interrupted"),
        pytest.param(OSError(28, "No space left on device"), 3, id="disk full"),
        pytest.param(OSError(13, "Permission denied"), 2, id="not permitted"),
    ],
)
def test_errors_become_a_line_and_a_status(monkeypatch, images, capsys, error, status):
    def load(*_, **__):
        raise error

    monkeypatch.setattr(openvocab, "load", load, raising=False)
    assert main(["tag", str(images), "--labels", "dog,"]) == status
    assert capsys.readouterr().err.startswith("openvocab: ")


def test_own_warnings_are_one_line(monkeypatch, loads, images, capsys):
    def read_label_set(spec):
        import warnings

        warnings.simplefilter("always")
        warnings.warn("long label", OpenVocabWarning, stacklevel=2)
        return openvocab.LabelSet(["dog"])

    monkeypatch.setattr(openvocab, "read_label_set", read_label_set)
    main(["tag", str(images / "a.png"), "--labels", "dog"])
    assert "openvocab: warning: long label\n" in capsys.readouterr().err


def test_demo_shows_truth_beside_answers(loads, monkeypatch, images, tmp_path, capsys):
    scenes = [SimpleNamespace(name="scene-1", path=images / "a.png", labels=("dog", "apple"))]
    monkeypatch.setattr(openvocab, "example_scenes", lambda: scenes)
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 0
    out = capsys.readouterr().out
    assert "scene-1" in out
    assert "dog, apple" in out
    assert (tmp_path / "demo" / "scene-1.png").is_file()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        pytest.param(["models"], ["pocket", "open_clip", "owlv2", "sam", "MB"], id="models"),
        pytest.param(["models", "base", "sam2"], ["base", "segmenter  sam2\n"], id="models by name"),
        pytest.param(["labels"], ["pocket"], id="label sets"),
        pytest.param(["labels", "show", "pocket"], ["dog\n"], id="one label set"),
    ],
)
def test_lists(command, words, capsys):
    assert main(command) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in words)


def test_help_loads_nothing_heavy():
    heavy = ("torch", "torchvision", "transformers", "open_clip", "gradio", "pyarrow", "matplotlib")
    code = (
        "import sys\nfrom openvocab.ui.cli.main import main\n"
        f"try:\n    main(['--help'])\nfinally:\n    print([name for name in {heavy} if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (said.returncode, said.stdout.splitlines()[-1]) == (0, "[]")
    assert "annotate" in said.stdout
