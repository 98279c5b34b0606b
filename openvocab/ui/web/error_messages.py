"""Errors of handlers as one sentence on the page, without a traceback."""

from __future__ import annotations

import html
import inspect
import logging
import re
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, TypeVar

import gradio as gr

from openvocab.errors import OpenVocabError
from openvocab.ui.web.texts import strings

__all__ = ["error_message", "report_errors"]

F = TypeVar("F", bound=Callable[..., Any])

_LOG = logging.getLogger(__name__)


def error_message(error: Exception) -> str:
    """Return the message for the visitor; an unexpected error is logged and described in general terms."""
    if isinstance(error, OpenVocabError):
        return _for_the_page(str(error))
    _LOG.exception("a handler of the page failed", exc_info=error)
    return strings.FAILED


def _for_the_page(message: str) -> str:
    """Return a message of the library without arguments that neither the page nor its calls have."""
    for pattern, instead in strings.REMEDIES.items():
        message = re.sub(pattern, instead, message)
    return message


def report_errors(handler: F) -> F:
    """Wrap a handler so that its errors are one sentence on the page and in the API's response.

    Gradio renders messages as HTML, so markup in them is escaped.
    """

    def to_gradio(error: Exception) -> gr.Error:
        return gr.Error(html.escape(error_message(error), quote=False), duration=12, print_exception=False)

    @wraps(handler)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return handler(*args, **kwargs)
        except gr.Error:
            raise
        except Exception as error:
            raise to_gradio(error) from None

    @wraps(handler)
    def iterate(*args: Any, **kwargs: Any) -> Iterator[Any]:
        try:
            yield from handler(*args, **kwargs)
        except gr.Error:
            raise
        except Exception as error:
            raise to_gradio(error) from None

    return iterate if inspect.isgeneratorfunction(handler) else call  # type: ignore[return-value]
