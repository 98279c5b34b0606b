from __future__ import annotations

import pytest

from openvocab.errors import BadInput
from openvocab.ui.web.lru_store import LRUStore


def test_values_are_found_by_their_token_only():
    store: LRUStore[str] = LRUStore(100)
    one, two = store.put("one", 10), store.put("two", 10)
    assert (store.get(one), store.get(two)) == ("one", "two")
    assert one != two
    assert len(one) >= 20


def test_the_least_recently_used_value_is_evicted():
    store: LRUStore[str] = LRUStore(25)
    one, two = store.put("one", 10), store.put("two", 10)
    store.get(one)
    three = store.put("three", 10)
    assert (store.get(one), store.get(three), len(store)) == ("one", "three", 2)
    with pytest.raises(BadInput, match="no longer stored"):
        store.get(two)


def test_the_newest_value_is_stored_even_if_it_is_too_large():
    store: LRUStore[str] = LRUStore(5)
    store.put("one", 3)
    assert store.get(store.put("huge", 50)) == "huge"
    assert len(store) == 1


def test_values_can_be_replaced_and_discarded():
    store: LRUStore[str] = LRUStore(25)
    token = store.put("one", 20)
    assert store.put("two", 20, token) == token
    assert (store.get(token), len(store)) == ("two", 1)
    store.discard(token)
    store.discard(token)
    assert len(store) == 0


@pytest.mark.parametrize("token", [None, "", "guessed"])
def test_unknown_tokens_are_rejected(token):
    store: LRUStore[str] = LRUStore(25)
    store.put("one", 1)
    with pytest.raises(BadInput, match="choose it again"):
        store.get(token)
    assert store.put("two", 1, token) != token
