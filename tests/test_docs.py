"""Every code block of the README and of docs/ is run, or for shell parsed; what blocks name exists.

A block below the comment `<!-- not run: needs ... -->` is compiled only, and stands in NOT_RUN. Where a block names
published checkpoints, CUDA devices or a running server, a small stand-in takes its place.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import inspect
import json
import re
import shlex
import shutil
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import openvocab
import openvocab.evaluate
import openvocab.testing
from docs import hooks
from openvocab.models.registry import REGISTRIES
from openvocab.ui.cli.options import parser

ROOT = Path(__file__).parents[1]
PACKAGE = Path(openvocab.__file__).parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOT_RUN: list[str] = []
"""Page and reason of each block that is not run."""

FENCE = re.compile(
    r"(?:<!-- not run: (?P<reason>.+?) -->\n+)?^```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^```$", re.M | re.S
)
COMMENT = re.compile(r"<!--.*?-->", re.S)
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
TARGETS = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.M)[1].split()  # type: ignore[index]


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    language: str
    text: str
    reason: str | None


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks_of(path: Path) -> list[Block]:
    found = FENCE.finditer(path.read_text("utf-8"))
    return [Block(name_of(path), each["language"], each["text"], each["reason"]) for each in found]


BLOCKS = [block for path in PAGES for block in blocks_of(path)]


def commands(block: Block) -> Iterator[str]:
    """Yield the commands of a shell block, continued lines joined."""
    for line in block.text.replace("\\\n", " ").splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield line.strip()


COMMANDS = [
    pytest.param(line, id=f"{block.page}: {line}"[:120])
    for block in BLOCKS
    if block.language == "sh"
    for line in commands(block)
]


def all_parsers(command: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield command
    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from all_parsers(each)


# --- what there is


def test_every_block_names_its_language() -> None:
    known = {"json", "python", "sh", "text", "toml", "yaml"}
    assert not [(block.page, block.text) for block in BLOCKS if block.language not in known]


def test_the_blocks_that_are_not_run_are_those_listed() -> None:
    assert [f"{block.page}: {block.reason}" for block in BLOCKS if block.reason] == NOT_RUN


def test_every_public_name_is_in_the_reference_once() -> None:
    pages = hooks.pages()
    listed = re.findall(r"^::: (.+)$", "\n".join(pages.values()), re.M)
    names = [*openvocab.__all__, *openvocab.evaluate.__all__, *openvocab.testing.__all__]
    assert sorted(each.rpartition(".")[2] for each in listed) == sorted(names)
    assert all(each in pages["reference/index.md"] for each in listed)


@pytest.mark.parametrize("name", [name for name in openvocab.__all__ if is_dataclass(getattr(openvocab, name))])
def test_every_attribute_of_a_public_record_is_documented(name: str) -> None:
    section = (inspect.getdoc(getattr(openvocab, name)) or "").partition("Attributes:\n")[2]
    documented = set(re.findall(r"^ +(\w+)(?: \(.+?\))?:", section, re.M))
    public = {each.name for each in fields(getattr(openvocab, name)) if not each.name.startswith("_")}
    assert public <= documented or name == "Settings"  # its table is generated from the help texts


def test_every_command_and_option_is_in_the_reference() -> None:
    page = hooks.cli_page()
    for command in all_parsers(parser()):
        assert f"# {command.prog}\n" in page
        assert all(name in page for action in command._actions for name in action.option_strings if name != "-h")


# --- shell


def _openvocab(words: list[str]) -> None:
    parser().parse_args(words)


def _make(words: list[str]) -> None:
    assert set(words) <= set(TARGETS)


def _pip(words: list[str]) -> None:
    named = re.findall(r"\[(.+?)\]", " ".join(words))
    assert words[0] == "install" and set(",".join(named).split(",")) <= {"", *EXTRAS}


def _python(words: list[str]) -> None:
    path = words[0]
    if words[0] == "-m":
        spec = importlib.util.find_spec(words[1])
        assert spec and spec.origin
        path = spec.origin
    source = (ROOT / path).read_text("utf-8")
    assert all(word.partition("=")[0] in source for word in words if word.startswith("--"))


def _pytest(words: list[str]) -> None:
    assert all((ROOT / word).is_file() for word in words if word.startswith("tests/"))


PROGRAMS: dict[str, Callable[[list[str]], None]] = {
    "find": lambda words: None,  # feeds a pipe
    "openvocab": _openvocab,
    "make": _make,
    "pip": _pip,
    "pytest": _pytest,
    "python": _python,
}


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_is_understood(line: str) -> None:
    for part in shlex.join(shlex.split(line, comments=True)).split(" '|' "):
        program, *words = shlex.split(part)
        PROGRAMS[program](words[: words.index(">")] if ">" in words else words)


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_options_in_the_text_exist(path: Path) -> None:
    known = {name for each in all_parsers(parser()) for action in each._actions for name in action.option_strings}
    prose = FENCE.sub("", COMMENT.sub("", path.read_text("utf-8")))
    for code in re.findall(r"`([^`\n]+)`", prose):
        program, *words = code.split()
        if program in ("pytest", "python"):
            PROGRAMS[program](words)
        else:
            assert set(re.findall(r"(?<!\S)--[a-z][a-z0-9-]*", code)) <= known, code


def test_files_and_tests_in_the_text_exist() -> None:
    text = "\n".join(path.read_text("utf-8") for path in PAGES)
    files = re.findall(r"`((?:benchmarks|openvocab|tests|training)/[\w/.-]+)`", text)
    roots = {"openvocab": PACKAGE.parent}
    assert files and not [name for name in files if not (roots.get(name.split("/")[0], ROOT) / name).exists()]
    tests = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert not [name for name in re.findall(r"`(test_\w+)`", text) if f"def {name}(" not in tests]


def test_links_of_the_readme_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", PAGES[0].read_text("utf-8"))
    assert links and not [each for each in links if not (ROOT / each).exists()]


# --- Python


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with the files that blocks name; families that blocks register are forgotten afterwards."""
    for registry in REGISTRIES:
        monkeypatch.setattr(registry, "_families", dict(registry._families))
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    scene = openvocab.example_scenes()[0].path
    for name in ("scene.png", "scene-1.png", "images/a.png", "photos/b.png"):
        Path(name).parent.mkdir(exist_ok=True)
        shutil.copy(scene, name)
    with zipfile.ZipFile("images.zip", "w") as file:
        file.write(scene, "a.png")
    return folder


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of a page with the embedded models."""
    from openvocab.ui.web.context import Context
    from openvocab.ui.web.models import Models
    from openvocab.ui.web.server import ServerOptions, run_server

    with run_server(Context(Models(("pocket",), device="cpu")), ServerOptions(port=0, mcp=True)) as served:
        yield served.url.rstrip("/")


@pytest.fixture(scope="session")
def tiny_sam(tmp_path_factory: pytest.TempPathFactory) -> str:
    from tests.tiny import sam

    return sam.write(tmp_path_factory.mktemp("sam") / "model")


@pytest.fixture(scope="session")
def tiny_ram(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A RAM++ and its text tower, to go before the file of descriptions."""
    from tests.tiny import ram

    return f"ram:{ram.write(tmp_path_factory.mktemp('ram') / 'model')}@"


