"""A short form of benchmarks/web_load.py: no answer is wrong or another client's."""

from __future__ import annotations

from benchmarks import web_load


def test_concurrent_clients_get_their_own_results(server, tmp_path):
    with server.context.models.using() as pipe:
        asked = web_load.questions(pipe, 8, tmp_path)
    tally = web_load.load(server.url, asked, clients=4, seconds=4)
    assert tally.errors == []
    assert tally.counts["right"] >= 4
    assert tally.counts["wrong"] == 0
