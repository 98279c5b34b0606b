"""Find the weights of an open_clip SPEC and build the model from them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import open_clip
from PIL import Image

from openvocab.errors import BadInput, BadWeights, unknown
from openvocab.pipeline.protocols import ImageArray
from openvocab.weights.fetch import hub_file
from openvocab.weights.files import first_line
from openvocab.weights.manifest import published_for
from openvocab.weights.trust import source_of

__all__ = ["ClipFound", "build", "find", "load_tokenizer", "transformed"]

_FORM = "write ARCHITECTURE/WEIGHTS, hf-hub:ORG/NAME or local-dir:PATH"
_CONFIG, _SAFE, _PICKLED = "open_clip_config.json", "open_clip_model.safetensors", "open_clip_pytorch_model.bin"


@dataclass(frozen=True, slots=True)
class ClipFound:
    """The weights of a SPEC and the arguments with which open_clip builds the model.

    Attributes:
        spec: After its family.
        name: Open_clip's name of the model, for its configuration and its tokenizer.
        weights: The file.
        source: What trust calls it.
        repository: Of the hub that it is from, at revision (None for the newest commit); empty for a file or folder.
        tag: open_clip's configuration of a pretrained tag: pixels and activation; empty if there is none.
    """

    spec: str
    name: str
    weights: Path
    source: str
    repository: str = ""
    revision: str | None = None
    tag: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> str:
        """The architecture, or the folder with configuration and weights, as open_clip names it."""
        return f"local-dir:{self.weights.parent}" if self.name.startswith("hf-hub:") else self.name


def find(spec: str) -> ClipFound:
    """Find the weights of a SPEC; fetch them if they are absent.

    Raises:
        BadInput: the spec has another form.
        UnknownName: open_clip has no such architecture, or no such weights for it.
        BadWeights: the weights are absent or cannot be fetched.
    """
    if spec.startswith("local-dir:"):
        path = _in_folder(Path(spec.removeprefix("local-dir:")))
        return ClipFound(spec, spec, path, source_of(path))
    if spec.startswith("hf-hub:"):
        return _on_hub(spec, spec.removeprefix("hf-hub:"))
    architecture, slash, weights = spec.partition("/")
    known = open_clip.list_models()
    if architecture not in known and Path(spec).is_dir():
        raise BadInput(f"{spec!r} is a folder; write it as local-dir:{spec}")
    if not slash or not weights:
        raise BadInput(f"{spec!r} names no weights; {_FORM}")
    if architecture not in known:
        raise unknown("open_clip architecture", architecture, known)
    return _tagged(spec, architecture, weights)


def _in_folder(folder: Path) -> Path:
    """Return the weights file that open_clip takes from a folder."""
    if not folder.is_dir():
        raise BadWeights(f"{folder}: there is no such folder")
    if not (folder / _CONFIG).is_file():
        raise BadWeights(f"{folder}: this folder has no {_CONFIG}")
    if not any(path.suffix in (".safetensors", ".bin", ".pth") for path in folder.iterdir()):
        raise BadWeights(f"{folder}: this folder has no weights ({_SAFE})")
    return Path(open_clip.factory._find_checkpoint_in_dir(folder))


def _on_hub(spec: str, repository: str) -> ClipFound:
    """Find a repository of the hub that has open_clip's configuration beside its weights."""
    if hub_file(repository, _CONFIG) is None:
        raise BadWeights(f"{repository}: this repository has no {_CONFIG}; name one that open_clip can load")
    path = _hub_weights(repository, _PICKLED, None)
    return ClipFound(spec, spec, path, source_of(path), repository)


def _tagged(spec: str, architecture: str, weights: str) -> ClipFound:
    """Find the weights of a pretrained tag, or weights itself where that is a path."""
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if weights not in tags:
        if "/" not in weights and not Path(weights).suffix:
            raise unknown(f"{architecture} weights", weights, tags)
        return ClipFound(spec, architecture, Path(weights), source_of(Path(weights)))
    tag = open_clip.get_pretrained_cfg(architecture, weights)
    record = published_for(f"open_clip:{spec}")
    revision = record.fetched_revision if record else None
    repository, _, file = tag["hf_hub"].rpartition("/")
    path = _hub_weights(repository, file or _PICKLED, revision)
    source = "/".join([repository if revision is None else f"{repository}@{revision}", path.name])
    return ClipFound(spec, architecture, path, source, repository, revision, tag)


def _hub_weights(repository: str, name: str, revision: str | None) -> Path:
    """Return the weights of a repository; safetensors go before what tag or convention names."""
    for each in _names(name):
        path = hub_file(repository, each, revision)
        if path is not None:
            return path
    raise BadWeights(f"{repository}: this repository has no weights of open_clip ({_SAFE})")


def _names(name: str) -> Iterator[str]:
    if name == _PICKLED:
        yield _SAFE
    elif Path(name).suffix in (".bin", ".pth"):
        yield str(Path(name).with_suffix(".safetensors"))
    yield name


def build(found: ClipFound) -> tuple[Any, Callable[[ImageArray], Any]]:
    """Return the model in float32 on the CPU, and its preprocessing.

    Some architectures of open_clip leave out the activation that a tag's weights were trained with and only warn, so
    the tag's own flag decides; where it states none, the architecture's does.

    Raises:
        BadWeights: the weights do not fit the architecture.
    """
    named = found.name.startswith(("local-dir:", "hf-hub:"))
    try:
        text = _text_tower_beside(found) if named else None
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "QuickGELU mismatch")
            model, transform = open_clip.create_model_from_pretrained(
                found.model,
                None if named else str(found.weights),
                precision="fp32",
                device="cpu",
                force_quick_gelu=bool(found.tag.get("quick_gelu")),
                image_mean=found.tag.get("mean"),
                image_std=found.tag.get("std"),
                image_interpolation=found.tag.get("interpolation"),
                image_resize_mode=found.tag.get("resize_mode"),
                **({"text_cfg": text} if text else {}),
            )
    except Exception as error:  # upstream fails in many ways on a foreign file: state, shapes, keys, config
        raise BadWeights(f"{found.spec}: these weights do not fit the architecture: {first_line(error)}") from error
    return model, partial(transformed, transform)


def _text_tower_beside(found: ClipFound) -> dict[str, Any] | None:
    """Return the configuration of a text tower of transformers whose config.json lies beside the weights, else None.

    open_clip would ask the hub for that config.json, by the name in its own configuration.
    """
    folder, text = found.weights.parent, (open_clip.get_model_config(found.model) or {}).get("text_cfg", {})
    if "hf_model_name" not in text or not (folder / "config.json").is_file():
        return None
    return {**text, "hf_model_name": str(folder), "hf_model_pretrained": False}


def transformed(transform: Callable[[Image.Image], Any], image: ImageArray) -> Any:
    """Return what a transform of Pillow images makes of an (H, W, 3) uint8 RGB array."""
    return transform(Image.fromarray(image))


def load_tokenizer(found: ClipFound) -> Any:
    """Return the model's tokenizer; of its repository, at the revision of its weights.

    Raises:
        BadWeights: the tokenizer's files cannot be fetched or read.
    """
    text = (open_clip.get_model_config(found.name) or {}).get("text_cfg", {})
    pinned = found.revision and text.get("hf_tokenizer_name") == found.repository
    try:
        return open_clip.get_tokenizer(found.name, **({"revision": found.revision} if pinned else {}))
    except Exception as error:  # no file, no network, broken JSON: each raises its own
        raise BadWeights(f"{found.spec}: the tokenizer cannot be loaded: {first_line(error)}") from error
