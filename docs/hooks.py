"""MkDocs hook: the pages of the reference, generated from openvocab.__all__ and from the argument parser."""

from __future__ import annotations

import os
from argparse import SUPPRESS, Action, ArgumentParser, _HelpAction, _SubParsersAction
from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module
from typing import Any
from unittest.mock import patch

import openvocab
from openvocab.ui.cli.options import parser

PAGES = {
    "models": ("Load models", "Load a preset, or a model by its SPEC."),
    "pipeline": ("Pipeline and results", "Run the chain on images and read its results."),
    "batch": ("Runs", "Run a pipeline on many images and read the rows of a run folder."),
    "images": ("Images", "Find and read images."),
    "prompts": ("Labels and templates", "Read label sets and templates."),
    "formats": ("Export", "Write results as files of other tools."),
    "errors": ("Errors", "Every error derives from `OpenVocabError`."),
    "evaluate": ("Evaluation", "The metrics as functions of arrays: `from openvocab.evaluate import ...`."),
    "testing": ("Testing", "Fake stages that need no weights: `from openvocab.testing import ...`."),
}
"""Folder or module of openvocab -> title and first sentence of its page."""
SEPARATE = ("evaluate", "testing")
"""Those whose public names are their own, and not names of the package."""


def public() -> dict[str, list[str]]:
    """Return page -> full names of what it documents; every public name stands on one page."""
    pages: dict[str, list[str]] = {page: [] for page in PAGES}
    for module in (openvocab, *(import_module(f"openvocab.{page}") for page in SEPARATE)):
        for name in module.__all__:
            home = getattr(module, name).__module__
            pages[home.split(".")[1]].append(f"{home}.{name}")
    return pages


def api_page(page: str) -> str:
    """Return a page of the reference: one mkdocstrings block for each public name."""
    parts = [f"# {PAGES[page][0]}", PAGES[page][1]]
    for name in public()[page]:
        parts += [f"::: {name}", *([settings_table()] if name.endswith(".Settings") else [])]
    return "\n\n".join([*parts, ""])


def settings_table() -> str:
    """Return the table of the settings of the chain, with the texts that the command line shows."""
    rows = [f"| `{each.name}` | `{each.default}` | {each.metadata['help']} |" for each in fields(openvocab.Settings)]
    return "\n".join(["| setting | default | meaning |", "|---|---|---|", *rows])


def api_index() -> str:
    """Return the page that lists every public name."""
    lines = ["# Python reference", "Names without a module are those of the package: `openvocab.load`."]
    for page, names in public().items():
        links = ", ".join(f"[`{name.rpartition('.')[2]}`][{name}]" for name in names)
        lines.append(f"[{PAGES[page][0]}]({page}.md): {links}.")
    return "\n\n".join([*lines, ""])


def _commands(command: ArgumentParser) -> Iterator[ArgumentParser]:
    """Yield a parser and those of its commands, depth first."""
    yield command
    for action in command._actions:
        if isinstance(action, _SubParsersAction):
            for each in action.choices.values():
                yield from _commands(each)


def _row(command: ArgumentParser, action: Action) -> str:
    """Return the row of a table: the option with its value, and the help text."""
    formatter = command._get_formatter()
    cells = formatter._format_action_invocation(action), formatter._expand_help(action) if action.help else ""
    option, text = (cell.replace("|", "\\|") for cell in cells)
    return f"| `{option}` | {text} |"


def _section(command: ArgumentParser) -> str:
    """Return the section of a command: heading, description, usage, and a table for each group of options."""
    level = min(command.prog.count(" ") + 2, 4)
    lines = [f"{'#' * level} {command.prog}", command.description or ""]
    lines.append(f"```text\n{command.format_usage().removeprefix('usage: ').strip()}\n```")
    for group in command._action_groups:
        hidden = (_SubParsersAction, _HelpAction)
        shown = [each for each in group._group_actions if not isinstance(each, hidden) and each.help != SUPPRESS]
        if shown:
            head = f"| {(group.title or 'options').capitalize()} | |\n|---|---|"
            lines.append("\n".join([head, *(_row(command, each) for each in shown)]))
    return "\n\n".join(lines)


def cli_page() -> str:
    """Return the page of the command line, one section for each command."""
    head = "# Command line\n\nGenerated from the argument parser: what `--help` prints.\n\n"
    with patch.dict(os.environ, {"COLUMNS": "80", "NO_COLOR": "1"}):
        return head + "\n\n".join(map(_section, _commands(parser()))) + "\n"


def pages() -> dict[str, str]:
    """Return path in the site -> Markdown text of every generated page."""
    made = {f"reference/{page}.md": api_page(page) for page in PAGES}
    return made | {"reference/index.md": api_index(), "reference/cli.md": cli_page()}


def on_config(config: Any) -> Any:
    """Put the pages of the Python reference into the navigation, below its index."""
    reference = next(entry["Reference"] for entry in config.nav if "Reference" in entry)
    titled = [{title: f"reference/{page}.md"} for page, (title, _) in PAGES.items()]
    reference[:] = [{"Python": ["reference/index.md", *titled]}, {"Command line": "reference/cli.md"}]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages to those of docs/."""
    from mkdocs.structure.files import File

    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files
