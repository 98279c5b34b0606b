"""Non-maximum suppression keeps what torchvision's keeps."""

from typing import Literal

import numpy as np
import pytest
import torch
from torchvision.ops import batched_nms, nms

from openvocab.pipeline.protocols import Boxes
from openvocab.pipeline.ranking import rank_boxes
from openvocab.pipeline.settings import Settings


@pytest.mark.parametrize("duplicates", ["best", "keep"])
@pytest.mark.parametrize("labels", [1, 7, 300])
@pytest.mark.parametrize("count", [0, 1, 2, 40, 900])
def test_suppression_keeps_what_torchvision_keeps(count: int, labels: int, duplicates: Literal["best", "keep"]) -> None:
    rng = np.random.default_rng(count + labels)
    corners = rng.integers(0, 64, (count, 2))
    xyxy = np.concatenate([corners, corners + rng.integers(1, 40, (count, 2))], 1).astype(np.float32)
    scores = (rng.integers(1, 60, count) / 64).astype(np.float32)  # with ties
    boxes = Boxes(xyxy, scores, rng.integers(0, labels, count))
    settings = Settings(box_threshold=0.0, max_boxes=10_000, duplicates=duplicates)
    rows = torch.from_numpy(np.argsort(-scores, kind="stable"))
    given = torch.from_numpy(xyxy), torch.from_numpy(scores), torch.from_numpy(boxes.label_index)
    rows = rows[batched_nms(*(each[rows] for each in given), settings.nms_iou)]
    if duplicates == "best":
        rows = rows[nms(*(each[rows] for each in given[:2]), settings.duplicate_iou)]
    np.testing.assert_array_equal(rank_boxes(boxes, settings, 0.0), rows.numpy())
