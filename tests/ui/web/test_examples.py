"""The documents' calls of the page's API run as they stand, but for the port."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

import openvocab

ROOT = Path(__file__).parents[3]
ADDRESS = "http://127.0.0.1:7860"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with the files that examples name."""
    monkeypatch.chdir(tmp_path)
    scene = openvocab.example_scenes()[0].path
    for name in ("scene.png", "scene-1.png"):
        shutil.copy(scene, name)
    with zipfile.ZipFile("pictures.zip", "w") as file:
        file.write(scene, "a.png")
    return tmp_path


def _run(document: str, server: Any) -> dict[str, Any]:
    code = next(
        block
        for block in re.findall(r"```python\n(.*?)```", (ROOT / document).read_text("utf-8"), re.DOTALL)
        if ADDRESS in block
    )
    known: dict[str, Any] = {}
    exec(code.replace(ADDRESS, server.url.rstrip("/")), known)
    return known


def test_the_calls_of_the_readme_run(server: Any, here: Path) -> None:
    known = _run("README.md", server)
    assert known["answer"]["width"] == 256
    with zipfile.ZipFile(known["path"]) as file:
        assert len(json.loads(file.read("coco.json"))["images"]) == 1


def test_the_calls_of_the_page_s_document_run(server: Any, here: Path) -> None:
    known = _run("docs/web-demo.md", server)
    assert known["found"]["tags"][0]["label"] == "light bulb" and known["found"]["regions"][0]["mask"]
    assert known["scores"]["pictures"][0]["scores"][0]["label"] == "tent"
    assert Path(known["path"]).is_file()
