"""Find and load checkpoints in transformers' layout, from a folder or from the hub, never running code from them.

Every family calls find, which checks the model type and verifies the weights files, then load_model and
load_processor, which call the library's classes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from openvocab.errors import BadInput, BadWeights, MissingExtra, counted
from openvocab.models.device import pick_device, pick_dtype
from openvocab.pipeline.quiet import quiet_loading
from openvocab.pipeline.result import ModelRecord
from openvocab.weights.fetch import hub_file
from openvocab.weights.files import first_line, read_state
from openvocab.weights.trust import FileState, file_state, refuse_changed, trusted_sha256

__all__ = ["Found", "find", "load_model", "load_processor", "processor_side"]

_SAFE, _SAFE_INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLED, _PICKLED_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"


@dataclass(frozen=True, slots=True)
class Found:
    """A checkpoint whose weights files are verified.

    Attributes:
        spec: FAMILY:REST, as records name it.
        location: The folder, or the hub's repository.
        revision: Of the repository; None for a folder, or if none is given.
        local: Whether location is a folder.
        config: Content of config.json.
        weights: The weights files, all of them safetensors or all plain torch files.
        sha256: Of the weights file; of the shards' digests, concatenated, if there are several.
        marks: Of each weights file, taken before it was measured: size, times and inode.
    """

    spec: str
    location: str
    revision: str | None
    local: bool
    config: Mapping[str, Any]
    weights: tuple[Path, ...]
    sha256: str
    states: tuple[FileState, ...] = ()

    def record(self, device: str | None, dtype: str | None) -> ModelRecord:
        """Return the record of this checkpoint on that device in that precision, each the best there is if None.

        Raises:
            BadInput: there is no such device or precision.
        """
        where = pick_device(device)
        return ModelRecord(self.spec, self.sha256, str(where), str(pick_dtype(where, dtype)).removeprefix("torch."))


def find(family: str, rest: str, kind: str, model_types: Collection[str | None]) -> Found:
    """Find a checkpoint and verify its weights.

    Args:
        family: the family's name, for the record.
        rest: a folder, ORG/NAME of the hub, or ORG/NAME@REVISION.
        kind: name of the model in messages, e.g. "OWLv2 model".
        model_types: allowed values of "model_type" in config.json; None if it may be absent.

    Raises:
        BadWeights: there is no such folder or repository, it holds another kind of model, or its weights are absent,
            damaged, not plain tensors, or not the trusted ones.
    """
    folder = _folder(rest)
    repository, _, revision = (str(folder), "", "") if folder else rest.partition("@")
    config = _config(repository, revision or None, folder, kind)
    if config.get("model_type") not in model_types:
        raise BadWeights(f"{rest}: this is no {kind} but one of type {config.get('model_type')!r}")
    weights = _weights(repository, revision or None, folder, kind)
    states, digests = tuple(file_state(path) for path in weights), []
    for path in weights:
        read_state(path)
        source = "@".join(filter(None, (repository, revision)))
        digests.append(trusted_sha256(str(path) if folder else f"{source}/{path.name}", path))
    whole = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    return Found(f"{family}:{rest}", repository, revision or None, folder is not None, config, weights, whole, states)


def load_model(found: Found, model_class: Any, kind: str, **options: Any) -> Any:
    """Return the model in float32 (or options' dtype), in evaluation mode, on the CPU; the file has every parameter.

    Raises:
        BadWeights: The weights do not fit, or lack parameters of the model.
        MissingExtra: The installed transformers has another interface.
    """
    own: dict[str, Any] = {
        "revision": found.revision or "main",
        "local_files_only": found.local,
        "use_safetensors": found.weights[0].suffix == ".safetensors",
        "weights_only": True,
        "trust_remote_code": False,
        "output_loading_info": True,
        "dtype": torch.float32,
    }
    try:
        with quiet_loading():
            made = model_class.from_pretrained(found.location, **{**own, **options})
    except Exception as error:  # other shapes, a damaged configuration: each raises its own
        _refuse_other_release(error, {*own, *options})
        raise BadWeights(f"{found.location}: this {kind} cannot be loaded: {first_line(error)}") from error
    if not (isinstance(made, tuple) and len(made) == 2 and "missing_keys" in made[1]):
        raise _other_release(f"from_pretrained returns a {type(made).__name__}")
    model, report = made
    refuse_changed(found.weights, found.states)
    if report["missing_keys"]:
        raise BadWeights(
            f"{found.location}: the weights lack {counted(len(report['missing_keys']), 'parameter')} of the model"
        )
    return model.eval()


def processor_side(processor: Any) -> int:
    """Return the shorter side in pixels of what a transformers image processor resizes an image to.

    Raises:
        BadInput: the processor resizes images to no fixed size.
    """
    size = dict(processor.size)
    sides = [int(size[name]) for name in ("shortest_edge", "height", "width", "longest_edge") if size.get(name)]
    if not sides:
        raise BadInput(f"{type(processor).__name__} resizes images to no fixed size; give a number of tiles")
    return sides[0]


def load_processor(found: Found, processor_class: Any, kind: str, **options: Any) -> Any:
    """Return the processor, image processor or tokenizer of a checkpoint.

    Raises:
        BadWeights: Its files are absent or damaged.
        MissingExtra: The installed transformers has another interface.
    """
    own = {"revision": found.revision or "main", "local_files_only": found.local, "trust_remote_code": False}
    try:
        return processor_class.from_pretrained(found.location, **own, **options)
    except Exception as error:  # no file, broken JSON, no tokenizer: each raises its own
        _refuse_other_release(error, {*own, *options})
        raise BadWeights(
            f"{found.location}: the preprocessing of this {kind} cannot be loaded: {first_line(error)}"
        ) from error


def _refuse_other_release(error: Exception, keywords: Collection[str]) -> None:
    """Raise MissingExtra if an error says that the library lacks an argument or a function.

    Args:
        error: What from_pretrained raised.
        keywords: The arguments that it was called with.

    Raises:
        MissingExtra: The installed release has another interface, so the file is not to blame.
    """
    text = str(error)
    argument = re.search(r"unexpected keyword argument '(\w+)'", text)
    if isinstance(error, TypeError) and argument is not None and argument[1] in keywords:
        raise _other_release(text) from error
    if isinstance(error, AttributeError) and "from_pretrained" in text:
        raise _other_release(text) from error


def _other_release(why: str) -> MissingExtra:
    import transformers

    return MissingExtra(
        f"transformers {transformers.__version__} has another interface than openvocab expects ({why}); "
        "run: pip install --upgrade openvocab"
    )


def _folder(rest: str) -> Path | None:
    """Return the folder that is named, or None for a repository of the hub."""
    folder = Path(rest).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_absolute() or rest.startswith(".") or rest.count("/") > 1:
        raise BadWeights(f"{rest}: there is no such folder")
    return None


def _file(repository: str, revision: str | None, folder: Path | None, name: str) -> Path | None:
    if folder is None:
        return hub_file(repository, name, revision)
    return folder / name if (folder / name).is_file() else None


def _config(repository: str, revision: str | None, folder: Path | None, kind: str) -> Mapping[str, Any]:
    path = _file(repository, revision, folder, "config.json")
    if path is None:
        raise BadWeights(f"{repository}: no {kind} was found there: there is no config.json")
    try:
        config = json.loads(path.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise BadWeights(f"{repository}: no {kind} was found there: config.json is no readable JSON") from error
    if not isinstance(config, dict):
        raise BadWeights(f"{repository}: no {kind} was found there: config.json holds no configuration")
    return config


def _weights(repository: str, revision: str | None, folder: Path | None, kind: str) -> tuple[Path, ...]:
    """Return the weights files; safetensors are preferred."""
    for whole, index in ((_SAFE, _SAFE_INDEX), (_PICKLED, _PICKLED_INDEX)):
        path = _file(repository, revision, folder, whole)
        if path is not None:
            return (path,)
        path = _file(repository, revision, folder, index)
        if path is not None:
            return _shards(repository, revision, folder, path)
    raise BadWeights(f"{repository}: this {kind} has no weights there (no {_SAFE})")


def _shards(repository: str, revision: str | None, folder: Path | None, index: Path) -> tuple[Path, ...]:
    """Return the files that an index names."""
    try:
        names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadWeights(f"{repository}: {index.name} is no index of weights; download it again") from error
    suffix = Path(index.name.removesuffix(".index.json")).suffix
    if not names or any("/" in name or Path(name).suffix != suffix for name in map(str, names)):
        raise BadWeights(f"{repository}: {index.name} names files that are no weights beside it; download it again")
    parts = [_file(repository, revision, folder, name) for name in names]
    if None in parts:
        raise BadWeights(f"{repository}: {names[parts.index(None)]} of the index is not there")
    return tuple(part for part in parts if part is not None)
