"""`openvocab evaluate reproduce`: published figures, measured again."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import openvocab
from openvocab.errors import BadInput, unknown
from openvocab.ui.cli.evaluate_options import refuse_out
from openvocab.ui.cli.output import complain, progress, say, table

if TYPE_CHECKING:
    from openvocab.evaluate.image_recipes import Figure, ImageRecipe, Measured
    from openvocab.evaluate.recipes import Recipe, Reproduced

__all__ = ["add_reproduce", "reproduce"]

SAYS = (
    "Measure published figures again, of a data set or of one example image, and say whether they hold, or by how much "
    "they miss. Without NAME, list the recipes; without --data, say what a recipe needs."
)


def add_reproduce(tasks: Any) -> None:
    """Add the task to the subparsers of `openvocab evaluate`."""
    made: ArgumentParser = tasks.add_parser(
        "reproduce", help=SAYS.partition(". ")[0] + ".", description=SAYS, allow_abbrev=False
    )
    made.add_argument("name", nargs="?", metavar="NAME", help="a recipe of the list")
    made.add_argument("--data", metavar="ROOT", help="where its data are; for an example, the image or its folder")
    made.add_argument("--out", metavar="DIR", help="a folder for the whole report of a data set")
    made.add_argument("--recipes", metavar="FILE", help="recipes of your own, in a .toml file like openvocab's")
    made.add_argument("--device", help="cuda, mps or cpu (default: the best there is)")
    made.add_argument("--dtype", help="float32, bfloat16 or float16 (default: what suits the device; example: float32)")
    made.add_argument("--batch-size", type=int, default=32, metavar="N", help="images at once (default: 32)")
    made.add_argument("--seed", type=int, default=0, metavar="N", help="of the bootstrap interval (default: 0)")


def reproduce(args: Namespace) -> int:
    """List the recipes, say what one needs, or run it; 0 where its figure holds or nothing was to be run."""
    from openvocab.evaluate.image_recipes import ImageRecipe
    from openvocab.evaluate.recipes import read_recipes, recipes

    known = read_recipes(args.recipes) if args.recipes else recipes()
    if args.name is None:
        return _listed(args, known)
    if args.name not in known:
        raise unknown("recipe", args.name, known)
    recipe = known[args.name]
    if isinstance(recipe, ImageRecipe):
        return _needs_image(args, recipe) if args.data is None else _run_image(args, recipe)
    return _needs(args, recipe) if args.data is None else _run(args, recipe)


def _run(args: Namespace, recipe: Recipe) -> int:
    from openvocab.evaluate.arrays import check_count
    from openvocab.evaluate.recipes import recipe_data
    from openvocab.evaluate.recipes import reproduce as run

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


def _run_image(args: Namespace, recipe: ImageRecipe) -> int:
    """Measure an example image.

    Raises:
        BadInput: there is an option for data sets.
    """
    from openvocab.evaluate.image_recipes import measure_image, recipe_image

    if args.out:
        raise BadInput(f"--out is for a data set, and {recipe.name} is of one image; leave it out")
    image = recipe_image(recipe, args.data)
    made = measure_image(recipe, recipe.load(args.device, args.dtype or "float32"), image)
    return _image_verdict(recipe, made)


def _listed(args: Namespace, known: Mapping[str, Recipe | ImageRecipe]) -> int:
    """Print the recipes: first those of data sets, then those of one image.

    Raises:
        BadInput: there are options for a run, and no name.
    """
    if args.data or args.out:
        raise BadInput("--data and --out are for one recipe; give its NAME, which the list without them has")
    from openvocab.evaluate.recipes import Recipe

    sets = [
        (each.name, each.spec, each.data, each.prompts, f"{each.top1:.4f}", f"{each.tolerance:g}")
        for each in known.values()
        if isinstance(each, Recipe)
    ]
    images = [
        (each.name, each.spec, each.file, ", ".join(each.labels) or "boxes", str(len(each.figures)))
        for each in known.values()
        if not isinstance(each, Recipe)
    ]
    if sets:
        table(("recipe", "model", "data", "prompts", "top-1", "tolerance"), sets)
    if sets and images:
        say("")
    if images:
        table(("recipe of one image", "model", "image", "labels", "figures"), images)
    return 0


def _needs(args: Namespace, recipe: Recipe) -> int:
    say(f"{recipe.name}: top-1 {recipe.top1:.4f}, from {recipe.source}")
    say(f"model    {recipe.spec}, fetched on its first run where there is a network")
    say(f"data     {recipe.data}, {recipe.images} images, from {recipe.get}")
    own = f" --recipes {args.recipes}" if args.recipes else ""
    say(f"then     openvocab evaluate reproduce {recipe.name} --data ROOT{own}")
    return 0


def _needs_image(args: Namespace, recipe: ImageRecipe) -> int:
    say(f"{recipe.name}: {len(recipe.figures)} scores of one image, from {recipe.source}")
    if recipe.note:
        say(f"note     {recipe.note}")
    say(f"model    {recipe.spec}, fetched on its first run where there is a network")
    say(f"data     the image {recipe.image}")
    own = f" --recipes {args.recipes}" if args.recipes else ""
    say(f"then     openvocab evaluate reproduce {recipe.name} --data {recipe.file}{own}")
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
        say(f"pass: {recipe.name} holds over {recipe.images} images")
        return 0
    if made.missing:
        complain(f"{len(made.scored.names)} images were measured, and the figure is of {recipe.images}")
    miss = abs(made.gap) - recipe.tolerance
    say(f"fail: {recipe.name} misses by {miss:.4f} beyond its tolerance" if miss > 0 else f"no verdict: {recipe.name}")
    return 1


def _image_verdict(recipe: ImageRecipe, made: tuple[Measured, ...]) -> int:
    """Print each figure as published and as measured; return 0 where all agree."""
    head = ("figure", "published", "measured", "difference", "box edges off by", "verdict")
    rows = [
        (
            _figure_name(each.figure),
            f"{each.figure.score:.4f}",
            "not found" if each.score is None else f"{each.score:.4f}",
            "-" if each.gap is None else f"{each.gap:+.4f}",
            "-" if each.shift is None else f"{each.shift:.1f}",
            "pass" if each.passed else "fail",
        )
        for each in made
    ]
    table(head, rows)
    say("")
    edges = f", {recipe.pixels:g} pixels for a box edge" if recipe.stage == "detector" else ""
    failed = sum(not each.passed for each in made)
    said = f"of {len(made)} figures {failed} miss" if failed else f"all {len(made)} figures hold"
    say(f"{'fail' if failed else 'pass'}: {recipe.name}, {said}; tolerance {recipe.tolerance:g}{edges}")
    if recipe.note:
        say(f"note: {recipe.note}")
    return 1 if failed else 0


def _figure_name(figure: Figure) -> str:
    box = "" if figure.xyxy is None else "box " + " ".join(f"{edge:g}" for edge in figure.xyxy)
    candidate = "" if figure.candidate is None else f"mask {figure.candidate + 1} of 3"
    return ", ".join(filter(None, (figure.label, box, candidate)))
