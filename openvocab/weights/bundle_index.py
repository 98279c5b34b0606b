"""The index of a bundle, validated before any of its files is used."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any

from openvocab.errors import BadWeights, UnknownName
from openvocab.weights.manifest import Published, named, published

__all__ = ["BESIDE", "FORMAT", "INDEX", "Index", "Item", "Snapshot", "inside", "plain", "read_index"]

INDEX, FORMAT = "bundle.json", 1
BESIDE = (".json", ".txt", ".model", ".jinja")
"""Kinds of files that belong beside weights: configurations, vocabularies, chat templates."""

_LARGEST_INDEX = 2**20
_COMMIT, _DIGEST = re.compile(r"[0-9a-f]{40}"), re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Item:
    """One file: its member in the tar, its source (repository and commit, or url), size and digest."""

    member: str
    size: int
    sha256: str
    repository: str = ""
    commit: str = ""
    name: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the hub's cache knows of a repository: its commit, the references that mean it, and files it has not."""

    repository: str
    commit: str
    refs: tuple[str, ...]
    absent: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Index:
    """The files of a bundle, in order, and the snapshots of their repositories."""

    items: tuple[Item, ...]
    snapshots: tuple[Snapshot, ...]


def plain(member: tarfile.TarInfo) -> bool:
    """Whether a member is a file whose bytes lie in the tar one after the other: no link, no holes."""
    return member.isreg() and member.type != tarfile.GNUTYPE_SPARSE and not member.issparse()


def inside(name: str, bundle: Path) -> PurePosixPath:
    """Return a relative name that stays inside its folder on every system.

    Raises:
        BadWeights: it leads elsewhere.
    """
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or re.search(r"[\\:\x00-\x1f]", name):
        raise BadWeights(f"{bundle}: refused, because {name!r} leads out of the bundle")
    return path


def read_index(tar: tarfile.TarFile, bundle: Path) -> Index:
    """Read and validate the first member.

    Raises:
        BadWeights: it is no index, of another format, not of the form that pack writes, or names what does not belong
            to the preset or checkpoint that it is of.
    """
    first = tar.next()
    if first is None or first.name != INDEX or not plain(first) or first.size > _LARGEST_INDEX:
        raise BadWeights(f"{bundle}: this is no bundle of openvocab; make one with: openvocab weights pack")
    content = tar.extractfile(first)
    try:
        index = json.loads(content.read() if content else b"", object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise BadWeights(f"{bundle}: its index is no readable JSON; pack it anew") from error
    if not isinstance(index, dict) or index.get("format") != FORMAT or isinstance(index["format"], bool):
        raise BadWeights(f"{bundle}: this bundle is of another format; pack it with this version of openvocab")
    try:
        items = tuple(_item(row) for row in _list(index["files"]))
        snapshots = tuple(_snapshot(name, known) for name, known in _mapping(index.get("snapshots", {})).items())
        _need(len({item.member for item in items}) == len(items))
        records = _records(_text(index["name"]), bundle)
    except (TypeError, KeyError, ValueError) as error:
        raise BadWeights(f"{bundle}: its index is not of the form that openvocab writes; pack it anew") from error
    _check_belongs(items, snapshots, records, bundle)
    return Index(items, snapshots)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse an object that has a key twice."""
    _need(len({key for key, _ in pairs}) == len(pairs))
    return dict(pairs)


def _need(true: bool) -> None:
    if not true:
        raise ValueError


def _text(value: Any) -> str:
    _need(isinstance(value, str) and value.isprintable())
    return str(value)


def _list(value: Any) -> list[Any]:
    _need(isinstance(value, list))
    return list(value)


def _mapping(value: Any) -> Mapping[str, Any]:
    _need(isinstance(value, dict))
    return dict(value)


def _item(row: Any) -> Item:
    known = {each.name for each in fields(Item)}
    given = _mapping(row)
    _need(given.keys() <= known and {"member", "size", "sha256"} <= given.keys())
    size = given["size"]
    _need(isinstance(size, int) and not isinstance(size, bool) and 0 <= size < 2**63)
    texts = {name: _text(value) for name, value in given.items() if name != "size"}
    item = Item(size=size, **texts)
    _need(_DIGEST.fullmatch(item.sha256) is not None)
    _need(bool(item.url) != bool(item.repository))
    _need(bool(item.url) or (_COMMIT.fullmatch(item.commit) is not None and bool(item.name)))
    return item


def _snapshot(repository: str, known: Any) -> Snapshot:
    given = _mapping(known)
    refs, absent = (tuple(_text(each) for each in _list(given.get(name, []))) for name in ("refs", "absent"))
    commit = _text(given["commit"])
    _need(_COMMIT.fullmatch(commit) is not None)
    return Snapshot(_text(repository), commit, refs, absent)


def _records(name: str, bundle: Path) -> list[Published]:
    """Return the records of the preset or checkpoint that a bundle is of."""
    try:
        return [published()[each] for each in named(name) if each in published()]
    except UnknownName as error:
        raise BadWeights(f"{bundle}: this openvocab knows no preset or checkpoint {name!r}; pack it anew") from error


def _check_belongs(
    items: tuple[Item, ...], snapshots: tuple[Snapshot, ...], records: list[Published], bundle: Path
) -> None:
    """Refuse files and repositories that are none of the records'.

    Raises:
        BadWeights: see above.
    """
    by_repository: dict[str, list[Published]] = {}
    for record in records:
        by_repository.setdefault(record.repository, []).append(record)
    urls = {source for each in records if each.url for file in each.files for source in each.sources(file)}
    for item in items:
        if item.url:
            if item.url not in urls:
                raise BadWeights(f"{bundle}: refused, because {item.url!r} is not a URL of its preset")
            continue
        known = by_repository.get(item.repository, [])
        if not known or not all(record.revision in (None, item.commit) for record in known):
            where = f"{item.repository!r} at {item.commit[:12]}"
            raise BadWeights(f"{bundle}: refused, because its preset has no repository {where}")
        weights = {file.name for record in known for file in record.files}
        inside(item.name, bundle)
        if item.name not in weights and PurePosixPath(item.name).suffix not in BESIDE:
            raise BadWeights(f"{bundle}: refused, because {item.name!r} is no file of {item.repository}'s weights")
    carried = {(item.repository, item.commit) for item in items}
    for snapshot in snapshots:
        if (snapshot.repository, snapshot.commit) not in carried:
            named_only = f"its index names {snapshot.repository!r} and holds no file of it"
            raise BadWeights(f"{bundle}: refused, because {named_only}")
        for name in (*snapshot.refs, *snapshot.absent):
            inside(name, bundle)
