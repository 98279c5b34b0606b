"""What differs on Windows and macOS, as far as Linux can show it: missing modules and calls, paths, links, MPS."""

from __future__ import annotations

import ast
import errno
import ntpath
import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import openvocab
from openvocab.batch import atomic
from openvocab.errors import CannotWrite
from openvocab.formats import job as export_job
from openvocab.images import sources
from openvocab.pipeline.result import Result
from openvocab.weights import folders

PACKAGE = Path(openvocab.__file__).parent
POSIX_MODULES = {"curses", "fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"}
POSIX_CALLS = {
    "os": {"chown", "fork", "forkpty", "geteuid", "getgid", "getloadavg", "getpgid", "getuid", "killpg", "lchown"}
    | {"mkfifo", "mknod", "nice", "setsid", "statvfs", "sysconf", "uname", "wait", "waitid", "O_NONBLOCK"},
    "signal": {"SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGUSR1", "SIGUSR2", "alarm"}
    | {"pause", "pthread_kill", "setitimer", "sigwait"},
    "time": {"tzset"},
}
GUARDED = {("openvocab/batch/engine.py", "os.sched_getaffinity"), ("openvocab/batch/atomic.py", "os.kill")}
"""Calls that are missing or dangerous elsewhere, each behind a check of the system: see the tests below."""


def used(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports, and the names of os, signal and time that it uses."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"


def test_no_file_needs_what_only_posix_has() -> None:
    missing = POSIX_MODULES | {f"{module}.{name}" for module, names in POSIX_CALLS.items() for name in names}
    missing |= {name for _, name in GUARDED}
    found = {
        (path.relative_to(PACKAGE.parent).as_posix(), name)
        for path in PACKAGE.rglob("*.py")
        for name in used(path)
        if name in missing
    }
    signals_itself = ("openvocab/ui/cli/batch_commands.py", "os.kill")  # Windows has it for these two signals
    assert found == GUARDED | {signals_itself}


def test_processes_are_spawned() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and "get_context" in ast.unparse(node.func):
                assert ast.unparse(node) == "get_context('spawn')", path


def test_no_signal_is_sent_where_it_would_end_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("os.kill(pid, 0) ends a process on Windows"))
    monkeypatch.setattr(atomic, "os", types.SimpleNamespace(name="nt", kill=os.kill))
    assert atomic.is_alive(1)


def test_folders_are_not_opened_where_that_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: Any) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(atomic, "os", types.SimpleNamespace(name="nt", open=refuse, O_RDONLY=0))
    atomic.sync_folder(tmp_path)


# --- paths


def windows_os(folder: str = "C:\\work") -> types.SimpleNamespace:
    """Return the part of the module os that paths need, as on Windows."""

    def absolute(path: str) -> str:
        return ntpath.normpath(ntpath.join(folder, path))

    def relative(path: str, start: str) -> str:
        return ntpath.relpath(absolute(path), absolute(start))

    path = types.SimpleNamespace(**{name: getattr(ntpath, name) for name in ("join", "isdir", "islink")})
    path.abspath, path.relpath = absolute, relative
    return types.SimpleNamespace(path=path, sep="\\", pardir="..")


@pytest.mark.parametrize(
    ("name", "folder", "expected"),
    [
        pytest.param("C:\\photos\\a\\x.jpg", "C:\\photos", "a/x.jpg", id="inside"),
        pytest.param("photos\\a\\x.jpg", "photos", "a/x.jpg", id="relative"),
        pytest.param("C:\\other\\x.jpg", "C:\\photos", "C:\\other\\x.jpg", id="outside"),
        pytest.param("D:\\photos\\x.jpg", "C:\\photos", "D:\\photos\\x.jpg", id="another drive"),
        pytest.param("https://a.example/x.jpg", "C:\\photos", "https://a.example/x.jpg", id="address"),
    ],
)
def test_exported_names_have_slashes(monkeypatch: pytest.MonkeyPatch, name: str, folder: str, expected: str) -> None:
    monkeypatch.setattr(export_job, "os", windows_os())
    assert export_job._below(name, folder) == expected


@pytest.mark.parametrize(
    ("path", "reached"),
    [
        pytest.param("C:\\photos\\a\\x.jpg", True, id="inside"),
        pytest.param("C:\\photos\\.hidden\\x.jpg", False, id="hidden"),
        pytest.param("C:\\photos2\\x.jpg", False, id="a folder whose name begins alike"),
        pytest.param("D:\\photos\\x.jpg", False, id="another drive"),
    ],
)
def test_a_walk_reaches_paths_with_backslashes(monkeypatch: pytest.MonkeyPatch, path: str, reached: bool) -> None:
    monkeypatch.setattr(sources, "os", windows_os())
    assert sources._reaches("C:\\photos", path) == reached


@pytest.mark.parametrize(
    ("system", "environment", "expected"),
    [
        pytest.param("win32", {"LOCALAPPDATA": "/local"}, Path("/local/openvocab"), id="Windows"),
        pytest.param("darwin", {"HOME": "/me"}, Path("/me/Library/Caches/openvocab"), id="macOS"),
        pytest.param("linux", {"HOME": "/me"}, Path("/me/.cache/openvocab"), id="Linux"),
        pytest.param("win32", {"OPENVOCAB_CACHE": "/c", "LOCALAPPDATA": "/local"}, Path("/c"), id="chosen"),
    ],
)
def test_cache_is_where_the_system_keeps_caches(
    monkeypatch: pytest.MonkeyPatch, system: str, environment: dict[str, str], expected: Path
) -> None:
    for name in ("OPENVOCAB_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", system)
    assert folders.cache_folder() == expected


# --- links


@pytest.mark.parametrize(
    ("error", "message"),
    [
        pytest.param(OSError(errno.EPERM, "Operation not permitted"), "images='copy'", id="a disk without links"),
        pytest.param(NotImplementedError("os.symlink()"), "images='copy'", id="a system without links"),
        pytest.param(OSError(errno.ENOSPC, "No space left on device"), "make room", id="full disk"),
    ],
)
def test_links_that_cannot_be_made_are_explained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, drawn: Result, error: Exception, message: str
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(Path, "symlink_to", refuse)
    with pytest.raises(CannotWrite, match=message):
        openvocab.export(drawn, tmp_path / "out", "yolo", images="link")
    assert openvocab.export(drawn, tmp_path / "copied", "yolo", images="copy").images == 1


# --- MPS


class NoFloat64(TorchDispatchMode):
    """Fails where a model computes in float64, which MPS does not have; arrays that come in are converted first."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        if function is torch.ops.aten.lift_fresh.default:
            return made
        for each in made if isinstance(made, (tuple, list)) else [made]:
            assert not isinstance(each, torch.Tensor) or each.dtype != torch.float64, str(function)
        return made


@pytest.fixture(scope="module")
def drawn() -> Result:
    """Return the answer about an example scene, with every operation of the models checked."""
    pipe = openvocab.load("pocket", dtype="float32")
    with NoFloat64():
        return pipe(openvocab.example_scenes()[0].path, ["tent", "umbrella"])


def test_models_need_no_float64(drawn: Result) -> None:
    assert drawn.detections.labels
