"""Reports of retrieval: report.json for programs and report.md for people, in one folder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import openvocab
from openvocab.errors import CannotWrite
from openvocab.evaluate.bootstrap import DRAWS
from openvocab.evaluate.report_text import number, plain, table, versions, write_texts
from openvocab.evaluate.retrieval import Retrieval
from openvocab.evaluate.retrieving import Embedded
from openvocab.pipeline.result import ModelRecord

__all__ = ["RetrievalContext", "retrieval_summary", "write_retrieval_report"]


@dataclass(frozen=True, slots=True)
class RetrievalContext:
    """What made the figures.

    path   where the images and sentences came from.
    model  the tagger's record.
    seed   of the bootstrap.
    """

    path: str
    model: ModelRecord
    seed: int


def retrieval_summary(figures: Retrieval) -> list[tuple[str, str, str]]:
    """Return name, value and 95 % interval of each recall, as texts."""
    ways = (("image to text", figures.image_to_text), ("text to image", figures.text_to_image))
    return [
        (f"{way}, recall at {k}", number(value.value), f"{number(value.low)} to {number(value.high)}")
        for way, recalls in ways
        for k, value in recalls.items()
    ]


def write_retrieval_report(folder: str, embedded: Embedded, figures: Retrieval, context: RetrievalContext) -> None:
    """Write report.json and report.md.

    Raises:
        CannotWrite: the folder cannot be made or written.
    """
    try:
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        write_texts(place, _report(embedded, figures, context), _markdown(embedded, figures, context))
    except OSError as error:
        raise CannotWrite(f"{folder!r} cannot be written ({error.strerror}); give another folder") from error


def _report(embedded: Embedded, figures: Retrieval, context: RetrievalContext) -> dict[str, Any]:
    recalls = {
        "image_to_text": {str(k): plain(value) for k, value in figures.image_to_text.items()},
        "text_to_image": {str(k): plain(value) for k, value in figures.text_to_image.items()},
    }
    return {
        "task": "retrieve",
        "openvocab": openvocab.__version__,
        "versions": versions(),
        "model": asdict(context.model),
        "data": {
            "path": context.path,
            "digest": embedded.digest,
            "images": figures.images,
            "texts": figures.texts,
            "unread": [{"image": name, "error": error} for name, error in embedded.unread],
        },
        "bootstrap": {"seed": context.seed, "draws": DRAWS, "interval": 0.95},
        "figures": recalls,
    }


def _markdown(embedded: Embedded, figures: Retrieval, context: RetrievalContext) -> Iterable[str]:
    model = context.model
    yield from ["# Retrieval", ""]
    yield f"{figures.images} images with {figures.texts} sentences, used as they are; model `{model.spec}`."
    if embedded.unread:
        yield f"**{len(embedded.unread)} images could not be read** and are in no figure; report.json names them."
    yield from ["", *table(("figure", "value", "95 % interval"), retrieval_summary(figures)), ""]
    yield "Image to text: one of the image's own sentences is among the k best of all sentences."
    yield "Text to image: the sentence's image is among the k best of all images."
    yield from ["", "## What made it", ""]
    yield from table(
        ("what", "value"),
        [
            ("data", f"{context.path}, digest {embedded.digest}"),
            ("model", f"{model.spec}, sha256 {model.sha256}, {model.device}, {model.dtype}"),
            ("bootstrap", f"seed {context.seed}, {DRAWS} draws, by image"),
            ("openvocab", openvocab.__version__),
        ],
    )
