from importlib import import_module

import pytest

import openvocab


@pytest.mark.parametrize("name", ["openvocab", "openvocab.prompts", "openvocab.errors", "openvocab.pipeline.result"])
def test_all_is_sorted_and_true(name: str) -> None:
    live = import_module(name)
    assert live.__all__ == sorted(live.__all__)
    assert all(hasattr(live, each) for each in live.__all__)


def test_a_wrong_attribute_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        openvocab.lod  # noqa: B018


def test_everything_public_has_a_docstring() -> None:
    assert [name for name in openvocab.__all__ if not getattr(openvocab, name).__doc__] == []
