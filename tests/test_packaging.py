"""What an installation brings: few direct dependencies, and every import belongs to one of them or to an extra."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import openvocab

PACKAGE = Path(openvocab.__file__).parent
PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
OF_DEVELOPERS = ("dev", "docs", "train")


def name_of(requirement: str) -> str:
    """Return the normalized name of the project that a requirement names (PEP 503)."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~;(]", requirement, maxsplit=1)[0]).lower()


def extras_of(requirement: str) -> list[str]:
    found = re.match(r"[\w.-]+\[([^\]]*)\]", requirement)
    return [] if found is None else [each.strip() for each in found[1].split(",")]


def closure(requirements: list[str]) -> set[str]:
    """Return the projects that requirements bring along, as far as they are installed."""
    todo, done = [*requirements], set()
    while todo:
        requirement = todo.pop()
        name, wanted = name_of(requirement), extras_of(requirement)
        if name == "openvocab":
            todo += [each for extra in wanted for each in EXTRAS[extra]]
            continue
        if name in done and not wanted:
            continue
        done.add(name)
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        chosen = [f"extra == '{extra}'" for extra in wanted] + [f'extra == "{extra}"' for extra in wanted]
        todo += [each for each in needs if "extra ==" not in each or any(text in each for text in chosen)]
    return done


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {each.name.partition(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(str(node.module).partition(".")[0])
    return names - set(sys.stdlib_module_names) - {"openvocab"}


def test_the_core_has_at_most_twelve_dependencies() -> None:
    core = [name_of(each) for each in PROJECT["dependencies"]]
    assert len(core) <= 12
    assert {"torch", "transformers", "open-clip-torch", "segment-anything", "gradio"} <= set(core)


def test_all_holds_every_extra_of_users() -> None:
    assert set(extras_of(EXTRAS["all"][0])) == set(EXTRAS) - {"all", *OF_DEVELOPERS}


@pytest.mark.parametrize(
    "folder", sorted(each.name for each in PACKAGE.iterdir() if each.is_dir() and each.name[0] != "_")
)
def test_every_import_comes_with_a_dependency_or_an_extra(folder: str) -> None:
    known = closure([*PROJECT["dependencies"], "openvocab[all]"])
    projects = metadata.packages_distributions()
    used = set().union(*(imported(path) for path in (PACKAGE / folder).rglob("*.py")))
    missing = {
        module for module in used if module in projects and not known & {name_of(each) for each in projects[module]}
    }
    assert missing - {"IPython", "clip_benchmark"} == set()  # a notebook's own; only tests compare with it
