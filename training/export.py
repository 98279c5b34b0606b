"""Turn checkpoints of training into the files that ship: fp16 safetensors in each library's own layout."""

from __future__ import annotations

import hashlib
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from openvocab.models.pocket.files import SIDE
from training.architecture import PocketOwlv2, detector_config, tagger_config
from training.drawings import Drawings, labels
from training.optimize import load_checkpoint
from training.scenes import SceneKind, bank, compose
from training.tokens import train_tokenizer

__all__ = [
    "HOME",
    "export_segmenter",
    "export_tower",
    "pin",
    "shipped_segmenter",
    "shipped_tower",
    "tagger_state",
    "write_examples",
]

HOME = Path(str(files("openvocab") / "weights" / "pocket")).resolve()
MODELS = HOME / "models"
TOKEN_TABLE = "detector.owlv2.text_model.embeddings.token_embedding.weight"


def _half(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: (value.half() if value.is_floating_point() else value).contiguous() for name, value in state.items()}


def _averaged(checkpoint: Path) -> dict[str, Tensor]:
    kept = load_checkpoint(checkpoint)
    if kept is None:
        raise FileNotFoundError(f"{checkpoint} does not exist; train first")
    weights: dict[str, Tensor] = kept["average"]
    return weights


def _block(state: dict[str, Tensor], old: str, new: str, names: dict[str, str], joined: str) -> dict[str, Tensor]:
    """Rename one transformer layer; queries, keys and values are stacked under `joined`."""
    found = {}
    for kind in ("weight", "bias"):
        parts = [state[f"{old}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
        found[f"{new}.{joined.replace('*', kind)}"] = torch.cat(parts)
        for before, after in names.items():
            found[f"{new}.{after}.{kind}"] = state[f"{old}.{before}.{kind}"]
    return found


def _vision(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The detector's vision tower under timm's names."""
    own = "detector.owlv2.vision_model."
    found = {
        "cls_token": state[own + "embeddings.class_embedding"].reshape(1, 1, -1),
        "pos_embed": state[own + "embeddings.position_embedding.weight"][None],
    }
    stem = own + "embeddings.patch_embedding."
    found |= {
        name.replace(stem, "patch_embed.backbone."): value for name, value in state.items() if name.startswith(stem)
    }
    for kind in ("weight", "bias"):
        found[f"norm_pre.{kind}"], found[f"norm.{kind}"] = (
            state[f"{own}{norm}_layernorm.{kind}"] for norm in ("pre", "post")
        )
    names = {"self_attn.out_proj": "attn.proj", "layer_norm1": "norm1", "layer_norm2": "norm2"}
    names |= {"mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}
    for layer in _layers(state, own):
        found |= _block(state, f"{own}encoder.layers.{layer}", f"blocks.{layer}", names, "attn.qkv.*")
    return found


def _text(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The detector's text tower under open_clip's names."""
    own = "detector.owlv2.text_model."
    found = {
        "token_embedding.weight": state[own + "embeddings.token_embedding.weight"],
        "positional_embedding": state[own + "embeddings.position_embedding.weight"],
        "text_projection": state["detector.owlv2.text_projection.weight"].T,
    }
    for kind in ("weight", "bias"):
        found[f"ln_final.{kind}"] = state[f"{own}final_layer_norm.{kind}"]
    names = {"self_attn.out_proj": "attn.out_proj", "layer_norm1": "ln_1", "layer_norm2": "ln_2"}
    names |= {"mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    for layer in _layers(state, own):
        found |= _block(
            state, f"{own}encoder.layers.{layer}", f"transformer.resblocks.{layer}", names, "attn.in_proj_*"
        )
    return found


def _layers(state: dict[str, Tensor], own: str) -> list[int]:
    pattern = re.compile(re.escape(own) + r"encoder\.layers\.(\d+)\.")
    return sorted({int(match.group(1)) for match in map(pattern.match, state) if match})


def tagger_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tagger's weights under open_clip's names, from those of a Tower."""
    found = {f"visual.trunk.{name}": value for name, value in _vision(state).items()}
    found |= {f"visual.trunk.attn_pool.{name[5:]}": value for name, value in state.items() if name.startswith("pool.")}
    found |= {f"visual.trunk.{name}": state[name] for name in ("head.weight", "head.bias")}
    found |= {f"text.{name}": value for name, value in _text(state).items()}
    return found | {"logit_scale": state["tag_scale"], "logit_bias": state["tag_bias"]}


def export_tower(checkpoint: Path, tagger_checkpoint: Path | None = None) -> None:
    """Write models/tagger and models/detector; a tagger that was trained on may have a checkpoint of its own."""
    from transformers import Owlv2ImageProcessor, Owlv2Processor

    state = _averaged(checkpoint)
    tokenizer = train_tokenizer(labels(), MODELS / "tagger")
    model: Any = PocketOwlv2(detector_config(len(tokenizer)))
    model.load_state_dict({name[9:]: value for name, value in state.items() if name.startswith("detector.")})
    model.to(torch.float16).save_pretrained(MODELS / "detector")
    size = {"height": SIDE, "width": SIDE}
    processor: Any = Owlv2Processor
    processor(Owlv2ImageProcessor(size=size), tokenizer).save_pretrained(MODELS / "detector")
    own = _averaged(tagger_checkpoint) if tagger_checkpoint else state
    config = json.dumps(tagger_config(len(tokenizer)), indent=2)
    (MODELS / "tagger" / "open_clip_config.json").write_text(config + "\n", encoding="utf-8")
    save_file(_half(tagger_state(own)), MODELS / "tagger" / "open_clip_model.safetensors")


def export_segmenter(checkpoint: Path) -> None:
    """Write models/segmenter/sam.safetensors."""
    (MODELS / "segmenter").mkdir(parents=True, exist_ok=True)
    save_file(_half(_averaged(checkpoint)), MODELS / "segmenter" / "sam.safetensors")


def shipped_tower(tokens: dict[str, int] | None = None) -> dict[str, Tensor]:
    """A Tower's weights from the files that ship, float32: where training can go on without a checkpoint.

    Args:
        tokens: token -> row of the tokenizer to train with, where that is not the shipped one. Rows of tokens that the
            shipped one lacks start as the mean of those of their letters.
    """
    detector = load_file(MODELS / "detector" / "model.safetensors")
    tagger = load_file(MODELS / "tagger" / "open_clip_model.safetensors")
    state = {f"detector.{name}": value for name, value in detector.items()}
    for own, theirs in (("pool.", "visual.trunk.attn_pool."), ("head.", "visual.trunk.head.")):
        state |= {name.replace(theirs, own): value for name, value in tagger.items() if name.startswith(theirs)}
    if tokens is not None:
        state[TOKEN_TABLE] = _token_rows(state[TOKEN_TABLE].float(), tokens)
    return _whole(state | {"tag_scale": tagger["logit_scale"], "tag_bias": tagger["logit_bias"]})


def _token_rows(table: Tensor, tokens: dict[str, int]) -> Tensor:
    """The shipped embedding's rows in the order of other tokens."""
    kept = json.loads((MODELS / "tagger" / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    kept |= {"<|startoftext|>": len(table) - 2, "<|endoftext|>": len(table) - 1}
    rows = torch.empty(len(tokens), table.shape[1])
    for token, row in tokens.items():
        word = token.removesuffix("</w>")
        letters = [*word[:-1], word[-1] + token[len(word) :]]
        rows[row] = table[[kept[part] for part in ([token] if token in kept else letters)]].mean(0)
    return rows


def shipped_segmenter() -> dict[str, Tensor]:
    """The segmenter's weights from the file that ships, float32."""
    return _whole(load_file(MODELS / "segmenter" / "sam.safetensors"))


def _whole(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


def pin(manifest: Path) -> None:
    """Write size and sha256 of the three files into the manifest, in place of what stood there."""
    text = manifest.read_text(encoding="utf-8").split("\n# --- embedded", 1)[0].rstrip() + "\n"
    text += "\n# --- embedded checkpoints: written by python -m training.train export\n"
    stems = {"tagger": "open_clip_model", "detector": "model", "segmenter": "sam"}
    for stage, stem in stems.items():
        path = MODELS / stage / f"{stem}.safetensors"
        path.chmod(0o644)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        text += (
            f'\n[checkpoints.pocket-{stage}]\nfile = "{path.relative_to(manifest.parent).as_posix()}"\n'
            f'size = {path.stat().st_size}\nsha256 = "{digest}"\nlicense = "Apache-2.0"\n'
        )
    manifest.write_text(text, encoding="utf-8")


def write_examples(styles: dict[str, Drawings], seed: int) -> None:
    """Compose one example scene per entry of styles (NAME or NAME-NUMBER) into examples/, with its truth."""
    folder, truth = HOME / "examples", []
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    kind = SceneKind((0, 0, 0.4, 0.4, 0.2), 48, 112)
    for number, (style, drawings) in enumerate(styles.items(), 1):
        scene = compose(rng, bank([drawings], labels()), kind)
        name = f"scene-{number}"
        Image.fromarray(scene.image).save(folder / f"{name}.png", optimize=True)
        Image.fromarray(scene.instances).save(folder / f"{name}-instances.png", optimize=True)
        named = [labels()[index] for index in scene.labels]
        truth.append({"name": name, "style": style.rpartition("#")[0], "labels": named, "xyxy": scene.xyxy.tolist()})
    (folder / "truth.json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
