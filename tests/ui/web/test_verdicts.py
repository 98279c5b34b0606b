"""Verification on the page: any threshold gives what the chain gives, and a box is seen once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import openvocab
from openvocab.pipeline.verdict import VERIFICATION
from openvocab.ui.web.workspace_handlers import SLIDERS, WorkspaceHandlers

SCENE = openvocab.example_scenes()[6]


@pytest.fixture(scope="module")
def handlers() -> WorkspaceHandlers:
    from openvocab.ui.web.context import Context
    from openvocab.ui.web.models import Models

    return WorkspaceHandlers(Context(Models(("pocket",), device="cpu", dtype="float32")))


def test_a_slider_gives_what_the_chain_gives_and_no_box_is_seen_twice(handlers: WorkspaceHandlers) -> None:
    models, store = handlers._context.models, handlers._context.workspaces
    given = dict(zip(SLIDERS, handlers.defaults("pocket"), strict=True))
    *_, (_, _, token) = handlers.run(str(SCENE.path), "pocket", "pocket", None, *given.values())
    chain = openvocab.load("pocket", device="cpu", dtype="float32")
    vocabulary, pixels = chain.vocabulary("pocket"), openvocab.read_image(SCENE.path)
    explored, seen = store.get(token).explored, 0
    assert explored is not None and explored.candidates is not None and explored.candidates.min_score <= 0.45
    for box in (0.45, 0.55, 0.45, 0.8):
        changes: Any = given | {"box_threshold": box}
        before = models.calls["tagger.encode_images"]
        handlers.set_thresholds(token, *changes.values())
        seen += models.calls["tagger.encode_images"] - before
        page, want = store.get(token).result(), chain(pixels, vocabulary, **changes)
        for one, other in ((page.detections, want.detections), (page.rejected, want.rejected)):
            assert one.labels == other.labels
            assert list(map(str, one.data.get(VERIFICATION, ()))) == list(map(str, other.data.get(VERIFICATION, ())))
            np.testing.assert_allclose(one.xyxy, other.xyxy, atol=1e-3)
    assert 1 <= seen <= 3, "0.45 is asked for twice"
