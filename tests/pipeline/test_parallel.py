from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest
import torch
from torch import Tensor

from openvocab.errors import BadOutput
from openvocab.pipeline.parallel import on_one_core, side_by_side


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
        pytest.param(48, [16, 16, 16], 1, id="as large as a part may be"),
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


@pytest.mark.parametrize(
    ("cores", "count", "parts"),
    [
        pytest.param(1, 16, [16], id="one core, one part"),
        pytest.param(1, 40, [13, 13, 14], id="one core, part after part"),
        pytest.param(3, 100, [14, 14, 14, 14, 14, 15, 15], id="more parts than cores"),
    ],
)
def test_no_part_is_larger_than_pays(cores: int, count: int, parts: list[int]) -> None:
    torch.set_num_threads(cores)
    seen: list[int] = []

    def work(items: Sequence[int]) -> Tensor:
        seen.append(len(items))
        return torch.tensor(items)[:, None]

    assert side_by_side(work, list(range(count)))[:, 0].tolist() == list(range(count))
    assert sorted(seen) == parts
    assert torch.get_num_threads() == cores


def test_one_core_is_given_back() -> None:
    with on_one_core():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3