def _tiny(family: str) -> Callable[[pytest.FixtureRequest], str]:
    """A stand-in for a SPEC: the family's tiny checkpoint."""

    def written(request: pytest.FixtureRequest) -> str:
        folder = request.getfixturevalue("tmp_path_factory").mktemp(family) / "model"
        return f"{family}:{importlib.import_module(f'tests.tiny.{family}').write(folder)}"

    return written


STAND_INS: dict[str, Callable[[pytest.FixtureRequest], str]] = {
    "http://127.0.0.1:7860": lambda request: str(request.getfixturevalue("url")),
    "open_clip:ViT-B-32/laion2b_s34b_b79k": lambda request: (
        f"open_clip:local-dir:{request.getfixturevalue('clip_folders')['softmax']}"
    ),
    "owlv2:google/owlv2-base-patch16-ensemble": lambda request: f"owlv2:{request.getfixturevalue('owlv2_folder')}",
    "florence2:florence-community/Florence-2-base": _tiny("florence2"),
    "qwen3_vl:Qwen/Qwen3-VL-2B-Instruct": _tiny("qwen3_vl"),
    "ram:ram_plus_swin_large_14m@": lambda request: str(request.getfixturevalue("tiny_ram")),
    "sam3:facebook/sam3": _tiny("sam3"),
    "seggpt:BAAI/seggpt-vit-large": _tiny("seggpt"),
    "sam2:facebook/sam2.1-hiera-tiny": _tiny("sam2"),
    "grounding_dino:IDEA-Research/grounding-dino-tiny": _tiny("grounding_dino"),
    "sam:vit_b@sam_vit_b_01ec64.pth": lambda request: f"sam:{request.getfixturevalue('tiny_sam')}",
    'Loader("base")': lambda _: 'Loader("pocket")',
    '("cuda:0", "cuda:1")': lambda _: '("cpu",)',
    'workers.run_to("run"': lambda _: 'workers.run_to("run-of-workers"',
}
"""Text of a block -> what takes its place."""


