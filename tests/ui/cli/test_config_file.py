"""Options from a file, images from standard input, completion, and `python -m openvocab`."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

import openvocab
from openvocab.errors import BadInput
from openvocab.ui.cli.config_file import chosen_command, read_config, use_config
from openvocab.ui.cli.main import main
from openvocab.ui.cli.options import parser
from openvocab.ui.cli.standard_input import with_stdin

RUN = """
paths: [photos, more.jpg]
labels: [dog, "traffic light"]
annotate:
  box-threshold: 0.4
  no-images: true
  template: a {label}
tag: {windows: 2}
"""


def parsed(arguments: list[str], config: dict[str, Any]) -> Any:
    made = parser()
    use_config(chosen_command(made, arguments), config, "run.yaml")
    return made.parse_args(arguments)


@pytest.mark.parametrize("suffix", ["yaml", "yml", "json", "toml"])
def test_a_file_gives_options_in_every_format(suffix: str, tmp_path: Path) -> None:
    wanted = {"labels": "a, b", "max_tags": 3, "overwrite": True}
    texts = {"json": json.dumps(wanted), "toml": 'labels = "a, b"\nmax_tags = 3\noverwrite = true\n'}
    (tmp_path / f"run.{suffix}").write_text(texts.get(suffix, yaml.safe_dump(wanted)))
    config = read_config(str(tmp_path / f"run.{suffix}"))
    assert config == wanted
    args = parsed(["tag", "x.jpg"], config)
    assert (args.labels, args.max_tags, args.overwrite, args.paths) == ("a, b", 3, True, ["x.jpg"])


def test_sections_are_for_their_command_and_the_command_line_wins() -> None:
    config = yaml.safe_load(RUN)
    args = parsed(["annotate", "--out", "o"], config)
    assert (args.paths, args.labels) == (["photos", "more.jpg"], "dog, traffic light")
    assert (args.box_threshold, args.images, args.template) == (0.4, False, ["a {label}"])
    args = parsed(["annotate", "b.jpg", "--out", "o", "--box-threshold", "0.6", "--labels", "cat"], config)
    assert (args.paths, args.labels, args.box_threshold) == (["b.jpg"], "cat", 0.6)
    args = parsed(["tag"], config)
    assert (args.windows, args.paths) == (2, ["photos", "more.jpg"])


@pytest.mark.parametrize(
    ("config", "says"),
    [
        pytest.param({"box_treshold": 1}, "run.yaml: 'box_treshold' is no option of openvocab annotate; did you mean "
                     "'box-threshold'", id="misspelt"),
        pytest.param({"box-threshold": "much"}, "run.yaml: box-threshold: 'much' is no float", id="no number"),
        pytest.param({"gate": "open"}, "gate: 'open' is not one of best, threshold, none", id="no choice"),
        pytest.param({"overwrite": "yes"}, "overwrite is a switch; write true or false, not 'yes'", id="switch"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(config: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        parsed(["annotate", "x.jpg"], config)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        pytest.param("a.yaml", None, "cannot be read .No such file", id="absent"),
        pytest.param("a.yaml", "a: [", "cannot be read .while parsing", id="damaged YAML"),
        pytest.param("a.toml", "a =", "cannot be read", id="damaged TOML"),
        pytest.param("a.json", "[1]", "holds list, not options", id="no mapping"),
        pytest.param("a.yaml", "", "holds NoneType, not options", id="empty"),
    ],
)
def test_an_unusable_file_is_one_sentence_and_status_2(
    name: str, text: str | None, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(BadInput, match=says):
        read_config(str(path))
    assert main(["tag", "x.jpg", "--labels", "a", "--config", str(path)]) == 2
    assert capsys.readouterr().err.startswith(f"openvocab: {path} ")


@pytest.mark.parametrize(
    "command", [["tag"], ["annotate"], ["relabel"], ["serve"], ["evaluate", "classify"]], ids=" ".join
)
def test_what_config_shows_is_a_config(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", *command]) == 0
    shown = capsys.readouterr().out
    (tmp_path / "run.yaml").write_text(shown)
    use_config(chosen_command(parser(), command), yaml.safe_load(shown), "run.yaml")
    assert main(["config", "show", *command, "--config", str(tmp_path / "run.yaml")]) == 0
    assert capsys.readouterr().out == shown


def test_config_shows_what_a_file_changes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.yaml").write_text(RUN)
    assert main(["config", "show", "annotate", "--config", str(tmp_path / "run.yaml")]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert (shown["box-threshold"], shown["no-images"], shown["frames"]) == (0.4, True, "first")
    assert shown["verify"] is None, "the preset's own default holds"
    assert main(["config", "show", "anotate"]) == 2
    assert "no command named 'anotate'; did you mean 'annotate'" in capsys.readouterr().err


PNG = Path(openvocab.example_scenes()[0].path).read_bytes()


@pytest.mark.parametrize(
    ("data", "paths", "wanted"),
    [
        pytest.param(b"a.jpg\nb c.jpg\n", ["-"], ["a.jpg", "b c.jpg"], id="lines"),
        pytest.param(b"a\nb.jpg\0c.jpg\0", ["-"], ["a\nb.jpg", "c.jpg"], id="NUL"),
        pytest.param(b"b.jpg", ["a.jpg", "-", "c.jpg"], ["a.jpg", "b.jpg", "c.jpg"], id="among others"),
        pytest.param(PNG, ["-"], [PNG], id="an image"),
        pytest.param(b"unread", ["a.jpg"], ["a.jpg"], id="not asked for"),
    ],
)
def test_standard_input_holds_paths_or_an_image(
    data: bytes, paths: list[str], wanted: list[str | bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: False))
    assert with_stdin(paths) == wanted


@pytest.mark.parametrize(
    ("data", "terminal", "says"),
    [
        pytest.param(b"", True, "standard input, which is a terminal", id="terminal"),
        pytest.param(b"\n \n", False, "standard input is empty", id="empty"),
    ],
)
def test_empty_standard_input_is_refused(
    data: bytes, terminal: bool, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: terminal))
    with pytest.raises(BadInput, match=says):
        with_stdin(["-"])


def test_the_module_runs_and_reads_a_piped_image() -> None:
    command = [sys.executable, "-m", "openvocab", "tag", "-", "--labels", "tent, apple", "--json"]
    done = subprocess.run(command, input=PNG, capture_output=True)
    assert not done.returncode, done.stderr
    row = json.loads(done.stdout)
    assert row["source"] == "bytes-0" and row["status"] == "ok" and row["tags"][0]["label"] == "tent"


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_completion_script_completes_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    (tmp_path / "completion").write_text(capsys.readouterr().out)
    script = (
        f"source {tmp_path / 'completion'}; COMP_WORDS=(openvocab ann); COMP_CWORD=1; _shtab_openvocab; "
        "echo ${COMPREPLY[@]}"
    )
    assert (
        subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.strip() == "annotate"
    )
