"""SA-Co's JSON: pairs of image and noun phrase, several annotators, what is left out, and the chain measured on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

import openvocab
from openvocab.errors import BadInput
from openvocab.evaluate.data import load_annotated
from openvocab.evaluate.metrics.concepts import concept_metrics
from openvocab.evaluate.runs.concepts import run_concepts
from openvocab.testing import FakeDetector, FakeSegmenter
from openvocab.ui.cli.main import main

SIDE = 32


def rle(box: tuple[int, int, int, int]) -> dict[str, Any]:
    made = np.zeros((SIDE, SIDE), np.uint8)
    made[box[1] : box[3], box[0] : box[2]] = 1
    code = coco_mask.encode(np.asfortranarray(made))
    return {"size": code["size"], "counts": code["counts"].decode()}


def saco(path: Path, boxes: list[list[tuple[int, int, int, int]]], **changes: Any) -> Path:
    """Two images; in the first "red cup" and "Fish", in the second "fish" and "tent"; boxes of each pair."""
    pairs = [("0.png", "red cup"), ("0.png", "Fish"), ("1.png", "fish"), ("1.png", "tent")]
    images = [
        {"id": row, "file_name": name, "text_input": text, "height": SIDE, "width": SIDE, "is_instance_exhaustive": 1}
        for row, (name, text) in enumerate(pairs)
    ]
    for row, more in changes.get("images", {}).items():
        images[row] |= more
    annotations: list[Any] = []
    for row, each in enumerate(boxes):
        for box in each:
            left, top, right, bottom = (edge / SIDE for edge in box)
            one = {"id": len(annotations), "image_id": row, "category_id": 1, "iscrowd": 0, "segmentation": rle(box)}
            annotations.append(one | {"bbox": [left, top, right - left, bottom - top], "area": 0.1})
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": [{"id": 1}]}), "utf-8")
    for name in ("0.png", "1.png"):
        Image.new("RGB", (SIDE, SIDE), (200, 30, 30)).save(path.parent / name)
    return path


BOXES: list[list[tuple[int, int, int, int]]] = [[(2, 2, 10, 12)], [], [(4, 4, 20, 20), (22, 22, 30, 30)], []]


def test_pairs_become_images_with_labels_of_their_own(tmp_path: Path) -> None:
    data = load_annotated(str(saco(tmp_path / "a.json", BOXES)), "saco")
    assert data.labels == ("red cup", "Fish", "tent") and data.own_labels and data.annotators == ()
    first, second = data.images
    assert first.checked_labels is not None and first.checked_labels.tolist() == [0, 1]
    assert second.checked_labels is not None and second.checked_labels.tolist() == [1, 2]
    assert first.class_ids.tolist() == [0] and second.class_ids.tolist() == [1, 1]
    assert second.xyxy.tolist() == [[4, 4, 20, 20], [22, 22, 30, 30]]
    assert second.masks is not None and int(coco_mask.area(second.masks[0])) == 256


def test_annotators_share_pairs_that_all_annotated_exhaustively(tmp_path: Path) -> None:
    one = saco(tmp_path / "a.json", BOXES)
    other = saco(tmp_path / "b.json", [[], [], BOXES[2], []], images={3: {"is_instance_exhaustive": 0}})
    with pytest.warns(openvocab.OpenVocabWarning, match="not every annotator"):
        data = load_annotated(f"{one},{other}", "saco")
    assert [each.checked_labels.tolist() for each in data.images if each.checked_labels is not None] == [[0, 1], [1]]
    (others,) = data.annotators
    assert [len(each.xyxy) for each in data.images] == [1, 2] and [len(each.xyxy) for each in others] == [0, 2]
    renamed = data.with_labels(("tent", "Fish", "cup"), {"red cup": "cup"}).first(1)
    assert renamed.images[0].class_ids.tolist() == [2] and len(renamed.annotators[0]) == 1


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param({0: {"text_input": " "}}, "has no text_input", id="no phrase"),
        pytest.param({0: {"file_name": "../x.png"}}, "outside", id="outside the folder"),
        pytest.param({0: {"height": "tall"}}, "height", id="no size"),
        pytest.param({0: {"id": [1]}}, "for an id", id="odd id"),
    ],
)
def test_malformed_files_are_refused(changes: Any, told: str, tmp_path: Path) -> None:
    path = saco(tmp_path / "a.json", BOXES, images=changes)
    with pytest.raises(BadInput, match=told):
        load_annotated(str(path), "saco")


def test_missing_images_are_refused(tmp_path: Path) -> None:
    path = saco(tmp_path / "a.json", BOXES)
    with pytest.raises(BadInput, match="none of the images"):
        load_annotated(str(path), "saco", images=str(tmp_path / "elsewhere"))


def test_the_chain_is_measured_on_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    path = saco(tmp_path / "a.json", BOXES)
    pipe = openvocab.Pipeline(None, FakeDetector(), FakeSegmenter(), openvocab.Settings(box_threshold=0.0))
    run = run_concepts(pipe, load_annotated(str(path), "saco"))
    assert run.kind == "mask" and [len(pairs) for pairs in run.pairs] == [2, 2]
    metrics = concept_metrics(run.pairs, resamples=3)
    assert (metrics.positives, metrics.negatives) == (2, 2)
    monkeypatch.setattr(openvocab, "load", lambda *_, **__: pipe)
    out = tmp_path.parent / f"{tmp_path.name}-out"
    assert main(["evaluate", "chain", "--format", "saco", "--data", str(path), "--out", str(out)]) == 0
    assert "cgF1 = 100 pmF1 IL_MCC" in capsys.readouterr().out
    report = json.loads((out / "report.json").read_text("utf-8"))
    assert report["metrics"]["concepts"]["cgf1"]["value"] == pytest.approx(metrics.cgf1.value)
