"""Reports of the chain and of the segmenter: report.json, report.md, plots and the worst images, in one folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import openvocab
from openvocab.errors import CannotWrite
from openvocab.evaluate.bootstrap import DRAWS, Estimate
from openvocab.evaluate.chain import DETECTION_FATES, LEAST_OVERLAP, OVERLAP, THING_FATES
from openvocab.evaluate.chain_measures import ChainMeasures, RunFigures, SegmentMeasures
from openvocab.evaluate.chain_plots import plot_losses
from openvocab.evaluate.chaining import Chained
from openvocab.evaluate.report_text import next_to_nothing, number, plain, table, versions, write_texts
from openvocab.evaluate.worst import Side, write_worst

__all__ = ["ChainContext", "chain_summary", "segment_summary", "write_chain_report", "write_segment_report"]

Row = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class ChainContext:
    """What made the figures besides the models.

    path, format  where the images came from.
    faults        kind of fault in the annotations -> how many.
    seed          of the bootstrap.
    """

    path: str
    format: str
    faults: Mapping[str, int]
    seed: int


def chain_summary(figures: ChainMeasures) -> list[Row]:
    """Return name, value and 95 % interval of the main figures, as texts; a dash where one is not defined."""
    one = figures.chain
    named: list[tuple[str, Estimate | float | None]] = [
        ("F1 of the chain", one.fates.f1),
        ("precision", one.fates.precision),
        ("recall", one.fates.recall),
        ("boxes, AP", one.boxes.ap),
        ("boxes, AP50", one.boxes.ap50),
    ]
    if one.masks is not None:
        named += [("masks, AP", one.masks.ap), ("masks, AP50", one.masks.ap50)]
    if figures.tags is not None:
        named.append(("tags, mean average precision", figures.tags))
    if figures.told is not None:
        named.append(("F1 with true labels in place of tags", figures.told.fates.f1))
    if figures.cut is not None:
        named.append(("mean IoU of masks from true boxes", figures.cut.mean_iou))
    return [_row(name, value) for name, value in named]


def segment_summary(figures: SegmentMeasures) -> list[Row]:
    """Return name, value and 95 % interval of the main figures, as texts; a dash where one is not defined."""
    named: list[tuple[str, Estimate | float | None]] = [
        ("from true boxes, mean IoU", figures.cut.mean_iou),
        (f"from true boxes, share of IoU {OVERLAP} or more", figures.cut.share),
        ("from true boxes, semantic mean IoU", figures.semantic.mean),
    ]
    if figures.found is not None and figures.found_semantic is not None:
        named += [
            ("from the detector's boxes, mask AP", figures.found.ap),
            ("from the detector's boxes, mask AP50", figures.found.ap50),
            ("from the detector's boxes, mask AP75", figures.found.ap75),
            ("from the detector's boxes, semantic mean IoU", figures.found_semantic.mean),
        ]
    return [_row(name, value) for name, value in named]


def _row(name: str, value: Estimate | float | None) -> Row:
    if isinstance(value, Estimate):
        return name, number(value.value), f"{number(value.low)} to {number(value.high)}"
    return name, number(value), "-"


def write_chain_report(
    folder: str, made: Chained, figures: ChainMeasures, worst: Sequence[Side], context: ChainContext
) -> None:
    """Write report.json, report.md, losses.png and, where an image has a fault, worst.png.

    Raises:
        CannotWrite: the folder cannot be made or written.
    """
    report = _report("chain", made, context)
    report["figures"] = {name: plain(getattr(figures, name)) for name in ("chain", "told", "cut", "cut_masks", "tags")}
    try:
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        plot_losses(place / "losses.png", figures.chain.fates.things, figures.chain.fates.detections)
        write_worst(place, worst)
        write_texts(place, report, _chain_markdown(made, figures, context, with_image=bool(worst)))
    except OSError as error:
        raise CannotWrite(f"{folder!r} cannot be written ({error.strerror}); give another folder") from error


def write_segment_report(
    folder: str, made: Chained, figures: SegmentMeasures, worst: Sequence[Side], context: ChainContext
) -> None:
    """Write report.json, report.md and, where a mask is bad, worst.png.

    Raises:
        CannotWrite: the folder cannot be made or written.
    """
    report = _report("segment", made, context) | {"figures": plain(figures)}
    try:
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        write_worst(place, worst)
        write_texts(place, report, _segment_markdown(made, figures, context, with_image=bool(worst)))
    except OSError as error:
        raise CannotWrite(f"{folder!r} cannot be written ({error.strerror}); give another folder") from error


def _report(task: str, made: Chained, context: ChainContext) -> dict[str, Any]:
    return {
        "task": task,
        "openvocab": openvocab.__version__,
        "versions": versions(),
        "run": asdict(made.record),
        "labels": list(made.labels),
        "data": {
            "path": context.path,
            "format": context.format,
            "digest": made.digest,
            "images": len(made.names),
            "masks": made.masked,
            "faults": dict(context.faults),
            "unread": [{"image": name, "error": error} for name, error in made.unread],
            "resized": list(made.resized),
        },
        "bootstrap": {"seed": context.seed, "draws": DRAWS, "interval": 0.95},
    }


# --- for people


def _chain_markdown(made: Chained, figures: ChainMeasures, context: ChainContext, *, with_image: bool) -> Iterable[str]:
    one = figures.chain.fates
    yield from ["# Chain", ""]
    yield f"{len(made.names)} images with {sum(one.things.values())} things of {len(made.labels)} labels;"
    yield f"{sum(one.detections.values())} detections were found."
    specs = [each.spec for each in (made.record.tagger, made.record.detector) if each]
    yield from next_to_nothing("F1 of the chain", one.f1.value, specs)
    yield from _oddities(made, context)
    yield from ["", *table(("figure", "value", "95 % interval"), chain_summary(figures)), ""]
    yield _meaning(made)
    yield from ["", "## Where it loses", "", "![losses](losses.png)", ""]
    yield from [*_shares("thing", one.things), "", *_shares("detection", one.detections), ""]
    yield from _explained(figures)
    yield from ["## Were the stage before it perfect", "", *_oracles(figures), ""]
    if with_image:
        yield from ["## Worst images", "", "![worst](worst.png)", ""]
    yield from ["## Labels", "", *_label_rows(figures), ""]
    yield from _made_by(made, context)


def _meaning(made: Chained) -> str:
    masks = f" and its mask IoU {OVERLAP} or more with that of the thing" if made.masked else ""
    return (
        f"A detection is right where it has the label of a thing, its box IoU {OVERLAP} or more{masks}, one "
        "detection to a thing, the best score first. AP sees only the detections that passed the thresholds."
    )


def _shares(name: str, counts: Mapping[str, int]) -> Iterable[str]:
    total = sum(counts.values())
    rows = [(fate, str(count), f"{count / total:.1%}" if total else "-") for fate, count in counts.items()]
    return table((f"fate of a {name}", "how many", "share"), [*rows, ("all", str(total), "100.0%" if total else "-")])


def _explained(figures: ChainMeasures) -> Iterable[str]:
    yield f"*No box*: no box that is left for it has IoU {LEAST_OVERLAP} or more. *Too loose*: the nearest box has the"
    yield f"right label and IoU under {OVERLAP}. *Wrong label*: the nearest box has another label. *Bad mask*: the box"
    yield f"is right, the mask has IoU under {OVERLAP}. *Duplicate*: another detection has it already. *Background*:"
    yield "nothing is there."
    if figures.told is not None:
        yield "*Never tagged*: the label was not looked for, whatever else lies there."
    yield ""


def _oracles(figures: ChainMeasures) -> Iterable[str]:
    rows = [("nothing: tags, boxes, masks", *_run_cells(figures.chain))]
    if figures.told is None:
        rows = [("nothing: boxes, masks", *_run_cells(figures.chain))]
    else:
        rows.append(("true labels: boxes, masks", *_run_cells(figures.told)))
    if figures.cut is not None and figures.cut_masks is not None:
        share = number(figures.cut.share.value)
        rows.append(("true boxes: masks", share, share, share, "-", number(figures.cut_masks.ap50)))
    return table(("given", "precision", "recall", "F1", "box AP50", "mask AP50"), rows)


def _run_cells(one: RunFigures) -> tuple[str, ...]:
    masks = None if one.masks is None else one.masks.ap50
    values = (one.fates.precision.value, one.fates.recall.value, one.fates.f1.value, one.boxes.ap50, masks)
    return tuple(map(number, values))


def _label_rows(figures: ChainMeasures) -> Iterable[str]:
    head = ("label", "things", *THING_FATES, "detections", *DETECTION_FATES)
    rows = []
    for row in figures.chain.fates.rows:
        counts = (sum(row.things), *row.things, sum(row.detections), *row.detections)
        rows.append((row.label, *(str(count) if count else "" for count in counts)))
    return table(head, rows)


def _segment_markdown(
    made: Chained, figures: SegmentMeasures, context: ChainContext, *, with_image: bool
) -> Iterable[str]:
    yield from ["# Segmentation", ""]
    yield f"{len(made.names)} images with {figures.cut.things} things of {len(made.labels)} labels."
    yield from _oddities(made, context)
    yield from ["", *table(("figure", "value", "95 % interval"), segment_summary(figures)), ""]
    yield "The segmenter was given the true box of each thing, and its mask compared with the true one. Semantic mean"
    yield "IoU counts pixels of labels over all images together; what lies in no mask counts as a label of its own."
    yield ""
    if with_image:
        yield from ["## Worst images", "", "![worst](worst.png)", ""]
    rows = [
        (label, number(value), number(figures.semantic.per_label[label]))
        for label, value in figures.cut.per_label.items()
    ]
    yield from ["## Labels", "", *table(("label", "mean IoU", "semantic IoU"), rows), ""]
    yield from _made_by(made, context)


def _oddities(made: Chained, context: ChainContext) -> Iterable[str]:
    said = {kind.capitalize(): count for kind, count in context.faults.items()}
    if made.unread:
        said["Images that could not be read, in no figure"] = len(made.unread)
    if made.resized:
        said["Images of another size than their annotation says, in no figure"] = len(made.resized)
    for kind, count in said.items():
        yield from ["", f"{kind}: {count}."]


def _made_by(made: Chained, context: ChainContext) -> Iterable[str]:
    run = made.record
    models = {"tagger": run.tagger, "detector": run.detector, "segmenter": run.segmenter}
    rows = [("data", f"{context.path} ({context.format}), digest {made.digest}")]
    rows += [
        (stage, f"{one.spec}, sha256 {one.sha256}, {one.device}, {one.dtype}") for stage, one in models.items() if one
    ]
    rows.append(("templates", ", ".join(run.templates) or "-"))
    rows.append(("settings", ", ".join(f"{name} {value}" for name, value in run.settings.items()) or "-"))
    rows += [("bootstrap", f"seed {context.seed}, {DRAWS} draws"), ("openvocab", run.openvocab)]
    yield from ["## What made it", "", *table(("what", "value"), rows)]
