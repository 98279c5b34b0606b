"""Between a handler and the page: errors as one sentence, and never a stack trace."""

from __future__ import annotations

import html
import inspect
import logging
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, TypeVar

import gradio as gr

from openvocab.errors import OpenVocabError

__all__ = ["sentence", "told"]

F = TypeVar("F", bound=Callable[..., Any])

_LOG = logging.getLogger(__name__)
_GENERAL = "This did not work because of a fault on the server, which has it in its log; try another image or word."


def sentence(error: Exception) -> str:
    """Return what a person is told of an error; one that was not foreseen is logged, and told in general words."""
    if isinstance(error, OpenVocabError):
        return str(error)
    _LOG.exception("a handler of the page failed", exc_info=error)
    return _GENERAL


def told(handler: F) -> F:
    """Return a handler whose errors are one sentence on the page and in the API's answer.

    Gradio shows a message as HTML, so what could be a tag in it is escaped.
    """

    def shown(error: Exception) -> gr.Error:
        return gr.Error(html.escape(sentence(error), quote=False), duration=12, print_exception=False)

    @wraps(handler)
    def once(*args: Any, **kwargs: Any) -> Any:
        try:
            return handler(*args, **kwargs)
        except gr.Error:
            raise
        except Exception as error:
            raise shown(error) from None

    @wraps(handler)
    def steps(*args: Any, **kwargs: Any) -> Iterator[Any]:
        try:
            yield from handler(*args, **kwargs)
        except gr.Error:
            raise
        except Exception as error:
            raise shown(error) from None

    return steps if inspect.isgeneratorfunction(handler) else once  # type: ignore[return-value]
