"""Prompts of Grounding DINO: who shares one, and which tokens are scored for a label."""

from __future__ import annotations

import random
from typing import get_args

import pytest
import torch

from openvocab.models.detectors.grounding_dino_text import (
    Block,
    LabelScore,
    LabelTokens,
    best_labels,
    chunks,
    prompt,
)


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
    assert asked.named.int().tolist() == [0, 1, 0, 1, 1, 0, 0]
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


HIGH, LOW = 3.0, -3.0


@pytest.mark.parametrize(
    ("rule", "lengths", "logits", "tokens", "index"),
    [
        pytest.param("max", [2, 2], [9, 1, 0, -1, 2, 9], [2], 0, id="max: the frame is nobody's"),
        pytest.param("max", [2, 2], [0, 5, 0, -1, 2, 0], [5], 1, id="max: any token of a label counts"),
        pytest.param("max", [2], [7, 1, 2, 3], [7], 0, id="max: the frame is the only label's"),
        pytest.param("mean", [2, 2], [9, 1, 9, -1, 2, 9], [1], 1, id="mean: frame and full stops are nobody's"),
        pytest.param("mean", [2], [7, 1, 9, 3], [1], 0, id="mean: the frame is not the only label's either"),
        pytest.param("mean", [3, 4], [0, 4, 0, 0, 9, 1, 2, 9, 0], [1, 2], 0, id="mean: over a label's words"),
    ],
)
def test_label_is_scored_by_its_own_tokens(
    rule: LabelScore, lengths: list[int], logits: list[float], tokens: list[float], index: int
) -> None:
    rows = list(range(len(lengths)))[::-1]
    score, label = best_labels(torch.tensor([logits], dtype=torch.float32), prompt(_tokens(lengths), rows), rule)
    assert score.item() == pytest.approx(torch.tensor(tokens).float().sigmoid().mean().item(), abs=1e-6)
    assert label.tolist() == [index]


@pytest.mark.parametrize(
    ("seen", "index"),
    [
        pytest.param([HIGH, HIGH, LOW, HIGH, LOW, LOW], 0, id="the first of the two"),
        pytest.param([HIGH, LOW, LOW, HIGH, HIGH, LOW], 1, id="the second of the two"),
    ],
)
def test_labels_that_share_a_word_are_told_apart_by_the_mean(seen: list[float], index: int) -> None:
    """A red object: "red" fits both labels, the other word one of them; by the maximum they are equal."""
    asked, logits = prompt(_tokens([3, 3]), [0, 1]), torch.tensor([[LOW, *seen, LOW]])
    by_mean, by_max = (best_labels(logits, asked, rule) for rule in get_args(LabelScore))
    assert by_mean[1].tolist() == [index]
    assert by_mean[0].item() == pytest.approx(torch.tensor(HIGH).sigmoid().item())
    other = best_labels(logits, prompt(_tokens([3, 3]), [1, 0]), "max")
    assert (by_max[0].item(), by_max[1].item()) == (other[0].item(), 1 - other[1].item())  # the order decides


@pytest.mark.parametrize("seed", range(3))
def test_the_mean_is_that_of_a_normalized_positive_map(seed: int) -> None:
    lengths, draw = [2, 5, 3, 4], torch.Generator().manual_seed(seed)
    logits = torch.randn(7, sum(lengths) + 2, generator=draw)
    spans, start = torch.zeros(4, logits.shape[1]), 1
    for row, length in enumerate(lengths):
        spans[row, start : start + length - 1] = 1
        start += length
    expected, labels = (logits.sigmoid() @ (spans / spans.sum(1, keepdim=True)).T).max(1)
    score, label = best_labels(logits, prompt(_tokens(lengths), range(4)), "mean")
    torch.testing.assert_close(score, expected)
    assert torch.equal(label, labels)


def test_rows_can_be_picked() -> None:
    picked = _tokens([2, 3, 4])[[2, 0]]
    assert len(picked) == 2
    assert [len(block) for block in picked.blocks] == [len(rows) for rows in picked.features] == [4, 2]
