"""Inputs that lie in the target of a run, where they could be overwritten, are refused.

A long list of paths is checked by its folders, which takes no system call per path. A path that is a link into the
target is then found when it is about to be read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from openvocab.errors import BadInput, ImageError
from openvocab.images.items import Item
from openvocab.images.sources import Names, is_web_address, refuse_in_memory

__all__ = ["outside", "refuse_target"]

_FEW = 1000
"""Paths that are checked one by one."""


def refuse_target(folder: str, images: Names, *, overwrite: bool = False) -> None:
    """Refuse a target that is not a folder, or that contains inputs.

    Args:
        folder: The target.
        images: The inputs. Of more than 1,000 the links are followed by outside.
        overwrite: Whether the run in the target will be removed; then every link is followed here.

    Raises:
        BadInput: The target is not a folder, an input is in it, or an input is an image in memory.
    """
    refuse_in_memory(images)
    target = os.path.realpath(folder)
    exists = os.path.isdir(target)
    if os.path.exists(target) and not exists:
        raise BadInput(f"{folder!r} cannot be made a folder (a file of that name exists); give another path")
    if isinstance(images, Mapping):
        images = [file for file in images.values() if not isinstance(file, ImageError)]
    given = [images] if isinstance(images, str | os.PathLike) else images
    names = [one if type(one) is str else os.fsdecode(one) for one in given]
    for name in names if len(names) <= _FEW or (overwrite and exists) else _suspects(names, target):
        if _is_inside(os.path.realpath(name), target) and not is_web_address(name):
            raise _refused(name, folder)


def outside(items: Iterable[Item], folder: str) -> Iterator[Item]:
    """Yield the items of a source.

    Raises:
        BadInput: An item that is read from a file lies in the folder, or is a link into it.
    """
    target, real = os.path.realpath(folder), lru_cache(maxsize=1024)(os.path.realpath)
    for item in items:
        if item.path is not None:
            above, last = os.path.split(item.path)
            file = os.path.realpath(item.path) if os.path.islink(item.path) else os.path.join(real(above), last)
            if _is_inside(file, target):
                raise _refused(item.path, folder)
        yield item


def _suspects(names: list[str], target: str) -> Iterator[str]:
    """Yield the names that may lie in the target, by their folder or by their last part."""
    folders = list(map(os.path.dirname, names)) if os.altsep else [name.rpartition(os.sep)[0] for name in names]
    inside = {each for each in set(folders) if _is_inside(os.path.realpath(each), target)}
    ends = (os.sep, os.curdir, os.path.basename(target))
    yield from (name for name in names if name.endswith(ends) or not name)
    if inside:
        yield from (name for name, above in zip(names, folders, strict=True) if above in inside)


def _is_inside(path: str, target: str) -> bool:
    return path.startswith(target) and path[len(target) :][:1] in ("", os.sep)


def _refused(name: str, folder: str) -> BadInput:
    return BadInput(f"{name} lies in the output folder {folder} and could be overwritten; give another folder")
