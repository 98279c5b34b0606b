"""OWLv2 base and SAM vit_b of true size in OpenVINO and ONNX Runtime against torch, alternating in one process.

    python -m benchmarks.exported_stages [--stages detector segmenter] [--formats openvino onnx] [--runs 3]

Random weights, an image of 1066 x 800, one thread. Seconds are of processor time for the encoding of the image: medians
of the turns after one that is not counted. Cosines of features, and IoUs of boxes or masks, are those of the export's
record, which compares float32 with torch on two images. An export takes minutes and 7 GB of memory.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import openvocab
from benchmarks import random_checkpoints, stages
from benchmarks.report import Cell, add_out, report
from openvocab.models.graphs.record import read_record

COLUMNS = ["stage", "torch, s", "exported", "s", "x torch", "lowest cosine", "mean IoU"]
_IOUS = {"detector": "box_iou_mean", "segmenter": "mask_iou_mean"}


def _source(stage: str, folder: Path) -> str:
    """Write a checkpoint, unless it is there, and return its SPEC."""
    if stage == "detector":
        place = folder / "models" / "owlv2"
        return f"owlv2:{place if place.exists() else random_checkpoints.write_owlv2(place)}"
    place = folder / "models" / "sam"
    return f"sam:vit_b@{place / 'sam_vit_b.pth' if place.exists() else random_checkpoints.write_sam(place)}"


def _images(folder: Path) -> Path:
    """Write the two images of the comparison."""
    place, shown = folder / "images", stages.image()
    place.mkdir(parents=True, exist_ok=True)
    for name, pixels in (("a", shown), ("b", shown[:600, ::-1])):
        Image.fromarray(np.ascontiguousarray(pixels)).save(place / f"{name}.png")
    return place


def _loaded(stage: str, form: str, folder: Path) -> dict[str, Any]:
    """Export a stage, unless it is there; return the torch stage as "torch", and the export in each precision."""
    source, load = _source(stage, folder), getattr(openvocab, f"load_{stage}")
    if not (folder / form / stage).exists():
        specs: Any = {stage: source}
        openvocab.export_model(out=folder / form, format=form, calibrate=_images(folder), **specs)
    dtypes = ("float32", "bfloat16") if form == "openvino" else ("float32",)
    return {"torch": load(source, "cpu"), **{each: load(f"{form}:{folder / form}", "cpu", each) for each in dtypes}}


def _turn(stage: Any, image: Any) -> float:
    began = time.process_time()
    stage.encode(image)
    return time.process_time() - began


def measure(stage: str, form: str, folder: Path, runs: int) -> list[list[Cell]]:
    """Return a row for each precision of an export."""
    ways, image = _loaded(stage, form, folder), stages.image()
    turns = [{name: _turn(way, image) for name, way in ways.items()} for _ in range(runs + 1)][1:]
    taken = {name: statistics.median(turn[name] for turn in turns) for name in ways}
    checks: Mapping[str, Any] = read_record(folder / form / stage, stage).checks
    near: list[Cell] = [f"{checks['cosine_min']:.5f}", round(checks[_IOUS[stage]], 4)]
    rows = list[list[Cell]]()
    for dtype in list(ways)[1:]:
        ratio = statistics.median(turn["torch"] / turn[dtype] for turn in turns)
        seconds, ours = round(taken[dtype], 2), round(taken["torch"], 2)
        compared = near if dtype == "float32" else [None, None]
        rows.append([stage, ours, f"{form}, {dtype}", seconds, round(ratio, 2), *compared])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--stages", nargs="+", choices=list(_IOUS), default=list(_IOUS))
    parser.add_argument("--formats", nargs="+", choices=["openvino", "onnx"], default=["openvino", "onnx"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--exports", type=Path, metavar="FOLDER", help="where the exports lie or are written (4 GB)")
    add_out(parser)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.exports or Path(scratch)
        cases = [(stage, form) for form in args.formats for stage in args.stages]
        rows = [row for stage, form in cases for row in measure(stage, form, folder, args.runs)]
    report(args.out, "Exported stages", "python -m benchmarks.exported_stages", COLUMNS, rows, plot="x torch")


if __name__ == "__main__":
    main()
