"""`openvocab export-model`: write a preset's models for OpenVINO or ONNX Runtime."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

import openvocab
from openvocab.errors import BadInput, counted
from openvocab.models.export.limits import MAX_LOSS
from openvocab.ui.cli.output import megabytes, say, table
from openvocab.weights.manifest import EXPORTS, STAGES

if TYPE_CHECKING:
    from openvocab import ExportRecord

__all__ = ["DESCRIPTION", "add_options", "export_model"]

DESCRIPTION = "Write models for OpenVINO or ONNX Runtime; labels are given when they run."


def add_options(command: ArgumentParser) -> None:
    """Add the arguments of `openvocab export-model` to its parser."""
    command.add_argument("preset", nargs="?", metavar="PRESET", help="models that belong together, or none with a SPEC")
    for stage in STAGES:
        command.add_argument(f"--{stage}", metavar="SPEC", help=f"a {stage} to export, in place of the preset's")
    command.add_argument("--out", required=True, metavar="DIR", help="the folder; each stage gets a folder in it")
    command.add_argument("--format", required=True, choices=EXPORTS, help="the runtime; CPU only")
    command.add_argument("--int8", action="store_true", help="8-bit values in the tagger's image tower")
    command.add_argument(
        "--calibrate",
        metavar="DIR",
        help="images for the ranges of int8 and for the comparison, in one folder a label if they have labels",
    )
    command.add_argument(
        "--labels", help='vocabulary of the comparison (default: the names of the folders, else the label set "pocket")'
    )
    command.add_argument(
        "--max-loss",
        type=float,
        default=MAX_LOSS,
        metavar="X",
        help="points of top-1 that int8 may lose (default: %(default)s)",
    )


def export_model(args: Namespace) -> int:
    """Export, and print how close each stage is to torch.

    Raises:
        BadInput: --calibrate, --max-loss or --labels cannot be used.
    """
    if not args.max_loss >= 0:
        raise BadInput(f"--max-loss is 0 or more, got {args.max_loss:g}")
    made = openvocab.export_model(
        args.preset,
        out=args.out,
        format=args.format,
        tagger=args.tagger,
        detector=args.detector,
        segmenter=args.segmenter,
        int8=args.int8,
        calibrate=args.calibrate,
        labels=args.labels,
        max_loss=args.max_loss,
    )
    head = ("stage", "source", "precision", "size", "cosine, min", "compared with torch")
    table(head, [_row(record, Path(args.out)) for record in made.values()])
    say("")
    options = " ".join(f"--{stage} {args.format}:{args.out}" for stage in made)
    say(f"load it with {options}")
    return 0


def _row(record: ExportRecord, out: Path) -> tuple[str, ...]:
    """Return the cells of a stage."""
    size = sum((out / record.stage / name).stat().st_size for name in record.files)
    checks = record.checks
    shares = {
        "top-1": checks.get("top1"),
        "top-1 of torch": checks.get("top1_torch"),
        "same top-1": checks.get("top1_agreement"),
        "box IoU": checks.get("box_iou_mean"),
        "mask IoU": checks.get("mask_iou_mean"),
    }
    said = ", ".join(f"{name} {share:.4f}" for name, share in shares.items() if share is not None)
    cells = (record.stage, record.source, record.precision, megabytes(size), f"{checks['cosine_min']:.6f}")
    return (*cells, f"{said} on {counted(checks['images'], 'image')}")