HOLDS: dict[str, list[str]] = {
    "README.md": [
        "Path('out.png').is_file() and Path('coco.json').is_file() and list(Path('dataset').rglob('*.png'))",
        "answer['width'] == 256 and summary['ok'] == 1 and 'coco.json' in zipfile.ZipFile(path).namelist()",
        "run.dataset.count_rows() == 1 and pipe('scene.png', ['cat', 'dog']).labels == ('cat', 'dog')",
    ],
    "docs/cookbook.md": [
        "Path('cutout.png').is_file() and list(Path('crops').rglob('*.png')) and summary.errors == {'not_an_image': 1}",
        "counts[0.2] >= counts[0.5] >= counts[0.8] and 0 < covered < 1",
        "best.label == 'light bulb' and not len(pairs)",
    ],
    "docs/get-started.md": [
        "Path('out.png').is_file() and scores.shape == (1, 3) and masks.shape == (3, 256, 256)",
        "len(strict.detections) <= len(loose.detections)",
    ],
    "docs/guides/tag-a-folder.md": [
        "summary.ok == 1 and run.dataset.count_rows() == 1",
        "[row.status for row in openvocab.read_run('run-of-workers')] == ['ok']",
    ],
    "docs/guides/evaluate.md": [
        "metrics.top1.low <= metrics.top1.value <= metrics.top1.high and abs(metrics.top1.value - 2 / 3) < 1e-9"
    ],
    "docs/guides/ram.md": ["scores.shape == (1, 2) and 'sofa bed' in tagger.descriptions"],
    "docs/web-demo.md": [
        "found['tags'][0]['label'] == 'light bulb' and found['detections'][0]['mask'] and Path(path).is_file()",
        "scores['images'][0]['scores'][0]['label'] == 'tent'",
    ],
}
"""Page -> what holds after its blocks have run."""


def names_given() -> dict[str, Any]:
    """Return what a reader of the later pages has: arrays to evaluate. Every page imports and loads what it uses."""
    rows = np.eye(3, 8, dtype=np.float32)
    arrays = {"logits": rows[:, :2], "truth": np.array([0, 1, 1]), "labels": ["cat", "dog"]}
    arrays |= {"image_rows": rows, "text_rows": rows, "image_of_text": np.arange(3)}
    return {"__name__": "__main__", **arrays}


def check_comments(text: str, known: dict[str, Any]) -> None:
    """Compare each expression whose comment is a literal with that literal."""
    for line in text.splitlines():
        code, _, comment = line.partition("  # ")
        try:
            value, expression = ast.literal_eval(comment), compile(code, "<block>", "eval")
        except (SyntaxError, ValueError):
            continue
        assert eval(expression, known) == value, line


def run_blocks(blocks: list[tuple[Block, str]], known: dict[str, Any]) -> None:
    """Run the blocks of a page, with the names that the blocks before gave."""
    for block, text in blocks:
        code = compile(text, block.page, "exec")
        if not block.reason:
            exec(code, known)
            check_comments(text, known)


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_the_python_of_a_page_runs(path: Path, here: Path, request: pytest.FixtureRequest) -> None:
    blocks = [block for block in blocks_of(path) if block.language == "python"]
    known = names_given() if blocks else {}
    texts = [block.text for block in blocks]
    for named, stand_in in STAND_INS.items():
        texts = [text.replace(named, stand_in(request)) if named in text else text for text in texts]
    with ThreadPoolExecutor(1) as pool:  # a browser of other tests leaves a running event loop in this thread
        pool.submit(run_blocks, list(zip(blocks, texts, strict=True)), known).result()
    for expression in HOLDS.get(name_of(path), []):
        assert eval(expression, {**globals(), **known}), expression


def test_every_stand_in_is_used() -> None:
    text = "".join(block.text for block in BLOCKS if block.language == "python")
    assert not [named for named in STAND_INS if named not in text]


def test_data_is_well_formed() -> None:
    parsers = {"json": json.loads, "toml": tomllib.loads, "yaml": yaml.safe_load}
    for block in BLOCKS:
        if block.language in parsers:
            parsers[block.language](block.text)
