"""Other packages add model families: by entry points when they are installed, by register_tagger in a script."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

import openvocab
from openvocab import BadInput, OpenVocabWarning, UnknownName
from openvocab.models import families as builtin
from openvocab.models import registry
from openvocab.models.registry import Registry

EXAMPLE = Path(__file__).with_name("example_family")
ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "guides" / "adding-a-family.md").read_text("utf-8")


@pytest.fixture
def taggers(monkeypatch: pytest.MonkeyPatch) -> Registry[Any]:
    """The tagger families as a new process has them, in place of this process's own."""
    fresh: Registry[Any] = Registry("tagger", openvocab.Tagger, builtin.TAGGERS, "openvocab.taggers")
    monkeypatch.setattr(registry, "TAGGERS", fresh)
    monkeypatch.setattr(registry, "REGISTRIES", (fresh, *registry.REGISTRIES[1:]))
    return fresh


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for sys.path with the example's wheel unpacked, as an installer leaves it."""
    folder = tmp_path_factory.mktemp("installed")
    code = f"from hatchling.build import build_wheel; print(build_wheel({str(folder)!r}))"
    made = subprocess.run([sys.executable, "-c", code], cwd=EXAMPLE, capture_output=True, text=True, check=True)
    wheel = folder / made.stdout.split()[-1]
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def command(installed: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(installed), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-m", "openvocab.ui.cli.main", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )


def test_an_installed_family_tags_an_image_from_the_command_line(
    installed: Path, tmp_path: Path, make_image: Callable[..., Any]
) -> None:
    from PIL import Image

    Image.new("RGB", (20, 10), (200, 30, 20)).save(tmp_path / "a.png")
    made = command(
        installed, "tag", str(tmp_path / "a.png"), "--labels", "red, blue", "--tagger", "mean_color:sharp", "--json"
    )
    assert made.returncode == 0, made.stderr
    row = json.loads(made.stdout)
    assert row["tags"][0]["label"] == "red" and row["tags"][0]["score"] > 0.9


def test_installed_families_are_listed(installed: Path) -> None:
    made = command(installed, "models")
    assert made.returncode == 0 and "mean_color" in made.stdout


def test_a_wrong_checkpoint_of_an_installed_family_is_one_sentence(installed: Path, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    made = command(installed, "tag", str(tmp_path / "a.png"), "--labels", "red", "--tagger", "mean_color:shrp")
    assert made.returncode == 2 and "known: soft, sharp" in made.stderr and "Traceback" not in made.stderr


def test_the_guide_shows_the_example_and_its_code_runs(taggers: Registry[Any]) -> None:
    python = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    assert python[0] == (EXAMPLE / "example_family.py").read_text("utf-8")
    assert re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL) == [(EXAMPLE / "pyproject.toml").read_text("utf-8")]
    known: dict[str, Any] = {"__name__": "example"}
    sys.modules.setdefault("example", sys.modules[__name__])  # where dataclasses look names up
    for block in python:
        exec(block, known)
    assert known["tagger"].record.spec == "mean_color:sharp"


# --- names


class Nothing:
    """Implements no stage."""


@pytest.mark.parametrize(
    ("name", "factory", "message"),
    [
        pytest.param("clip", Nothing, "there is a tagger family 'clip' already", id="built-in"),
        pytest.param("a:b", Nothing, "one word without a colon", id="colon"),
        pytest.param("", Nothing, "one word without a colon", id="empty"),
        pytest.param("new", "module:load", "must be callable, got 'module:load'", id="text"),
    ],
)
def test_a_registration_that_cannot_work_is_refused(
    name: str, factory: Any, message: str, taggers: Registry[Any]
) -> None:
    with pytest.raises(BadInput, match=message):
        openvocab.register_tagger(name, factory)


def test_a_registered_family_is_listed_and_suggested(taggers: Registry[Any]) -> None:
    openvocab.register_tagger("mean_color", lambda checkpoint, device, dtype: (_ for _ in ()).throw(KeyError(dtype)))
    assert openvocab.families()["tagger"][-1] == "mean_color"
    with pytest.raises(UnknownName, match="did you mean 'mean_color'"):
        openvocab.load_tagger("mean_colour:sharp")


def test_registering_a_factory_again_changes_nothing(taggers: Registry[Any]) -> None:
    for _ in range(2):
        openvocab.register_tagger("new", Nothing)  # type: ignore[arg-type]
    assert list(taggers).count("new") == 1


def test_a_factory_gets_names_and_its_stage_must_implement_the_protocol(taggers: Registry[Any]) -> None:
    import torch

    given: list[Any] = []

    def factory(*args: Any) -> Any:
        given.append(args)
        return Nothing()

    openvocab.register_tagger("new", factory)
    with pytest.raises(BadInput, match="loaded a Nothing without encode_images, encode_labels, .*openvocab.Tagger"):
        openvocab.load_tagger("new", torch.device("cpu"), torch.float16)
    assert given == [("", "cpu", "float16")]


# --- entry points of other packages


def install(folder: Path, package: str, entries: str, code: str) -> None:
    """Write what an installer leaves of a package with one module."""
    (folder / f"{package}.py").write_text(code, "utf-8")
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text(f"[openvocab.taggers]\n{entries}\n", "utf-8")


@pytest.mark.parametrize(
    ("entries", "code", "message"),
    [
        pytest.param("bad = broken_one:load", "import no_such_module", "ModuleNotFoundError: No module", id="import"),
        pytest.param("bad = broken_two:load", "", "AttributeError: .*'load'", id="no such function"),
        pytest.param("bad = broken_three:load", "load = 3", "broken_three:load is not callable", id="no function"),
    ],
)
def test_a_broken_package_is_named_and_breaks_no_other(
    entries: str, code: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taggers: Registry[Any]
) -> None:
    package = entries.removeprefix("bad = ").partition(":")[0]
    install(tmp_path, package, entries, code)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "bad" in openvocab.families()["tagger"]
    with pytest.raises(BadInput, match=f"'bad' of the package {package}.*{message}.*uninstall {package}"):
        openvocab.load_tagger("bad:x")
    assert openvocab.load_tagger("pocket").record.spec == "pocket-tagger"


def test_a_taken_name_is_ignored_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taggers: Registry[Any]
) -> None:
    install(tmp_path, "copycat", "clip = copycat:load", "")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "copycat" in {entry.dist.name for entry in entry_points(group="openvocab.taggers") if entry.dist}
    with pytest.warns(OpenVocabWarning, match="copycat: its tagger family 'clip' is ignored; openvocab has that name"):
        assert openvocab.families()["tagger"].count("clip") == 1
