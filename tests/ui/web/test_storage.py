"""Nothing stays of uploads that were broken off, and nothing goes that is still arriving."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from openvocab.ui.web.storage import Storage


def arriving(folder: Path, name: str, age: float = 0.0) -> Path:
    path = folder / name
    path.write_bytes(b"half")
    os.utime(path, (path.stat().st_mtime - age,) * 2)
    return path


@pytest.mark.parametrize(
    ("name", "stays"),
    [
        pytest.param("tmpab12_xyz", False, id="Gradio's unfinished file"),
        pytest.param("tmpab12_xyz.png", True, id="another file"),
        pytest.param("notes.tmp", True, id="a user's"),
    ],
)
def test_partial_uploads_are_deleted(name: str, stays: bool, tmp_path: Path) -> None:
    with suppress(ConnectionError), Storage(tmp_path, 10**6).upload(10):
        left = arriving(tmp_path, name)
        raise ConnectionError
    assert left.exists() == stays


def test_uploads_in_progress_are_kept(tmp_path: Path) -> None:
    storage = Storage(tmp_path, 10**6)
    with storage.upload(10):
        old = arriving(tmp_path, "tmpolder_00", age=100)
        with storage.upload(10):
            mine = arriving(tmp_path, "tmpmine_000")
        assert mine.exists()
        assert not old.exists()
    assert not mine.exists()


def test_uploads_in_progress_count(tmp_path: Path) -> None:
    storage = Storage(tmp_path, 100)
    with storage.upload(70):
        assert storage.rejection(30) is None
        rejection = storage.rejection(31)
        assert rejection is not None and rejection.status == 507
    assert storage.rejection(100) is None


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(bytes(1000))
    folder = tmp_path / "uploads"
    folder.mkdir()
    (folder / "tmplink_000").symlink_to(outside)
    storage = Storage(folder, 500)
    assert storage.rejection(100) is None
    with storage.upload(1):
        pass
    assert outside.exists() and (folder / "tmplink_000").is_symlink()
