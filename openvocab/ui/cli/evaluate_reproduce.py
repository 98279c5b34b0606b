"""`openvocab evaluate reproduce`: published results, measured again."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import openvocab
from openvocab.errors import BadInput, unknown
from openvocab.ui.cli.evaluate_options import add_task, check_arguments
from openvocab.ui.cli.output import complain, progress, say, say_json, table
from openvocab.ui.cli.weights_commands import JSON_HELP

if TYPE_CHECKING:
    from openvocab.evaluate.benchmarks import Benchmark
    from openvocab.evaluate.image_recipes import ImageRecipe, MeasuredScore, PublishedScore
    from openvocab.evaluate.recipes import Recipe, Reproduced
    from openvocab.evaluate.reports.report import Table

__all__ = ["add_reproduce", "reproduce"]

DESCRIPTION = (
    "Measure published results again, on a data set or on one example image, and report whether they hold or by how "
    "much they differ. Without NAME, list the recipes, and the published results of benchmarks to compare with; "
    "without --data, print what a recipe needs."
)


def add_reproduce(tasks: Any) -> None:
    """Add the task to the subparsers of `openvocab evaluate`."""
    made = add_task(tasks, "reproduce", DESCRIPTION)
    made.add_argument("name", nargs="?", metavar="NAME", help="name of a recipe")
    made.add_argument("--data", metavar="ROOT", help="folder of the data; for an example, the image or its folder")
    made.add_argument("--out", metavar="DIR", help="folder for the full report on a data set")
    made.add_argument("--recipes", metavar="FILE", help="a .toml file of recipes, in the format of openvocab's")
    made.add_argument("--device", help="cuda, mps or cpu (default: the best available)")
    made.add_argument(
        "--dtype", help="float32, bfloat16 or float16 (default: depends on the device; for an example float32)"
    )
    made.add_argument("--batch-size", type=int, default=32, metavar="N", help="images per batch (default: 32)")
    made.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the bootstrap interval (default: 0)")
    made.add_argument("--json", action="store_true", help=JSON_HELP)


def reproduce(args: Namespace) -> int:
    """List the recipes, print what one needs, or run it; return 1 if its result does not hold, else 0."""
    from openvocab.evaluate.benchmarks import benchmarks
    from openvocab.evaluate.image_recipes import ImageRecipe
    from openvocab.evaluate.recipes import read_recipes, recipes

    known = read_recipes(args.recipes) if args.recipes else recipes()
    others: Mapping[str, Benchmark] = {} if args.recipes else benchmarks()
    if args.name is None:
        return _list(args, known, others)
    if args.json:
        raise BadInput("--json is for the list of recipes; leave out NAME, or --json")
    if args.name in others:
        return _print_benchmark(args, others[args.name])
    if args.name not in known:
        raise unknown("recipe", args.name, [*known, *others], see="openvocab evaluate reproduce")
    recipe = known[args.name]
    if args.data is None:
        return _print_needs(args, recipe)
    return _run_image(args, recipe) if isinstance(recipe, ImageRecipe) else _run(args, recipe)


def _run(args: Namespace, recipe: Recipe) -> int:
    """Measure a data set."""
    from openvocab.evaluate.recipes import recipe_data
    from openvocab.evaluate.recipes import reproduce as run_recipe
    from openvocab.evaluate.reports.classification import classification_report
    from openvocab.evaluate.reports.report import ReportContext

    check_arguments(args)
    data = recipe_data(recipe, args.data)
    tagger = openvocab.load_tagger(recipe.spec, args.device, args.dtype)
    measured = run_recipe(recipe, tagger, data, batch=args.batch_size, seed=args.seed, progress=progress)
    if args.out:
        context = ReportContext(args.data, recipe.kind, args.seed)
        classification_report(measured.run, measured.metrics, context).write(args.out)
    return _verdict(recipe, measured)


def _run_image(args: Namespace, recipe: ImageRecipe) -> int:
    """Measure an example image.

    Raises:
        BadInput: --out is given, which is for data sets.
    """
    from openvocab.evaluate.image_recipes import measure_image, recipe_image

    if args.out:
        raise BadInput(f"--out is for a data set, and {recipe.name} is of one image; leave it out")
    image = recipe_image(recipe, args.data)
    return _image_verdict(recipe, measure_image(recipe, recipe.load(args.device, args.dtype or "float32"), image))


def _list(args: Namespace, known: Mapping[str, Recipe | ImageRecipe], others: Mapping[str, Benchmark]) -> int:
    """Print the recipes of data sets, those of example images, and the published results of benchmarks.

    Raises:
        BadInput: --data or --out is given without a name.
    """
    if args.data or args.out:
        raise BadInput("--data and --out are for one recipe; give its NAME, which the list without them has")
    if args.json:
        from openvocab.evaluate.reports.report import plain

        kinds = {"recipes": known, "benchmarks": others}
        say_json({kind: [plain(each) for each in rows.values()] for kind, rows in kinds.items()})
        return 0
    for number, (head, rows) in enumerate(_tables(known, others)):
        if number:
            say("")
        table(head, rows)
    return 0


def _tables(known: Mapping[str, Recipe | ImageRecipe], others: Mapping[str, Benchmark]) -> Iterator[Table]:
    """Yield the tables that have a row."""
    from openvocab.evaluate.recipes import Recipe

    sets = [
        (each.name, each.spec, each.data, each.prompts, f"{each.top1:.4f}", f"{each.tolerance:g}")
        for each in known.values()
        if isinstance(each, Recipe)
    ]
    images = [
        (each.name, each.spec, each.file, ", ".join(each.labels) or "boxes", str(len(each.scores)))
        for each in known.values()
        if not isinstance(each, Recipe)
    ]
    if sets:
        yield ("recipe", "model", "data", "prompts", "top-1", "tolerance"), sets
    if images:
        yield ("recipe of one image", "model", "image", "labels", "scores"), images
    if others:
        yield (
            ("benchmark", "model", "data", "published"),
            [(each.name, each.model, each.data, each.figures) for each in others.values()],
        )


def _print_benchmark(args: Namespace, row: Benchmark) -> int:
    """Print a published result and how to measure it.

    Raises:
        BadInput: --data or --out is given: the benchmark has its own command.
    """
    if args.data or args.out:
        how = f"run: {row.command}" if row.command else "openvocab does not compute this metric"
        raise BadInput(f"{row.name} is a published figure to compare with; {how}")
    say(f"{row.name}: {row.figures}, from {row.source}")
    say(f"model    {row.model}")
    say(f"data     {row.data}")
    if row.note:
        say(f"note     {row.note}")
    if row.command:
        say(f"measure  {row.command}")
    return 0


def _print_needs(args: Namespace, recipe: Recipe | ImageRecipe) -> int:
    from openvocab.evaluate.recipes import Recipe

    own = f" --recipes {args.recipes}" if args.recipes else ""
    if isinstance(recipe, Recipe):
        say(f"{recipe.name}: top-1 {recipe.top1:.4f}, from {recipe.source}")
        data, root = f"{recipe.data}, {recipe.images} images, from {recipe.get}", "ROOT"
    else:
        say(f"{recipe.name}: {len(recipe.scores)} scores of one image, from {recipe.source}")
        data, root = f"the image {recipe.image}", recipe.file
        if recipe.note:
            say(f"note     {recipe.note}")
    say(f"model    {recipe.spec}, downloaded on its first run if there is a network")
    say(f"data     {data}")
    say(f"then     openvocab evaluate reproduce {recipe.name} --data {root}{own}")
    return 0


def _verdict(recipe: Recipe, measured: Reproduced) -> int:
    """Print published and measured accuracy, and whether they agree; return 0 if they do."""
    top1 = measured.metrics.top1
    table(
        ("", "top-1"),
        [
            ("published", f"{recipe.top1:.4f}"),
            ("measured", f"{top1.value:.4f}, 95 % interval {top1.low:.4f} to {top1.high:.4f}"),
            ("gap", f"{measured.gap:+.4f}, tolerance {recipe.tolerance:g}"),
        ],
    )
    say("")
    if measured.passed:
        say(f"pass: {recipe.name} holds over {recipe.images} images")
        return 0
    if measured.missing:
        complain(f"{len(measured.run.names)} images were measured, and the published result is of {recipe.images}")
    beyond = abs(measured.gap) - recipe.tolerance
    if beyond > 0:
        say(f"fail: {recipe.name} is {beyond:.4f} beyond its tolerance")
    else:
        say(f"no verdict: {recipe.name}")
    return 1


def _image_verdict(recipe: ImageRecipe, measured: tuple[MeasuredScore, ...]) -> int:
    """Print each score as published and as measured; return 0 if all agree."""
    rows = [
        (
            _score_name(each.published),
            f"{each.published.score:.4f}",
            "not found" if each.score is None else f"{each.score:.4f}",
            "-" if each.gap is None else f"{each.gap:+.4f}",
            "-" if each.shift is None else f"{each.shift:.1f}",
            "pass" if each.passed else "fail",
        )
        for each in measured
    ]
    table(("score", "published", "measured", "difference", "box edges off by", "verdict"), rows)
    say("")
    edges = f", {recipe.pixels:g} pixels for a box edge" if recipe.stage == "detector" else ""
    failed = sum(not each.passed for each in measured)
    result = f"{failed} of {len(measured)} scores differ" if failed else f"all {len(measured)} scores hold"
    say(f"{'fail' if failed else 'pass'}: {recipe.name}, {result}; tolerance {recipe.tolerance:g}{edges}")
    if recipe.note:
        say(f"note: {recipe.note}")
    return 1 if failed else 0


def _score_name(score: PublishedScore) -> str:
    box = "" if score.xyxy is None else "box " + " ".join(f"{edge:g}" for edge in score.xyxy)
    candidate = "" if score.candidate is None else f"mask {score.candidate + 1} of 3"
    return ", ".join(filter(None, (score.label, box, candidate)))
