from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest
import torch
from torch import Tensor

from openvocab.errors import BadOutput
from openvocab.pipeline.side_by_side import side_by_side


@pytest.fixture(autouse=True)
def three_cores() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("count", "parts", "threads"),
    [
        pytest.param(1, [1], 3, id="one"),
        pytest.param(7, [7], 3, id="too few to part"),
        pytest.param(8, [4, 4], 1, id="two parts"),
        pytest.param(13, [4, 4, 5], 1, id="as many as there are cores"),
        pytest.param(31, [10, 10, 11], 1, id="uneven"),
    ],
)
def test_rows_are_those_of_one_part_in_order(count: int, parts: list[int], threads: int) -> None:
    seen: list[tuple[int, int]] = []
    met = threading.Barrier(len(parts), timeout=30)  # passed only where all parts run at the same time

    def work(items: Sequence[int]) -> Tensor:
        met.wait()
        seen.append((len(items), torch.get_num_threads()))
        return torch.tensor(items)[:, None] * torch.ones(1, 2)

    rows = side_by_side(work, list(range(count)))
    assert rows[:, 0].tolist() == list(range(count))
    assert sorted(seen) == [(length, threads) for length in parts]
    assert torch.get_num_threads() == 3


def test_what_a_part_raises_is_raised() -> None:
    def work(items: Sequence[int]) -> Tensor:
        if 9 in items:
            raise BadOutput("nine")
        return torch.zeros(len(items), 1)

    with pytest.raises(BadOutput, match="nine"):
        side_by_side(work, list(range(12)))
    assert torch.get_num_threads() == 3
