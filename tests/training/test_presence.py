"""What is asked of presence, and its figures on answers made by hand."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("cv2", reason="needs the extra openvocab[train]")

from training.presence import KIN, calibration_error, queries


@pytest.mark.parametrize("present", [pytest.param([5], id="one"), pytest.param([0, 70, 139], id="three, at the ends")])
def test_half_of_the_queries_are_absent_and_half_of_these_are_kin(present):
    for seed in range(20):
        asked = queries(np.random.default_rng(seed), present, 140)
        absent = asked[len(present) :]
        assert asked[: len(present)] == present and len(asked) == len(set(asked)) == 2 * len(present)
        assert set(asked) <= set(range(140))
        near = [min(abs(one - at) for at in present) <= KIN for one in absent]
        assert sum(near) >= (len(present) + 1) // 2


@pytest.mark.parametrize(
    ("scores", "truth", "error"),
    [
        pytest.param([0.0, 1.0], [False, True], 0.0, id="sure and right"),
        pytest.param([1.0, 1.0], [False, False], 1.0, id="sure and wrong"),
        pytest.param([0.51, 0.51, 0.51, 0.51], [True, True, False, False], 0.01, id="half is half"),
        pytest.param([0.9, 0.1], [True, False], 0.1, id="two bins"),
    ],
)
def test_calibration_error(scores, truth, error):
    assert calibration_error(np.array(scores), np.array(truth)) == pytest.approx(error)
