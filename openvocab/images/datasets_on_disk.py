"""Images of datasets that Hugging Face `datasets` saved to disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

from openvocab.errors import BadInput, ImageError, require
from openvocab.images.items import Item

__all__ = ["is_dataset", "rows"]


def is_dataset(path: str) -> bool:
    """Return whether a folder was written by Dataset.save_to_disk or DatasetDict.save_to_disk."""
    one = all(os.path.isfile(os.path.join(path, name)) for name in ("dataset_info.json", "state.json"))
    return one or os.path.isfile(os.path.join(path, "dataset_dict.json"))


def rows(path: str, skip: Callable[[str], bool]) -> Iterator[Item]:
    """Yield the images of the first image column, with the ids FOLDER::ROW or FOLDER/SPLIT::ROW.

    Args:
        path: The folder of the dataset.
        skip: Returns whether an id is skipped.

    Raises:
        BadInput: No column holds images.
        MissingExtra: `datasets` is not installed.
    """
    datasets: Any = require("datasets", extra="datasets")
    loaded = datasets.load_from_disk(path)
    splits = loaded.items() if isinstance(loaded, datasets.DatasetDict) else [("", loaded)]
    for split, dataset in splits:
        name = next((name for name, kind in dataset.features.items() if isinstance(kind, datasets.Image)), None)
        if name is None:
            raise BadInput(f"{path!r} has columns {', '.join(dataset.features)}, none of type Image; cast one to it")
        column = dataset.select_columns([name]).cast_column(name, datasets.Image(decode=False))
        prefix = f"{path}/{split}" if split else path
        for number in range(len(column)):
            item = f"{prefix}::{number}"
            yield Item(item) if skip(item) else _row(item, column[number][name])


def _row(name: str, value: dict[str, Any] | None) -> Item:
    if value and value.get("bytes") is not None:
        return Item(name, data=value["bytes"])
    if value and value.get("path"):
        return Item(name, value["path"])
    return Item(name, error=ImageError("empty", f"{name!r} holds no image; drop the row or fill it"))
