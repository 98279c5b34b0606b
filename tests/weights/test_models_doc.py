"""docs/models.md says what the records say; `python -m tests.weights.test_models_doc` writes its tables."""

from collections.abc import Iterator
from pathlib import Path

from openvocab.evaluate.image_recipes import ImageRecipe, PublishedScore
from openvocab.evaluate.recipes import Recipe, recipes
from openvocab.models.presets import presets
from openvocab.weights.manifest import Published, named, preset_records, published
from openvocab.weights.thresholds import family_thresholds

DOC = Path(__file__).parents[2] / "docs" / "models.md"


def rows(head: tuple[str, ...], body: Iterator[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head), *body)]


def checkpoints() -> list[str]:
    def cells(each: Published) -> tuple[str, ...]:
        plain = each.spec.partition("@")[0]
        tag, box = (f"{value:g}" if value is not None else "" for value in (each.tag_threshold, each.box_threshold))
        rule = each.tag_rule or "-"
        return each.name, each.stage, f"`{plain}`", rule, tag or box or "-", each.threshold_source or "-", each.license

    head = ("checkpoint", "stage", "SPEC", "tag rule", "threshold", "source of the threshold", "license")
    return rows(head, (cells(each) for each in published().values()))


def families() -> list[str]:
    def cells() -> Iterator[tuple[str, ...]]:
        for stage in ("tagger", "detector"):
            for name, own in family_thresholds(stage).items():
                yield stage, name, f"{own.value:g}", own.source

    return rows(("stage", "family or rule", "threshold", "source"), cells())


def preset_rows() -> list[str]:
    def cells() -> Iterator[tuple[str, ...]]:
        for each in presets():
            own = ", ".join(f"{name} {value}" for name, value in preset_records()[each.name].settings.items())
            yield each.name, ", ".join(named(each.name)), own or "-", each.license

    return rows(("preset", "checkpoints", "settings of its own", "license"), cells())


def plain(spec: str) -> str:
    return spec.removesuffix("+max").partition("@")[0]


def score_of(published: PublishedScore) -> str:
    place = "" if published.xyxy is None else f"box {' '.join(f'{edge:.0f}' for edge in published.xyxy)}"
    mask = "" if published.candidate is None else f"mask {published.candidate + 1}"
    return f"{' '.join(filter(None, (published.label, place, mask)))}: {published.score:g}"


def published_for(spec: str) -> list[tuple[str, str, str]]:
    """Return what is published of a checkpoint: of what, which scores, and the recipe."""
    found = []
    for each in recipes().values():
        if plain(each.spec) != plain(spec):
            continue
        figures = f"top-1: {each.top1:g}" if isinstance(each, Recipe) else ", ".join(map(score_of, each.scores))
        found.append((each.file if isinstance(each, ImageRecipe) else each.data, figures, f"`{each.name}`"))
    return found


def examples() -> list[str]:
    def cells() -> Iterator[tuple[str, ...]]:
        named_specs = set()
        for each in presets():
            for stage in ("tagger", "detector", "segmenter"):
                spec = getattr(each, stage)
                if not spec or spec == "pocket":
                    continue
                named_specs.add(plain(spec))
                for row in published_for(spec) or [("-", "no printed figure was found", "-")]:
                    yield each.name, f"`{plain(spec)}`", *row
        for spec in dict.fromkeys(plain(each.spec) for each in recipes().values()):
            if spec not in named_specs:
                yield from (("-", f"`{spec}`", *row) for row in published_for(spec))

    return rows(("preset", "checkpoint", "data", "published", "recipe"), cells())


def written(text: str) -> str:
    """Return the document with each table between its marks written anew."""
    tables = {"checkpoints": checkpoints, "families": families, "presets": preset_rows, "examples": examples}
    for name, table in tables.items():
        before, start, rest = text.partition(f"<!-- table: {name} -->\n")
        _, end, after = rest.partition("<!-- end -->\n")
        assert start and end, name
        text = before + start + "\n".join([*table(), end]) + after
    return text


def test_the_tables_are_those_of_the_records() -> None:
    text = DOC.read_text("utf-8")
    assert text == written(text), "run: python -m tests.weights.test_models_doc"


if __name__ == "__main__":
    DOC.write_text(written(DOC.read_text("utf-8")), encoding="utf-8")
