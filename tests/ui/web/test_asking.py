from __future__ import annotations

import logging

import pytest

pytest.importorskip("gradio")

import gradio as gr

from openvocab.errors import BadInput
from openvocab.ui.web.asking import sentence, told


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
        pytest.param(KeyError("secret"), "fault on the server", id="another, in general words"),
        pytest.param(gr.Error("kept"), "kept", id="Gradio's own"),
    ],
)
def test_an_error_is_one_sentence(make, error, says, caplog):
    caplog.set_level(logging.CRITICAL)
    with pytest.raises(gr.Error) as raised:
        list(told(make(error))(1) or [])
    assert says in raised.value.message
    assert "secret" not in raised.value.message


def test_what_was_not_foreseen_is_logged(caplog):
    sentence(KeyError("why"))
    assert "why" in caplog.text
    caplog.clear()
    assert sentence(BadInput("said")) == "said"
    assert not caplog.records


def test_a_handler_that_works_is_left_alone():
    assert told(lambda x: x + 1)(1) == 2
    assert list(told(lambda: iter((1, 2)))()) == [1, 2]
