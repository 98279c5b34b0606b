"""`openvocab evaluate chain` and `segment`: the whole chain, and masks alone, against annotated images."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import openvocab
from openvocab.errors import BadInput
from openvocab.evaluate.data import ANNOTATED, SPLITS
from openvocab.ui.cli.evaluate_options import add_data, class_map, refuse_out, spec_of
from openvocab.ui.cli.output import complain, progress, say, table

if TYPE_CHECKING:
    from openvocab.evaluate.chaining import Chained
    from openvocab.evaluate.data import AnnotatedSet

__all__ = ["FORMATS_HELP", "add_chain_tasks", "chain", "segment"]

FORMATS_HELP = (
    "coco, lvis: a JSON file of instances; voc: a folder with Annotations and JPEGImages; yolo: a folder with data.yaml"
)

CHAIN_SAYS = (
    "Score tags, boxes and masks together on images with known boxes or masks. Each thing and each detection found has "
    "one fate (found, never tagged, no box, wrong label, too loose, bad mask), so that you see which stage loses what, "
    "and what each would give were the one before it perfect. Write report.json, report.md, losses.png and worst.png."
)

SEGMENT_SAYS = (
    "Score a segmenter on images with known masks: it is given the true box of each thing, and the IoU of its mask "
    "with the true one is measured, not how well things are found or named. With --detector also COCO's average "
    "precision of masks from the detector's boxes, looking for all labels. Write report.json, report.md and worst.png."
)


def add_chain_tasks(tasks: Any, preset: str) -> None:
    """Add both tasks to the subparsers of `openvocab evaluate`; preset is the one where no model is named."""
    made = tasks.add_parser(
        "chain", help=CHAIN_SAYS.partition(". ")[0] + ".", description=CHAIN_SAYS, allow_abbrev=False
    )
    _annotated(made)
    models = made.add_argument_group("models", "thresholds are the preset's")
    models.add_argument("--preset", metavar="NAME", help=f"models that belong together (default: {preset})")
    for stage in ("tagger", "detector", "segmenter"):
        models.add_argument(f"--{stage}", metavar="SPEC", help=f"any {stage}, as FAMILY:CHECKPOINT")
    _device(models, made, preset)
    made = tasks.add_parser(
        "segment",
        help="Score a segmenter on images with known masks, from their true boxes.",
        description=SEGMENT_SAYS,
        allow_abbrev=False,
    )
    _annotated(made)
    models = made.add_argument_group("models")
    models.add_argument("--preset", metavar="NAME", help=f"take the segmenter of a preset (default: {preset})")
    models.add_argument("--segmenter", metavar="SPEC", help="any segmenter, as FAMILY:CHECKPOINT")
    models.add_argument("--detector", metavar="SPEC", help="also measure masks from the boxes of this detector")
    models.add_argument(
        "--box-threshold",
        type=float,
        metavar="X",
        help="drop boxes of the detector that score less (default: the checkpoint's own)",
    )
    _device(models, made, preset)


def _annotated(made: ArgumentParser) -> None:
    add_data(made, sorted(ANNOTATED), FORMATS_HELP)
    made.add_argument("--images", metavar="DIR", help="coco, lvis: the folder of the images (default: the file's own)")
    made.add_argument("--split", choices=SPLITS, help="yolo: which part (default: the first of these that there is)")
    made.add_argument("--limit", type=int, metavar="N", help="measure the first N images only")
    made.add_argument("--seed", type=int, default=0, metavar="N", help="of the bootstrap intervals (default: 0)")


def _device(models: Any, made: ArgumentParser, preset: str) -> None:
    models.add_argument("--device", help="cuda, mps or cpu (default: the best there is)")
    models.add_argument("--dtype", help="float32, bfloat16 or float16 (default: what suits the device)")
    made.set_defaults(usual_preset=preset)


def chain(args: Namespace) -> int:
    """Score the whole chain, print its figures and write the report."""
    from openvocab.evaluate.chain_measures import measure_chain
    from openvocab.evaluate.chain_reports import ChainContext, chain_summary, write_chain_report
    from openvocab.evaluate.chaining import run_chain
    from openvocab.evaluate.worst import worst_rows

    data = _read(args)
    specs = {stage: getattr(args, stage) for stage in ("tagger", "detector", "segmenter")}
    preset = args.preset or (None if any(specs.values()) else args.usual_preset)
    if preset is None and not specs["detector"]:
        raise BadInput("the chain needs a detector; give --detector, or --preset and the stages that replace its own")
    pipe = openvocab.load(preset, **specs, device=args.device, dtype=args.dtype)
    made = run_chain(pipe, data, watch=progress)
    _complain(made)
    figures = measure_chain(made, args.seed)
    worst = worst_rows(made.names, made.truth, made.found or (), figures.images, made.labels)
    write_chain_report(args.out, made, figures, worst, ChainContext(args.data, args.format, data.faults, args.seed))
    table(("figure", "value", "95 % interval"), chain_summary(figures))
    for name, counts in (("thing", figures.chain.fates.things), ("detection", figures.chain.fates.detections)):
        total = max(1, sum(counts.values()))
        say("")
        rows = [(fate, str(count), f"{count / total:.1%}") for fate, count in counts.items()]
        table((f"fate of a {name}", "how many", "share"), rows)
    return _end(args, made)


def segment(args: Namespace) -> int:
    """Score a segmenter, print its figures and write the report."""
    from openvocab.evaluate.chain import fates
    from openvocab.evaluate.chain_measures import measure_segments
    from openvocab.evaluate.chain_reports import ChainContext, segment_summary, write_segment_report
    from openvocab.evaluate.chaining import run_chain, run_segmenter
    from openvocab.evaluate.worst import worst_rows

    if args.box_threshold is not None and not args.detector:
        raise BadInput("--box-threshold is for the boxes of a detector; give --detector too, or leave it out")
    settings = openvocab.Settings().changed(box_threshold=args.box_threshold)
    data = _read(args)
    if any(one.masks is None for one in data.images):
        raise BadInput(f"{args.data!r} has boxes and no masks, so that masks cannot be measured; use evaluate detect")
    segmenter = openvocab.load_segmenter(_segmenter(args), args.device, args.dtype)
    if args.detector:
        detector = openvocab.load_detector(args.detector, args.device, args.dtype)
        made = run_chain(openvocab.Pipeline(None, detector, segmenter, settings), data, watch=progress)
    else:
        made = run_segmenter(segmenter, data, watch=progress)
    _complain(made)
    figures, cut = measure_segments(made, args.seed), made.cut or ()
    images = fates(made.truth, cut, made.labels, masks=True)
    worst = worst_rows(made.names, made.truth, cut, images, made.labels)
    write_segment_report(args.out, made, figures, worst, ChainContext(args.data, args.format, data.faults, args.seed))
    table(("figure", "value", "95 % interval"), segment_summary(figures))
    return _end(args, made)


def _read(args: Namespace) -> AnnotatedSet:
    """Check the arguments, since loading models takes longer than this, and return the images."""
    from openvocab.evaluate.arrays import check_count
    from openvocab.evaluate.data import load_annotated, require_objects

    check_count("--seed", args.seed, least=0)
    if args.limit is not None:
        check_count("--limit", args.limit)
    refuse_out(args)
    data = load_annotated(args.data, args.format, args.images, args.split)
    data = data.against(openvocab.read_labels(args.labels) if args.labels else None, class_map(args.class_map))
    return require_objects(replace(data, images=data.images[: args.limit]))


def _segmenter(args: Namespace) -> str:
    """Return the SPEC of the segmenter that the arguments mean.

    Raises:
        BadInput: both a preset and a SPEC are given, or the preset has no segmenter.
        UnknownName: there is no preset of that name.
    """
    spec = spec_of(args, "segmenter")
    if not spec:
        raise BadInput(f"the preset {args.preset!r} has no segmenter of its own; give --segmenter")
    return spec


def _complain(made: Chained) -> None:
    for _, reason in made.unread:
        complain(reason)
    if made.resized:
        count, first = len(made.resized), made.resized[0]
        complain(f"{count} images of another size than their annotation says are in no figure, the first is {first}")


def _end(args: Namespace, made: Chained) -> int:
    say("")
    say(f"{len(made.names)} images, {len(made.labels)} labels; report in {args.out}")
    return 1 if made.unread else 0
