"""`openvocab evaluate reproduce`: published figures, measured again."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import openvocab
from openvocab.errors import BadInput, unknown
from openvocab.ui.evaluate_options import refuse_out
from openvocab.ui.output import complain, progress, say, table

if TYPE_CHECKING:
    from openvocab.evaluate.recipes import Recipe, Reproduced

__all__ = ["add_reproduce", "reproduce"]

SAYS = (
    "Measure a published zero-shot figure again and say whether it holds, or by how much it misses. Without NAME, list "
    "the figures; without --data, say what a figure needs."
)


def add_reproduce(tasks: Any) -> None:
    """Add the task to the subparsers of `openvocab evaluate`."""
    made: ArgumentParser = tasks.add_parser(
        "reproduce", help=SAYS.partition(". ")[0] + ".", description=SAYS, allow_abbrev=False
    )
    made.add_argument("name", nargs="?", metavar="NAME", help="a recipe of the list")
    made.add_argument("--data", metavar="ROOT", help="where its pictures lie")
    made.add_argument("--out", metavar="DIR", help="a folder for the whole report of the run")
    made.add_argument("--recipes", metavar="FILE", help="recipes of your own, in a .toml file like openvocab's")
    made.add_argument("--device", help="cuda, mps or cpu (default: the best there is)")
    made.add_argument("--dtype", help="float32 or bfloat16 (default: what suits the device)")
    made.add_argument("--batch-size", type=int, default=32, metavar="N", help="pictures at once (default: 32)")
    made.add_argument("--seed", type=int, default=0, metavar="N", help="of the bootstrap interval (default: 0)")


def reproduce(args: Namespace) -> int:
    """List the recipes, say what one needs, or run it; 0 where its figure holds or nothing was to be run."""
    from openvocab.evaluate.arrays import check_count
    from openvocab.evaluate.recipes import read_recipes, recipe_data, recipes
    from openvocab.evaluate.recipes import reproduce as run

    known: Mapping[str, Recipe] = read_recipes(args.recipes) if args.recipes else recipes()
    if args.name is None:
        return _listed(args, known)
    if args.name not in known:
        raise unknown("recipe", args.name, known)
    recipe = known[args.name]
    if args.data is None:
        return _needs(args, recipe)
    check_count("--batch-size", args.batch_size)
    check_count("--seed", args.seed, least=0)
    if args.out:
        refuse_out(args)
    data = recipe_data(recipe, args.data)
    tagger = openvocab.load_tagger(recipe.spec, args.device, args.dtype)
    made = run(recipe, tagger, data, batch=args.batch_size, seed=args.seed, watch=progress)
    if args.out:
        _report(args, recipe, made, tagger)
    return _verdict(recipe, made)


def _listed(args: Namespace, known: Mapping[str, Recipe]) -> int:
    """Print the recipes.

    Raises:
        BadInput: there are options for a run, and no name.
    """
    if args.data or args.out:
        raise BadInput("--data and --out are for one recipe; give its NAME, which the list without them has")
    head = ("recipe", "model", "data", "prompts", "top-1", "tolerance")
    rows = [
        (each.name, each.spec, each.data, each.prompts, f"{each.top1:.4f}", f"{each.tolerance:g}")
        for each in known.values()
    ]
    table(head, rows)
    return 0


def _needs(args: Namespace, recipe: Recipe) -> int:
    say(f"{recipe.name}: top-1 {recipe.top1:.4f}, from {recipe.source}")
    say(f"model    {recipe.spec}, fetched on its first run where there is a network")
    say(f"data     {recipe.data}, {recipe.pictures} pictures, from {recipe.get}")
    own = f" --recipes {args.recipes}" if args.recipes else ""
    say(f"then     openvocab evaluate reproduce {recipe.name} --data ROOT{own}")
    return 0


def _report(args: Namespace, recipe: Recipe, made: Reproduced, tagger: Any) -> None:
    from openvocab.evaluate.reports import Context, write_report

    prompts = openvocab.prompt_set(recipe.prompts)
    context = Context(args.data, recipe.kind, tagger.record, prompts, args.seed)
    write_report(args.out, made.scored, made.figures, context)


def _verdict(recipe: Recipe, made: Reproduced) -> int:
    """Print published and measured, and whether they agree; return 0 where they do."""
    top1 = made.figures.top1
    table(
        ("", "top-1"),
        [
            ("published", f"{recipe.top1:.4f}"),
            ("measured", f"{top1.value:.4f}, 95 % interval {top1.low:.4f} to {top1.high:.4f}"),
            ("gap", f"{made.gap:+.4f}, tolerance {recipe.tolerance:g}"),
        ],
    )
    say("")
    if made.passed:
        say(f"pass: {recipe.name} holds over {recipe.pictures} pictures")
        return 0
    if made.missing:
        complain(f"{len(made.scored.names)} pictures were measured, and the figure is of {recipe.pictures}")
    miss = abs(made.gap) - recipe.tolerance
    say(f"fail: {recipe.name} misses by {miss:.4f} beyond its tolerance" if miss > 0 else f"no verdict: {recipe.name}")
    return 1
