from __future__ import annotations

import logging

import pytest

pytest.importorskip("gradio")

import gradio as gr

from openvocab.errors import BadInput
from openvocab.ui.web.error_messages import error_message, report_errors


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
