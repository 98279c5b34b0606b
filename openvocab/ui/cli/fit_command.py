"""`openvocab fit`: thresholds and calibrated scores from labeled images, written to a file for --calibration."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

import openvocab
from openvocab.errors import BadInput
from openvocab.evaluate.data import ANNOTATED, LABELED, SPLITS
from openvocab.ui.cli.evaluate_options import MAP_HELP, add_device, add_vocabulary, class_map, given_labels
from openvocab.ui.cli.output import complain, progress, say, table
from openvocab.ui.cli.shared_options import TEMPLATE_HELP, number_or_word, prompts_of, tell_scope

if TYPE_CHECKING:
    from openvocab.evaluate.data import AnnotatedSet, LabeledSet
    from openvocab.evaluate.fitting.fit import Fitted, FittedStage
    from openvocab.evaluate.fitting.presence import PresenceReport

__all__ = ["add_options", "fit"]

DESCRIPTION = (
    "Fit a threshold and calibrated scores for each label, and presence, on a few labeled images; write a file for "
    "--calibration."
)
FORMAT_HELP = (
    "images with boxes: coco, lvis, saco, voc, yolo; images with labels: imagefolder, list, torchvision, webdataset; "
    "see: openvocab evaluate chain --help and classify --help"
)
RISK_HELP = (
    "also bound the false-negative rate: of the labels of an image, and of its objects, this share is missed on "
    "average or less; half of the images are kept for this"
)


def add_options(command: ArgumentParser, preset: str) -> None:
    """Add the arguments of `openvocab fit` to its parser; preset is the default."""
    command.add_argument("data", metavar="DATA", help="folder or file of the labeled images")
    command.add_argument("--format", required=True, choices=sorted([*LABELED, *ANNOTATED]), help=FORMAT_HELP)
    command.add_argument("--out", required=True, metavar="FILE", help="the calibration to write, a .json file")
    add_vocabulary(command)
    command.add_argument("--class-map", metavar="MAP", help=MAP_HELP)
    command.add_argument("--template", action="append", metavar="T", help=TEMPLATE_HELP)
    command.add_argument("--images", metavar="DIR", help="coco, lvis, saco: folder of the images")
    command.add_argument("--split", choices=SPLITS, help="yolo: the split (default: the first of these that exists)")
    command.add_argument("--risk", type=float, metavar="X", help=RISK_HELP)
    command.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the folds (default: 0)")
    models = command.add_argument_group("models", "fit those that will be used, with the same options")
    models.add_argument("--preset", metavar="NAME", help=f"a tagger and a detector (default: {preset})")
    models.add_argument("--tagger", metavar="SPEC", help="any tagger, as FAMILY:CHECKPOINT")
    models.add_argument("--detector", metavar="SPEC", help="any detector, as FAMILY:CHECKPOINT")
    models.add_argument("--segmenter", metavar="SPEC", help="any segmenter, where boxes are verified on their masks")
    models.add_argument("--verify", type=int, metavar="N", help="as in annotate (default: the preset's)")
    models.add_argument("--windows", type=int, metavar="N", help="as in annotate (default: the preset's)")
    models.add_argument("--tiles", type=number_or_word, metavar="N | auto", help="as in annotate")
    models.add_argument("--min-object", type=int, metavar="N", help="as in annotate")
    add_device(models, command, preset)


def fit(args: Namespace) -> int:
    """Fit, print a table and write the file; return 1 if an image could not be read, else 0."""
    from openvocab.evaluate.fitting.fit import fit_calibration

    _check(args)
    data, prompts = _load(args), prompts_of(args)
    specs = {stage: getattr(args, stage) for stage in ("tagger", "detector", "segmenter")}
    preset = args.preset or (None if any(specs.values()) else args.usual_preset)
    tell_scope(preset, data.labels, chosen=args.preset is not None)
    changes = {name: getattr(args, name) for name in ("windows", "tiles", "min_object", "verify")}
    pipe = openvocab.load(preset, **specs, device=args.device, dtype=args.dtype, **changes)
    made = fit_calibration(pipe, data, prompts, risk=args.risk, seed=args.seed, progress=progress)
    made.calibration.save(args.out)
    for _, reason in made.unread:
        complain(reason)
    _report(made, args.out)
    return 1 if made.unread else 0


def _check(args: Namespace) -> None:
    """Check the arguments before models are loaded, which takes long.

    Raises:
        BadInput: a number is out of range, or --out is a folder or the data.
    """
    from openvocab.evaluate.metrics.checks import check_count

    check_count("--seed", args.seed, minimum=0)
    if args.risk is not None and not 0 < args.risk < 1:
        raise BadInput(f"--risk lies over 0 and under 1, got {args.risk:g}; 0.1 misses a tenth at most, on average")
    if os.path.isdir(args.out) or os.path.realpath(args.out) == os.path.realpath(args.data):
        raise BadInput(f"--out {args.out} is {'a folder' if os.path.isdir(args.out) else 'the data'}; name a new file")


def _load(args: Namespace) -> LabeledSet | AnnotatedSet:
    """Return the labeled images.

    Raises:
        BadInput: they cannot be read, or --images or --split is given for a format without it.
    """
    from openvocab.evaluate.data import load_annotated, load_labeled, require_objects

    labels, names = given_labels(args), class_map(args.class_map)
    if args.format in ANNOTATED:
        found = load_annotated(args.data, args.format, args.images, args.split)
        return require_objects(found.with_labels(labels, names))
    for name in ("images", "split"):
        if getattr(args, name) is not None:
            raise BadInput(f"--{name} is for images with boxes, and {args.format} has labels alone; leave it out")
    return load_labeled(args.data, args.format).with_labels(labels, names)


def _report(made: Fitted, out: str) -> None:
    """Print what was fitted and what it brings."""
    head = ("scores of", "images", "rule", "labels with an own threshold", "F1, default", "F1, fitted")
    table(head, [_row(each) for each in made.stages])
    if made.presence is not None:
        say("")
        _report_presence(made.presence)
    guaranteed = [row for each in made.stages if (row := _risk_row(each))]
    if guaranteed:
        say("")
        head = ("false negatives", "images", "threshold", "F1", "missed, held out", "held-out halves within")
        table(head, guaranteed)
    for each in made.stages:
        bound = each.guarantee
        if bound is not None and bound.threshold is None:
            complain(
                f"no threshold of {each.stage} keeps the bound: {bound.lowest:.3f} are missed even where every one is "
                "reported; the fitted thresholds are used"
            )
    say("")
    say(f"Figures of the fit are cross-validated; {out} is for --calibration")


def _report_presence(made: PresenceReport) -> None:
    """Print the figures of presence with the coefficients that ship and with the fitted ones, and which are used."""
    rows = [
        (name, f"{one.log_loss:.4f}", f"{one.ece:.4f}", "" if one.mcc is None else f"{one.mcc:.3f}")
        for name, one in (("that ship", made.shipped), ("fitted", made.fitted))
    ]
    table(("presence, coefficients", "log loss", "calibration error", "MCC"), rows)
    if not made.taken:
        say("those that ship are kept: the fitted ones are not surely better on images that they were not fitted on")


def _row(each: FittedStage) -> tuple[str, ...]:
    report = each.report
    own = f"{report.own} of {report.labels}" if report.rule != "default" else "0"
    return each.stage, str(report.images), report.rule, own, f"{report.f1_default:.3f}", f"{report.f1:.3f}"


def _risk_row(each: FittedStage) -> tuple[str, ...] | None:
    made = each.guarantee
    if made is None or made.threshold is None:
        return None
    figures = (each.guaranteed_f1, made.held_out)
    shown = ["" if value is None else f"{value:.3f}" for value in figures]
    share = "" if made.held_out_share is None else f"{made.held_out_share:.0%}"
    return f"{each.stage} ≤ {made.risk:g}", str(made.images), f"{made.threshold:.3f}", *shown, share
