"""Image classifiers of timm as taggers: an architecture and its weights, or a checkpoint in timm's own layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import timm
import torch
from PIL import Image
from timm.data import ImageNetInfo, create_transform, infer_imagenet_subset, resolve_model_data_config
from timm.models import PretrainedCfg
from torch import Tensor

from openvocab.errors import BadWeights, unknown
from openvocab.models.checkpoints import Found
from openvocab.models.device import dtype_of, pick_device, pick_dtype
from openvocab.models.taggers.class_names import ClassNames
from openvocab.models.taggers.classifier import Classifier
from openvocab.pipeline.result import ModelRecord
from openvocab.weights.files import first_line, read_state
from openvocab.weights.store import package_weights
from openvocab.weights.trust import file_state, refuse_changed, trusted_sha256

__all__ = ["TimmClassifier", "is_architecture", "is_timm", "load_architecture", "load_found"]

_WEIGHTS = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
_NOT_OURS = ("source", "url", "file", "hf_hub_id", "hf_hub_filename", "state_dict", "custom_load")
"""Where timm would look for weights; here they are read and checked before."""


@dataclass(frozen=True, eq=False, slots=True)
class TimmClassifier(Classifier):
    """A Classifier whose model is timm's own and whose image_processor is timm's transform of one image."""

    @property
    def preparation(self) -> str:
        """The architecture and how images are prepared."""
        return f"{self.model!r} {self.image_processor!r} {self.independent}"

    def _forward(self, shown: Sequence[Image.Image]) -> Tensor:
        pixels = torch.stack([self.image_processor(image) for image in shown])
        logits: Tensor = self.model(pixels.to(self.record.device, dtype_of(self.record.dtype)))
        return logits


def is_architecture(spec: str) -> bool:
    """Whether a SPEC is ARCHITECTURE@FILE, also after "timm/", or ARCHITECTURE, and no folder or repository."""
    name, at, path = spec.partition("@")
    if at:
        return "/" not in name.removeprefix("timm/") and path.endswith(_WEIGHTS)
    return "/" not in name and not Path(name).expanduser().is_dir()


def is_timm(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is one of timm's layout."""
    return "architecture" in config and config.get("model_type") in (None, "timm_wrapper")


def load_architecture(spec: str, device: str | None, dtype: str | None) -> TimmClassifier:
    """Load an architecture from a file of weights, or from those that the manifest names for it.

    The preprocessing and the names of the classes are those of timm's default configuration, so the weights must be
    for as many classes; name a folder with a config.json where they are not.

    Raises:
        UnknownName: timm has no such architecture, or the manifest no weights for it.
        BadWeights: the file is absent, cannot be read, or belongs to another architecture.
        MissingExtra: the weights come with a package that is not installed.
    """
    name, _, file = spec.removeprefix("timm/").partition("@")
    if not timm.is_model(name):
        raise unknown("timm architecture", name, timm.list_models())
    path, source = (Path(file).expanduser(), file) if file else package_weights(f"classifier:{name}")
    before = file_state(path)
    state = _renamed(read_state(path), name, path)
    digest = trusted_sha256(str(path) if file else source, path)
    refuse_changed([path], [before])
    usual = timm.get_pretrained_cfg(name)
    config = {"architecture": name, "pretrained_cfg": asdict(usual) if usual else {}}
    return _load(str(path), f"classifier:{spec}", config, state, digest, device, dtype)


def load_found(found: Found, device: str | None, dtype: str | None) -> TimmClassifier:
    """Load a checkpoint in timm's layout.

    Raises:
        UnknownName: timm has no such architecture.
        BadWeights: the weights belong to another architecture, or no names are known for the classes.
    """
    if not timm.is_model(str(found.config["architecture"])):
        raise unknown("timm architecture", str(found.config["architecture"]), timm.list_models())
    state = {name: weight for path in found.weights for name, weight in read_state(path).items()}
    refuse_changed(found.weights, found.states)
    return _load(found.location, found.spec, found.config, state, found.sha256, device, dtype)


def _load(
    where: str,
    spec: str,
    config: Mapping[str, Any],
    state: Mapping[str, Tensor],
    digest: str,
    device: str | None,
    dtype: str | None,
) -> TimmClassifier:
    target = pick_device(device)
    precision = pick_dtype(target, dtype)
    given = config.get("pretrained_cfg", config)
    count = config.get("num_classes") or given.get("num_classes") or 0
    names = _names({**given, **config}, count, where)
    model = _build(where, config, given, state, count)
    resolve: Any = resolve_model_data_config
    data = resolve(model)
    if data["input_size"][0] != 3:
        raise BadWeights(f"{where}: this model takes {data['input_size'][0]} channels, not the 3 of a color image")
    return TimmClassifier(
        model=model.to(target, precision),
        image_processor=create_transform(**data, is_training=False),
        record=ModelRecord(spec, digest, str(target), str(precision).removeprefix("torch.")),
        classes=ClassNames.of(names),
        independent=False,
    )


def _names(config: Mapping[str, Any], count: int, where: str) -> tuple[str, ...]:
    """Return the names of the classes: described in the configuration, named there, or ImageNet's by their number.

    Raises:
        BadWeights: there are none, or not as many as classes.
    """
    labels = config.get("label_names")
    if not labels:
        subset = infer_imagenet_subset({"num_classes": count})
        if subset is None:
            raise BadWeights(f"{where}: nothing names its {count} classes; write label_names into config.json")
        return tuple(ImageNetInfo(subset).label_descriptions())
    if len(labels) != count:
        raise BadWeights(f"{where}: config.json has {len(labels)} label_names for {count} classes")
    descriptions = config.get("label_descriptions") or {}
    return tuple(str(descriptions.get(label, label) if isinstance(descriptions, dict) else label) for label in labels)


def _build(
    where: str, config: Mapping[str, Any], given: Mapping[str, Any], state: Mapping[str, Tensor], count: int
) -> Any:
    """Return timm's model with these weights, in evaluation mode, on the CPU.

    Raises:
        BadWeights: the weights do not fit, or lack some of the model's.
    """
    known = {each.name for each in fields(PretrainedCfg)} - set(_NOT_OURS)
    recipe = {name: value for name, value in given.items() if name in known}
    recipe |= {"state_dict": dict(state), "num_classes": count}
    options = {"num_classes": count, **config.get("model_args", {})}
    try:
        model: Any = timm.create_model(config["architecture"], pretrained=True, pretrained_cfg=recipe, **options)
    except Exception as error:  # names, shapes, arguments: timm and torch raise their own
        raise BadWeights(
            f"{where}: these weights do not fit {config['architecture']} of timm: {first_line(error)}"
        ) from error
    model.pretrained_cfg.pop("state_dict", None)
    return model.float().eval()


def _renamed(state: Mapping[str, Tensor], architecture: str, path: Path) -> Mapping[str, Tensor]:
    """Give the weights of EfficientNet-PyTorch, whose modules stand in timm's order, timm's names.

    Raises:
        BadWeights: they are not as many, or one has another shape.
    """
    if "_conv_stem.weight" not in state:
        return state
    with torch.device("meta"):
        wanted = timm.create_model(architecture).state_dict()
    if [weight.shape for weight in state.values()] != [weight.shape for weight in wanted.values()]:
        raise BadWeights(f"{path}: these weights of EfficientNet-PyTorch are not those of a {architecture}")
    return dict(zip(wanted, state.values(), strict=True))
