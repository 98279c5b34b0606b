"""The figures of fit on pairs made by hand."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("cv2", reason="needs the extra openvocab[train]")

from openvocab.evaluate.fitting.pairs import f1_of, tag_pairs
from training.fit_figures import EACH, best_thresholds, draw


def test_a_draw_has_each_label_ten_times_or_wherever_it_is():
    truth = np.zeros((60, 3), np.bool_)
    truth[:40, 0] = truth[20:50, 1] = truth[55:58, 2] = True
    pairs = tag_pairs(("a", "b", "c"), truth.astype(np.float32), truth)
    for seed in range(5):
        chosen = draw(np.random.default_rng(seed), pairs)
        counts = truth[chosen].sum(axis=0)
        assert (counts >= [EACH, EACH, 3]).all() and len(chosen) == len(set(chosen)) < len(truth)


@pytest.mark.parametrize(
    ("scores", "one", "each"),
    [
        pytest.param([[0.9, 0.9], [0.2, 0.2]], 1.0, 1.0, id="one threshold separates both labels"),
        pytest.param([[0.9, 0.4], [0.5, 0.2]], 0.8, 1.0, id="each label needs its own"),
    ],
)
def test_the_best_thresholds_in_hindsight(scores, one, each):
    truth = np.array([[True, True], [False, False]])
    pairs = tag_pairs(("a", "b"), np.array(scores, np.float32), truth)
    assert best_thresholds(pairs, 0.5) == pytest.approx((one, each))
    assert f1_of(pairs, pairs.score >= 0.45) == pytest.approx(1.0 if one == 1 else 0.5)
