"""Prompts of Grounding DINO: who shares one, and which tokens are scored for a label."""

from __future__ import annotations

import random

import pytest
import torch

from openvocab.pipeline.detectors.grounding_dino_text import Block, LabelTokens, best_labels, chunks, prompt


def _blocks(lengths: list[int]) -> list[Block]:
    return [(*([row + 1] * (length - 1)), 0) for row, length in enumerate(lengths)]


def _tokens(lengths: list[int]) -> LabelTokens:
    blocks = _blocks(lengths)
    rows = tuple(torch.full((len(block), 2), float(row + 1)) for row, block in enumerate(blocks))
    return LabelTokens(tuple(blocks), rows, torch.tensor([[-1.0, -1.0], [-2.0, -2.0]]))


@pytest.mark.parametrize(
    ("lengths", "room", "expected"),
    [
        pytest.param([], 10, [], id="no label"),
        pytest.param([3], 3, [[0]], id="one that fills it"),
        pytest.param([2, 2, 2], 10, [[0, 1, 2]], id="all fit"),
        pytest.param([2] * 6, 10, [[0, 1, 2], [3, 4, 5]], id="evenly, not five and one"),
        pytest.param([9, 2, 2, 2], 10, [[0], [1, 2, 3]], id="a long one alone"),
        pytest.param([3, 3, 3, 3], 4, [[0], [1], [2], [3]], id="one each"),
    ],
)
def test_labels_are_shared_out_evenly(lengths: list[int], room: int, expected: list[list[int]]) -> None:
    assert chunks(_blocks(lengths), room) == expected


@pytest.mark.parametrize("seed", range(5))
def test_order_does_not_change_who_shares_a_prompt(seed: int) -> None:
    rng = random.Random(seed)
    blocks = _blocks([rng.randint(2, 9) for _ in range(200)])
    turned = rng.sample(blocks, len(blocks))
    one, other = ([[each[row] for row in part] for part in chunks(each, 50)] for each in (blocks, turned))
    assert one == other
    assert sorted(block for part in one for block in part) == sorted(blocks)
    assert max(sum(map(len, part)) for part in one) <= 50


def test_prompt_keeps_labels_apart() -> None:
    asked = prompt(_tokens([2, 3, 2]), [2, 1])
    assert asked.features[0, :, 0].tolist() == [-1, 3, 3, 2, 2, 2, -2]
    assert asked.positions[0].tolist() == [0, 0, 1, 0, 1, 2, 0]
    assert asked.owner.tolist() == [2, 0, 0, 1, 1, 1, 2]
    assert asked.labels.tolist() == [2, 1]
    assert asked.together[0].int().tolist() == [
        [1, 0, 0, 0, 0, 0, 0],
        [0, 1, 1, 0, 0, 0, 0],
        [0, 1, 1, 0, 0, 0, 0],
        [0, 0, 0, 1, 1, 1, 0],
        [0, 0, 0, 1, 1, 1, 0],
        [0, 0, 0, 1, 1, 1, 0],
        [0, 0, 0, 0, 0, 0, 1],
    ]


@pytest.mark.parametrize(
    ("lengths", "logits", "best", "index"),
    [
        pytest.param([2, 2], [9, 1, 0, -1, 2, 9], 2, 0, id="the frame is nobody's"),
        pytest.param([2, 2], [0, 5, 0, -1, 2, 0], 5, 1, id="any token of a label counts"),
        pytest.param([2], [7, 1, 2, 3], 7, 0, id="the frame is the only label's"),
    ],
)
def test_label_is_scored_by_its_own_tokens(lengths: list[int], logits: list[int], best: int, index: int) -> None:
    rows = list(range(len(lengths)))[::-1]
    got = best_labels(torch.tensor([logits], dtype=torch.float32), prompt(_tokens(lengths), rows))
    assert [part.tolist() for part in got] == [[best], [index]]


def test_rows_can_be_picked() -> None:
    picked = _tokens([2, 3, 4])[[2, 0]]
    assert len(picked) == 2
    assert [len(block) for block in picked.blocks] == [len(rows) for rows in picked.features] == [4, 2]
