"""`openvocab evaluate retrieve`: whether images find their sentences, and sentences their images."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import openvocab
from openvocab.ui.cli.evaluate_options import add_models, refuse_out, spec_of
from openvocab.ui.cli.output import complain, progress, say, table

__all__ = ["add_retrieve", "retrieve"]

SAYS = (
    "Score a tagger on images with sentences, both ways: recall at 1, 5 and 10. Sentences are used as they are, "
    "without a template. Write report.json and report.md."
)
DATA_HELP = (
    "a .csv, .jsonl or .parquet list with columns path and caption, a row a sentence, or captions, a list of them; or "
    "a folder in the layout of CLIP_benchmark for retrieval"
)


def add_retrieve(tasks: Any, preset: str) -> None:
    """Add the task to the subparsers of `openvocab evaluate`; preset is the one where no model is named."""
    made = tasks.add_parser("retrieve", help=SAYS.partition(". ")[0] + ".", description=SAYS, allow_abbrev=False)
    made.add_argument("--data", required=True, metavar="PATH", help=DATA_HELP)
    made.add_argument("--out", required=True, metavar="DIR", help="the folder for the report")
    add_models(made, "tagger", preset)
    made.add_argument("--batch-size", type=int, default=32, metavar="N", help="images at once (default: 32)")
    made.add_argument("--seed", type=int, default=0, metavar="N", help="of the bootstrap intervals (default: 0)")


def retrieve(args: Namespace) -> int:
    """Score a tagger both ways, print its figures and write the report."""
    from openvocab.evaluate import retrieve as measure
    from openvocab.evaluate.arrays import check_count
    from openvocab.evaluate.data import load_captions
    from openvocab.evaluate.retrieval_reports import RetrievalContext, retrieval_summary, write_retrieval_report
    from openvocab.evaluate.retrieving import embed_pairs

    check_count("--seed", args.seed, least=0)
    check_count("--batch-size", args.batch_size)
    refuse_out(args)
    data = load_captions(args.data)
    tagger = openvocab.load_tagger(spec_of(args, "tagger"), args.device, args.dtype)
    embedded = embed_pairs(tagger, data, batch=args.batch_size, watch=progress)
    for _, reason in embedded.unread:
        complain(reason)
    figures = measure(embedded.images, embedded.texts, embedded.image_of_text, seed=args.seed)
    write_retrieval_report(args.out, embedded, figures, RetrievalContext(args.data, tagger.record, args.seed))
    table(("figure", "value", "95 % interval"), retrieval_summary(figures))
    say("")
    say(f"{figures.images} images, {figures.texts} sentences; report in {args.out}")
    return 1 if embedded.unread else 0
