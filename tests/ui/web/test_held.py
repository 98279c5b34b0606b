from __future__ import annotations

import pytest

from openvocab.errors import BadInput
from openvocab.ui.web.held import Held


def test_a_value_is_found_by_its_token_alone():
    held: Held[str] = Held(100)
    one, two = held.keep("one", 10), held.keep("two", 10)
    assert (held.get(one), held.get(two)) == ("one", "two")
    assert one != two
    assert len(one) >= 20


def test_the_least_recently_used_goes_first():
    held: Held[str] = Held(25)
    one, two = held.keep("one", 10), held.keep("two", 10)
    held.get(one)
    three = held.keep("three", 10)
    assert (held.get(one), held.get(three), len(held)) == ("one", "three", 2)
    with pytest.raises(BadInput, match="no longer held"):
        held.get(two)


def test_the_newest_is_kept_even_where_it_takes_more():
    held: Held[str] = Held(5)
    held.keep("one", 3)
    assert held.get(held.keep("huge", 50)) == "huge"
    assert len(held) == 1


def test_a_value_can_be_replaced_and_let_go_of():
    held: Held[str] = Held(25)
    token = held.keep("one", 20)
    assert held.keep("two", 20, token) == token
    assert (held.get(token), len(held)) == ("two", 1)
    held.drop(token)
    held.drop(token)
    assert len(held) == 0


@pytest.mark.parametrize("token", [None, "", "guessed"])
def test_a_token_that_was_not_given_out_finds_nothing(token):
    held: Held[str] = Held(25)
    held.keep("one", 1)
    with pytest.raises(BadInput, match="choose it again"):
        held.get(token)
    assert held.keep("two", 1, token) != token
