"""The most confident mistakes, in order, with their labels, and on one sheet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from openvocab import ModelRecord, prompt_set
from openvocab.evaluate.data import load_labeled
from openvocab.evaluate.reports.mistakes import mistake_sheet, mistakes
from openvocab.evaluate.runs.tagger import TaggerRun


@pytest.fixture
def folder(tmp_path: Path) -> str:
    for row, name in enumerate(("a cat with a name that is far too long for its room on the sheet", "dog")):
        (tmp_path / name).mkdir()
        for number in range(8):
            Image.new("RGB", (400, 20 + 90 * number), (30 * number, 90, 100 * row)).save(
                tmp_path / name / f"{number}.png"
            )
    return str(tmp_path)


def scored(folder: str, logits: list[list[float]]) -> TaggerRun:
    data = load_labeled(folder, "imagefolder")
    images = list(data.images())[: len(logits)]
    truth = np.array([[row in one.labels for row in range(2)] for one in images])
    names = tuple(one.item.id for one in images)
    model = ModelRecord("tiny", None, "cpu", "float32")
    return TaggerRun(names, data.labels, np.array(logits, np.float32), truth, (), "", model, prompt_set())


def test_the_most_confident_come_first_and_equals_in_order(folder):
    made = scored(folder, [[0, 1], [2, 0], [0, 3], [0, 1]])
    found = mistakes(made, independent=False)
    assert [each.row for each in found] == [2, 0, 3]
    assert found[0].predicted == "dog" and found[0].score == pytest.approx(1 / (1 + np.exp(-3)), abs=1e-6)
    assert [each.row for each in mistakes(made, independent=True, max_count=1)] == [2]


@pytest.mark.parametrize(("wrong", "size"), [(1, (332, 407)), (3, (964, 407)), (16, (1280, 1189))])
def test_a_sheet_has_room_for_twelve(wrong, size, folder):
    logits = [[0, 5.0 + row] if row < 8 else [5.0 + row, 0] for row in range(wrong)]
    sheet = mistake_sheet(load_labeled(folder, "imagefolder"), mistakes(scored(folder, logits), False))
    assert sheet is not None and sheet.size == size


def test_without_a_mistake_there_is_no_sheet(folder):
    assert mistake_sheet(load_labeled(folder, "imagefolder"), []) is None
