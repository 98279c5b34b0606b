"""The texts of the page are in its files of strings, so that another language replaces those alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import openvocab

WEB = Path(openvocab.__file__).parent / "ui" / "web"
FOR_PROGRAMS = {
    "api.py",
    "error_responses.py",
    "guard.py",
    "request_bodies.py",
    "theme.py",
    "tool_inputs.py",
    "tools.py",
}
"""What answers other programs, in English, and names of fonts."""
MODULES = [each for each in sorted(WEB.rglob("*.py")) if each.name not in {"strings.py", *FOR_PROGRAMS}]
SCRIPTS = [each for each in sorted(WEB.rglob("*.js")) if each.name != "strings.js"]
ERRORS = ("_LOG.", "re.", "BadInput", "ImageError", "ErrorResponse")
NOT_SHOWN = {"Arrow", "Cc", "Clear", "Enter", "Remove Image"}
"""Keys, a class of letters, and names of Gradio's buttons."""

SENTENCE = re.compile(r"[A-Z][a-z]+(?: [\w“(]|$)|.*[a-z][.?!]$|[A-Z][a-z]+ $", re.S)
"""A capital and a further word, or an end like that of a sentence."""


def name_of(path: Path) -> str:
    return path.relative_to(WEB).as_posix()


def texts(tree: ast.AST) -> Iterator[str]:
    """Yield the strings that a person may read: not documentation, errors, types, or what a logger gets."""
    if isinstance(tree, ast.Raise | ast.Subscript):
        return
    if isinstance(tree, ast.Call) and ast.unparse(tree.func).startswith(ERRORS):
        return
    if isinstance(tree, ast.Assign) and ast.unparse(tree.targets[0]) == "__all__":
        return
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
            continue
        if isinstance(child, ast.Constant) and isinstance(child.value, str):
            yield child.value
        yield from texts(child)


def found(source: str) -> list[str]:
    return [text for text in texts(ast.parse(source)) if SENTENCE.match(text) and text not in NOT_SHOWN]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_text_of_the_page_stands_in_a_module(path: Path) -> None:
    assert found(path.read_text("utf-8")) == []


@pytest.mark.parametrize("path", SCRIPTS, ids=name_of)
def test_no_text_of_the_page_stands_in_a_script(path: Path) -> None:
    source = re.sub(r"(^|\s)//.*$", "", path.read_text("utf-8"), flags=re.M)
    words = [next(filter(None, each)) for each in re.findall(r'"([^"\n]+)"|' + r"'([^'\n]+)'", source)]
    assert [text for text in words if SENTENCE.match(text) and text not in NOT_SHOWN] == []


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        pytest.param('note = {"text": "Press Run now."}', ["Press Run now."], id="a note"),
        pytest.param('gr.Button("Download", size="sm")', ["Download"], id="a title"),
        pytest.param('f"Added {label}."', ["Added "], id="a text with a value"),
        pytest.param('say("the answer is here.")', ["the answer is here."], id="a sentence without a capital"),
        pytest.param('raise BadInput(f"There is no {label}.")', [], id="an error"),
        pytest.param('"""What it does."""\nname = "ov-part ov-note"', [], id="documentation and classes"),
    ],
)
def test_a_text_is_found(source: str, wanted: list[str]) -> None:
    assert found(source) == wanted


def names_in(tree: ast.Module) -> Iterator[str]:
    """Yield the public names that a module defines."""
    for each in tree.body:
        if isinstance(each, ast.FunctionDef):
            yield each.name
        if isinstance(each, ast.Assign | ast.AnnAssign):
            targets = each.targets if isinstance(each, ast.Assign) else [each.target]
            yield from (node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name))


def test_every_text_is_used() -> None:
    inside = (WEB / "texts" / "strings.py").read_text("utf-8")
    outside = "".join(path.read_text("utf-8") for path in WEB.rglob("*.py") if path.name != "strings.py")
    names = list(names_in(ast.parse(inside)))
    unused = [name for name in names if not re.search(rf"\bstrings\.{name}\b", outside)]
    assert len(names) > 60
    assert [name for name in unused if len(re.findall(rf"\b{name}\(", inside)) < 2] == []


@pytest.mark.parametrize(
    ("folder", "defined", "used"),
    [
        pytest.param("canvas", r"^  (\w+): ", r"\btext\.{}\b", id="canvas"),
        pytest.param("strip", r"^export const (\w+)", r"\b{}\b", id="strip"),
        pytest.param("texts", r"^  (\w+):", r"\btexts\.{}\b", id="components"),
    ],
)
def test_every_text_of_the_scripts_is_used(folder: str, defined: str, used: str) -> None:
    names = re.findall(defined, (WEB / folder / "strings.js").read_text("utf-8"), re.M)
    readers = WEB if folder == "texts" else WEB / folder
    outside = "".join(path.read_text("utf-8") for path in readers.glob("*.js") if path.name != "strings.js")
    assert len(names) > 3
    assert [name for name in names if not re.search(used.format(name), outside)] == []
