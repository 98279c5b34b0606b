"""The shipped fake stages: deterministic, by content, and light to import."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import openvocab.testing
from openvocab import Pipeline, Settings
from openvocab.testing import FakeDetector, FakeSegmenter, FakeTagger

LABELS = ("cat", "dog", "犬", "\udcff")
IMAGES = [np.full((20, 30, 3), color, np.uint8) for color in ((200, 20, 30), (0, 0, 90), (7, 7, 7))]


def test_importing_the_fakes_loads_no_model_library() -> None:
    code = "import sys, openvocab.testing; print({'torch', 'transformers', 'open_clip'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (run.stdout.strip(), run.stderr) == ("set()", "")


def test_the_example_of_the_module_runs() -> None:
    code = "\n".join(line.strip() for line in (openvocab.testing.__doc__ or "").splitlines() if line.startswith("    "))
    names: dict[str, Any] = {"image": IMAGES[0]}
    exec(code, names)
    assert names["result"].classes == ("cat", "dog")


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2)], ids=["as given", "shuffled"])
def test_tagger_scores_depend_on_pixels_and_labels_alone(order: tuple[int, ...]) -> None:
    whole = FakeTagger().score(IMAGES, LABELS)
    for row, image in enumerate(IMAGES):
        alone = FakeTagger().score([image], [LABELS[at] for at in order])
        assert alone.tolist() == [whole[row, list(order)].tolist()]
    assert len(np.unique(whole)) == whole.size


@pytest.mark.parametrize(
    ("tagger", "wanted"),
    [
        pytest.param(FakeTagger({"cat": 0.75, "dog": 0.5}), [0.75, 0.5, 0, 0], id="fixed scores"),
        pytest.param(FakeTagger(independent=False), None, id="softmax"),
    ],
)
def test_tagger_scores_by_table_or_over_the_vocabulary(tagger: FakeTagger, wanted: Any) -> None:
    scores = tagger.score(IMAGES[:2], LABELS)
    if wanted is None:
        np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-6)
    else:
        assert scores.tolist() == [wanted] * 2
    assert tagger.calls == [2]


ROWS = [("dog", 0.4, 0, 0, 9, 9), ("cat", 0.6, 15, 0, 30, 9), ("cow", 1, 0, 0, 2, 2)]


@pytest.mark.parametrize(
    ("boxes", "threshold", "labels"),
    [
        pytest.param(None, 0.3, ("cat",), id="by brightness"),
        pytest.param(None, 0.4, (), id="too dark"),
        pytest.param(ROWS, 0.3, ("cat", "dog"), id="table"),
    ],
)
def test_the_chain_runs_over_fakes(boxes: Any, threshold: float, labels: tuple[str, ...]) -> None:
    tagger = FakeTagger({"cat": 0.9, "dog": 0.8})
    pipe = Pipeline(tagger, FakeDetector(boxes), FakeSegmenter(), Settings(box_threshold=threshold))
    found = pipe(IMAGES[0], ["cat", "dog"]).detections
    assert found.labels == labels
    for box, mask in zip(found.xyxy.astype(int), np.asarray(found.masks), strict=True):
        left, top, right, bottom = box
        assert mask.sum() == mask[top:bottom, left:right].sum() == (right - left) * (bottom - top)
