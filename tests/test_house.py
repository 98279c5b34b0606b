"""The rules of the house, held by machine."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import openvocab

PACKAGE = Path(openvocab.__file__).parent
ROOT = Path(__file__).parents[1]
FILES = sorted(PACKAGE.rglob("*.py"))
TRAINING = sorted((ROOT / "training").glob("*.py"))
MAY_IMPORT = {
    "errors": set(),
    "images": {"errors"},
    "prompts": {"errors"},
    "weights": {"errors"},
    "pipeline": {"errors", "images", "prompts", "weights"},
    "batch": {"errors", "images", "prompts", "weights", "pipeline"},
    "formats": {"errors", "images", "prompts", "weights", "pipeline", "batch"},
    "evaluate": {"errors", "images", "prompts", "weights", "pipeline", "batch", "formats"},
    "ui": {"errors", "images", "prompts", "weights", "pipeline", "batch", "formats", "evaluate"},
}


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE if path.is_relative_to(PACKAGE) else ROOT).as_posix()


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the dotted names that a module imports."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from imports(node)


def floors(path: Path) -> set[str]:
    """The parts of the package that a file imports."""
    tree = ast.parse(path.read_text("utf-8"))
    names = [name.split(".") for name in imports(tree)]
    return {name[1] for name in names if name[0] == "openvocab" and len(name) > 1 and name[1] in MAY_IMPORT}


@pytest.mark.parametrize("path", [path for path in FILES if path.parent != PACKAGE], ids=name_of)
def test_imports_run_one_way(path):
    home = path.relative_to(PACKAGE).parts[0]
    assert floors(path) <= MAY_IMPORT[home] | {home}


@pytest.mark.parametrize("path", FILES + TRAINING, ids=name_of)
def test_files_are_short_and_assert_nothing(path):
    text = path.read_text("utf-8")
    assert text.count("\n") < 400
    assert not [node.lineno for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Assert)]


@pytest.mark.parametrize("path", FILES + TRAINING, ids=name_of)
def test_functions_are_short(path):
    functions = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.FunctionDef)]
    assert not [node.name for node in functions if (node.end_lineno or 0) - node.lineno >= 40]


def test_import_is_quiet_and_light():
    heavy = ("torch", "torchvision", "gradio", "transformers", "open_clip", "supervision", "cv2", "matplotlib")
    code = f"import sys, openvocab; print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert (run.returncode, run.stdout.strip(), run.stderr) == (0, "[]", "")


def test_the_public_face_is_a_list_and_true():
    assert openvocab.__all__ == sorted(openvocab.__all__)
    assert all(hasattr(openvocab, name) for name in openvocab.__all__)


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md"])
def test_documents_exist_and_name_the_version_or_the_commands(name):
    text = (ROOT / name).read_text("utf-8")
    wanted = [openvocab.__version__] if name == "CHANGELOG.md" else ["make demo", "make test"]
    assert all(word in text for word in wanted)


@pytest.mark.parametrize(
    "command",
    ["demo", "tag", "annotate", "models", "labels", "weights", "doctor", "export", "relabel", "evaluate", "serve"],
)
def test_every_command_stands_in_the_readme(command):
    assert f"openvocab {command}" in (ROOT / "README.md").read_text("utf-8")
