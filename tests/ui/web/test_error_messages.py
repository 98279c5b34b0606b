from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

pytest.importorskip("gradio")

import gradio as gr

import openvocab
from openvocab.errors import BadInput
from openvocab.ui.web.error_messages import error_message, report_errors
from openvocab.ui.web.texts import strings


def fails(error):
    def once(_):
        raise error

    return once


def fails_later(error):
    def steps(_):
        yield 1
        raise error

    return steps


@pytest.mark.parametrize("make", [fails, fails_later])
@pytest.mark.parametrize(
    ("error", "says"),
    [
        pytest.param(BadInput("no <b>such</b> label"), "no &lt;b&gt;such&lt;/b&gt; label", id="ours, escaped"),
        pytest.param(KeyError("secret"), "error on the server", id="unexpected, in general terms"),
        pytest.param(gr.Error("kept"), "kept", id="Gradio's own"),
    ],
)
def test_an_error_is_one_sentence(make, error, says, caplog):
    caplog.set_level(logging.CRITICAL)
    with pytest.raises(gr.Error) as raised:
        list(report_errors(make(error))(1) or [])
    assert says in raised.value.message
    assert "secret" not in raised.value.message


def test_unexpected_errors_are_logged(caplog):
    error_message(KeyError("why"))
    assert "why" in caplog.text
    caplog.clear()
    assert error_message(BadInput("said")) == "said"
    assert not caplog.records


def test_return_values_pass_through():
    assert report_errors(lambda x: x + 1)(1) == 2
    assert list(report_errors(lambda: iter((1, 2)))()) == [1, 2]


@pytest.mark.parametrize(
    ("says", "wanted"),
    [
        pytest.param(
            "this pipeline has no detector; load one with detector=SPEC",
            "this pipeline has no detector; choose another preset under “Models”",
            id="a stage that the preset lacks",
        ),
        pytest.param(
            "a.png: the detections have no masks; load a segmenter, or take crops()",
            "a.png: the detections have no masks; choose another preset under “Models”",
            id="a method of Python",
        ),
        pytest.param(
            "the tagger's logits are not finite; try dtype='float32', or check its weights",
            "the tagger's logits are not finite; try openvocab serve --dtype float32, or check its weights",
            id="an option of the server",
        ),
        pytest.param(
            "run.json cannot be read (gone); overwrite=True starts again",
            "run.json cannot be read (gone); serve the folder with another --out",
            id="a run that cannot be read",
        ),
        pytest.param(
            "run holds parts and no run.json; give another folder, or overwrite=True to start again",
            "run holds parts and no run.json; give another folder",
            id="one of two remedies",
        ),
        pytest.param(
            "box_threshold must lie in 0 to 1, got 7; write for example 0.25",
            "box_threshold must lie in 0 to 1, got 7; write for example 0.25",
            id="an argument of the call stays",
        ),
        pytest.param("'dtype=int8.png' is empty", "'dtype=int8.png' is empty", id="a file name stays"),
    ],
)
def test_remedies_are_those_that_a_visitor_has(says, wanted):
    assert error_message(BadInput(says)) == wanted


@pytest.mark.parametrize("remedy", strings.REMEDIES)
def test_the_library_still_has_the_remedy(remedy):
    package = Path(openvocab.__file__).parent
    files = (path for path in package.rglob("*.py") if "ui" not in path.relative_to(package).parts)
    assert any(re.search(remedy, path.read_text("utf-8")) for path in files)
