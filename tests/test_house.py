"""The rules of the house, held by machine."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import openvocab

PACKAGE = Path(openvocab.__file__).parent
ROOT = Path(__file__).parents[1]
FILES = sorted(PACKAGE.rglob("*.py"))
TRAINING = sorted((ROOT / "training").glob("*.py"))
LAYERS = (
    {"errors"},
    {"images", "prompts", "weights"},
    {"pipeline"},
    {"models", "testing"},
    {"batch"},
    {"formats"},
    {"evaluate"},
    {"ui"},
    {"__main__"},
)
"""A part imports parts of the layers before its own, and none of its own layer but itself."""
UPWARD = {("openvocab.pipeline.pipeline", "batch")}
"""The one upward edge: Pipeline.run, run_to and a label cache import the batch engine when they are called."""
MAX_LINES = 5000
"""Of Python in a folder's own files, without its subfolders, which count for themselves: what one reader can know."""


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE if path.is_relative_to(PACKAGE) else ROOT).as_posix()


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}


def imported(path: Path) -> set[str]:
    """Return the modules of the package that a file imports: at its top, late in a function, or for types alone."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    found = {name if name in MODULES else name.rpartition(".")[0] for name in names}
    return {name for name in found if name in MODULES} - {"openvocab", module_of(path)}


GRAPH = {module: imported(path) for module, path in MODULES.items() if module != "openvocab"}


def part_of(module: str) -> str:
    return module.split(".")[1]


def named(module: str, target: str) -> bool:
    return (module, part_of(target)) in UPWARD


@pytest.mark.parametrize("module", sorted(GRAPH))
def test_imports_run_one_way(module):
    level = next(level for level, parts in enumerate(LAYERS) if part_of(module) in parts)
    below = set().union(*LAYERS[:level]) | {part_of(module)}
    assert {target for target in GRAPH[module] if part_of(target) not in below and not named(module, target)} == set()


def siblings(folder: str) -> dict[str, set[str]]:
    """Return the files and folders directly in a folder, each with those beside it that it imports."""
    depth = folder.count(".") + 2
    inside = [module for module in GRAPH if module.startswith(folder + ".")]
    edges: dict[str, set[str]] = {}
    for module in inside:
        child = ".".join(module.split(".")[:depth])
        targets = {".".join(target.split(".")[:depth]) for target in GRAPH[module] if not named(module, target)}
        edges.setdefault(child, set()).update(
            each for each in targets if each.startswith(folder + ".") and each != child
        )
    return edges


FOLDERS = sorted({module.rpartition(".")[0] for module in GRAPH})


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_folder_has_a_circle_of_imports(folder):
    try:
        TopologicalSorter(siblings(folder)).prepare()
    except CycleError as error:
        pytest.fail(f"import circle: {' → '.join(reversed(error.args[1]))}")


@pytest.mark.parametrize("folder", [each for each in FOLDERS if each != "openvocab"])
def test_folders_are_small_enough_to_know(folder):
    own = {path for path in FILES if path.parent == PACKAGE.parent / Path(*folder.split("."))}
    lines = sum(path.read_text("utf-8").count("\n") for path in own)
    assert lines <= MAX_LINES


def test_messages_of_the_library_name_arguments_not_options():
    found = []
    for path in (each for each in FILES if module_of(each).split(".")[1:2] != ["ui"]):
        nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
        documented = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        texts = [node.value for node in nodes if isinstance(node, ast.Constant) and id(node) not in documented]
        found += [text for text in texts if re.search(r"(^|[ (])--[a-z]", str(text).partition("pip install")[0])]
    assert found == []


def test_an_image_is_called_an_image():
    words = [path.read_text("utf-8").count("picture") for path in FILES]
    assert sum(words) == 0


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
