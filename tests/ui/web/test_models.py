from __future__ import annotations

import threading
import time

from openvocab.ui.web.models import Turn


def test_a_visitor_who_waits_holds_back_the_next_step():
    turn = Turn()
    order: list[str] = []
    visitor = threading.Thread(target=lambda: _take(turn.now, order, "visitor"))
    with turn.later():
        visitor.start()
        while turn._waiting == 0:
            time.sleep(0.01)
    _take(turn.later, order, "batch")
    visitor.join(5)
    assert order == ["visitor", "batch"]


def test_the_lock_is_reentrant():
    turn = Turn()
    with turn.now(), turn.now(), turn.later():
        assert turn._waiting == 0


def _take(rank, order: list[str], name: str) -> None:
    with rank():
        order.append(name)
