"""Commands share option names, global options, --json listings and tables that fit the terminal."""

from __future__ import annotations

import json
import sys

import pytest

from openvocab.ui.cli import output
from openvocab.ui.cli.main import main
from openvocab.ui.cli.options import option_names, parser
from openvocab.ui.cli.output import table

TAG = ["tag", "a.png", "--labels", "a, b"]
ANNOTATE = ["annotate", "a.png", "--labels", "a, b", "--out", "o"]
RELABEL = ["relabel", "run", "--labels", "a, b"]


@pytest.mark.parametrize("command", [TAG, ANNOTATE, RELABEL], ids=lambda command: command[0])
@pytest.mark.parametrize(("option", "name"), [("--tag-threshold", "tag_threshold"), ("--max-tags", "max_tags")])
def test_commands_share_option_names(command: list[str], option: str, name: str) -> None:
    assert getattr(parser().parse_args([*command, option, "1"]), name) == 1


@pytest.mark.parametrize(
    "command",
    [TAG, ANNOTATE, RELABEL, ["models"], ["labels"], ["weights", "list"], ["doctor"], ["serve"]],
    ids=" ".join,
)
def test_global_options_work_before_and_after_the_command(command: list[str]) -> None:
    assert not parser().parse_args(command).offline
    assert parser().parse_args(["--offline", *command]).offline
    assert parser().parse_args([*command, "--offline"]).offline


@pytest.mark.parametrize(
    ("command", "key"),
    [
        pytest.param(["models"], "presets", id="models"),
        pytest.param(["labels"], "pocket", id="label sets"),
        pytest.param(["labels", "show", "pocket"], "apple", id="labels of a set"),
        pytest.param(["weights", "list"], "checkpoints", id="weights list"),
        pytest.param(["weights", "verify", "pocket"], "checkpoints", id="weights verify"),
        pytest.param(["evaluate", "reproduce"], "benchmarks", id="recipes"),
        pytest.param(["doctor"], "versions", id="doctor"),
    ],
)
def test_listings_print_one_json_document(command: list[str], key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--json"]) == 0
    assert key in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        pytest.param("give overwrite=True to start again", "give --overwrite to start again", id="flag"),
        pytest.param("it does not use verify=, tiles=", "it does not use --verify, --tiles", id="no value"),
        pytest.param("verify=0 keeps them", "--verify 0 keeps them", id="number"),
        pytest.param("try dtype='float32', or", "try --dtype float32, or", id="text"),
        pytest.param("(tag_threshold is 0.5)", "(--tag-threshold is 0.5)", id="name with an underscore"),
        pytest.param("tiles must be a number", "--tiles must be a number", id="name that must be"),
        pytest.param(
            "known: open_clip; the labels are tiles", "known: open_clip; the labels are tiles", id="other words"
        ),
        pytest.param("'dtype=x' in a/box_threshold.png", "'dtype=x' in a/box_threshold.png", id="names of files"),
    ],
)
def test_messages_of_the_library_name_options(
    message: str, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "_options", frozenset(option_names(parser())))
    output.complain(message)
    assert capsys.readouterr().err == f"openvocab: {shown}\n"


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize("command", [["models"], ["labels"], ["weights", "list"]], ids=" ".join)
def test_tables_fit_the_terminal(
    command: list[str], columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(command) == 0
    width = max(map(len, capsys.readouterr().out.splitlines()))
    assert width <= max(columns, 58)  # six columns of at least eight characters


def test_wrapped_tables_lose_no_text(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"word{number}" for number in range(40)]
    table(("name", "text"), [("a", " ".join(words))])
    assert " ".join(words) in capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    table(("name", "text"), [("a", " ".join(words))])
    assert [word for word in capsys.readouterr().out.split() if word in words] == words
