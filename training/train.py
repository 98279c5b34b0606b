"""Train the embedded models from nothing: python -m training.train STAGE --help."""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from training.architecture import build_sam
from training.drawings import (
    EXTRA_STYLES,
    HELD_OUT_STYLE,
    RENDERED_STYLE,
    TRAINED_STYLES,
    labels,
    load_rendered,
    load_style,
)
from training.export import (
    HOME,
    export_segmenter,
    export_tower,
    pin,
    shipped_segmenter,
    shipped_tower,
    write_examples,
)
from training.held_out import held_out_figures
from training.loop import Job, run
from training.optimize import Optimizer, load_checkpoint
from training.pool import Pool, write_pool
from training.scenes import DENSE, ORDINARY, SIDE, SINGLE, SceneKind, bank
from training.segmenter import decode, positions, prompts, segmenter_loss
from training.tokens import train_tokenizer, unknown_words
from training.tower import Texts, Tower, dense_loss, detection_loss, tag_loss

log = logging.getLogger("openvocab.pocket")

WILD = SceneKind(ORDINARY.counts, 28, 140, wild=1.0)
PLAIN = SceneKind(ORDINARY.counts, 28, 128, wild=0.2)
DEV_SEED, DEV_SCENES = 990001, 300
DENSE_SEED, WILD_SEED, PLAIN_SEED = 111, 121, 131
"""The first seed of each kind of pool, apart from each other and from DEV_SEED, so that no scene is composed twice."""
SHARES = {"dense-0": 0.15, "dense-1": 0.15, "ordinary-0": 0.15, "ordinary-1": 0.15, "plain": 0.4}
"""The share of batches from each pool; only the plain one is of the styles alone that figures are reported on."""
EXAMPLE_SEED = 47
"""Of the example scenes that ship; another one composes other scenes."""


@dataclass(frozen=True, slots=True)
class Rates:
    """How fast a stage learns.

    nothing   AdamW's learning rate from nothing.
    shipped   the same from the shipped weights, which a higher one would lead away from what they know.
    matrices  Muon's rate in units of AdamW's; its steps are orthogonal and allow a higher one.
    clip      the length that gradients are cut to.
    average   the decay of the moving average that ships; the fewer steps a stage has, the shorter it must be.
    """

    nothing: float
    shipped: float
    matrices: float
    clip: float
    average: float


SEGMENTER = Rates(8e-4, 2e-4, 2.5, 1.0, 0.997)
SEGMENTER_ZOOM, SEGMENTER_SIDES = 0.65, (80, 96, 128, 176)
"""The share of batches of enlarged windows, and their sides in pixels: `zoom` and tiles ask for such windows."""
POSITION_SCALE = 0.4
"""The amplitude of the positions that the segmenter starts from, so that they do not drown its patches."""
IOU_SCENES = 60
"""Held-out scenes on which the segmenter is measured as it trains: enough for a trend, in a few seconds."""

TOWER = Rates(8e-4, 5e-4, 4.0, 4.0, 0.998)
TOWER_ZOOM = 0.7
"""The share of the tower's batches that are enlarged windows: the detector is asked about tiles too."""
TAG_WEIGHT = 2.0
"""The weight of the loss of tags beside that of boxes, which is a sum of several."""
SCALE_FACTOR = 5.0
"""The rate of the tagger's scale and bias in units of the others': single numbers with far to go."""

TAGGER = Rates(4e-4, 4e-4, 2.5, 4.0, 0.99)
WINDOW_POOLS, TAGGER_ZOOM = 2, 0.5
"""The first pools are dense: the tagger sees windows of them alone, and of the others in this share of batches."""
PATCH_WEIGHT = 0.25
"""The weight of the loss of patches, which only supports that of tags."""
HEAD_FACTOR = 2.0
"""The rate of the tagger's own layers in units of those that it shares with the detector, which know more already."""

WARM_RATE, WARM_RISE, WARM_FALL = 2e-3, 10, 0.9
"""The warm-up of texts: its learning rate, the steps in which it rises, and the share by which it falls to the end."""
WARM_SCALE, WARM_APART = 15.0, 10.0
"""The scale of cosines in its loss, and the weight of keeping labels and words that no image shows apart."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a stage is run.

    work      the folder of pools and checkpoints.
    steps     how many steps in all, those of earlier runs among them.
    minutes   end after so long, whatever the step.
    shipped   start from the shipped weights where no checkpoint is, at a lower learning rate.
    """

    work: Path
    steps: int
    minutes: float = math.inf
    seed: int = 1
    shipped: bool = False

    def run(self, job: Job, stage: str) -> None:
        """Train; the checkpoint is work/STAGE.ckpt."""
        run(job, self.work / f"{stage}.ckpt", self.steps, self.seed, minutes=self.minutes)


def make_pools(work: Path, packages: Path, scenes: int) -> None:
    """Compose what training draws from and the held-out scenes that it reports on, in both kinds of style."""
    styles = [load_style(style, packages) for style in TRAINED_STYLES]
    more = [load_style(style, packages) for style in EXTRA_STYLES]
    more.append(load_rendered(packages.parent / "@lobehub" / RENDERED_STYLE))
    trained, every = bank(styles, labels()), bank(styles + more, labels())
    held = bank([load_style(HELD_OUT_STYLE, packages)], labels())
    for name, drawings in (("val", trained), ("held", held)):
        write_pool(work / f"{name}-ordinary", DEV_SCENES, DEV_SEED, drawings, ORDINARY)
        write_pool(work / f"{name}-single", DEV_SCENES, DEV_SEED + 1, drawings, SINGLE)
    for part in range(2):
        log.info("composing part %d of 2", part + 1)
        write_pool(work / f"dense-{part}", scenes, DENSE_SEED + part, every, DENSE)
        write_pool(work / f"ordinary-{part}", scenes, WILD_SEED + part, every, WILD)
    log.info("composing the plain part")
    write_pool(work / "plain", scenes, PLAIN_SEED, trained, PLAIN)


def training_pools(work: Path) -> tuple[list[Pool], list[float]]:
    """The pools of training and the share of batches that comes from each."""
    return [Pool(work / name) for name in SHARES], list(SHARES.values())


def _segmenter_iou(sam: torch.nn.Module, pool: Pool, count: int) -> float:
    """Mean IoU of the masks from the true boxes of the first count scenes, in Sam's own forward."""
    found = []
    with torch.no_grad():
        for row in range(count):
            scene = pool.take(np.array([row]))
            present = scene.labels[0] >= 0
            asked = {"image": scene.images[0] * 255, "original_size": (SIDE, SIDE), "boxes": scene.xyxy[0][present]}
            masks = sam([asked], multimask_output=False)[0]["masks"][:, 0]
            for number, mask in enumerate(masks, 1):
                truth = scene.instances[0] == number
                found.append(float((mask & truth).sum() / (mask | truth).sum()))
    return float(np.mean(found))


def train_segmenter(plan: Plan, size: int = 8, each: int = 3) -> None:
    """Train the Sam, from nothing or from the shipped one."""
    torch.manual_seed(plan.seed)
    sam = build_sam()
    encoder = sam.image_encoder
    with torch.no_grad():
        grid, width = encoder.pos_embed.shape[1], encoder.pos_embed.shape[3]
        encoder.pos_embed[0] = POSITION_SCALE * positions(grid, width)
    if plan.shipped:
        sam.load_state_dict(shipped_segmenter())
    pools, shares = training_pools(plan.work)

    def step(rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        batch = pools[rng.choice(len(pools), p=shares)].draw(rng, size, SEGMENTER_ZOOM, SEGMENTER_SIDES)
        sparse, is_box, truth = prompts(rng, sam, batch, each)
        images = (batch.images * 255 - sam.pixel_mean) / sam.pixel_std
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits, ious = decode(sam, encoder(images.contiguous(memory_format=torch.channels_last)), sparse, each)
        loss, true = segmenter_loss(logits.float(), ious.float(), truth)
        return loss, {
            "loss": loss.item(),
            "box": true[is_box].mean().item(),
            "point": true[~is_box].mean().nan_to_num().item(),
        }

    def evaluate() -> dict[str, float]:
        pools = {name: Pool(plan.work / f"{name}-ordinary") for name in ("val", "held")}
        return {name: round(_segmenter_iou(sam, pool, IOU_SCENES), 3) for name, pool in pools.items()}

    def matrices(name: str) -> bool:
        return "image_encoder.blocks" in name or "mask_decoder.transformer" in name

    rate = SEGMENTER.shipped if plan.shipped else SEGMENTER.nothing
    optimizer = Optimizer(sam, rate, SEGMENTER.matrices * rate, matrices)
    weights = list(sam.parameters())
    plan.run(Job(sam, optimizer, step, evaluate, weights, SEGMENTER.clip, SEGMENTER.average), "segmenter")


def warm_texts(tower: Tower, texts: Texts, count: int, steps: int = 150) -> None:
    """Pull two templates of a label together and labels apart: untrained, all prompts lie at cosine 0.9."""
    model = tower.detector.owlv2
    weights = [*model.text_model.parameters(), *model.text_projection.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=WARM_RATE, weight_decay=0.0)
    for step in range(steps):
        rng = np.random.default_rng((7, step))
        first, second = (F.normalize(tower.embed_texts(texts.draw(rng)), dim=-1) for _ in range(2))
        alike = first[:count] @ second[:count].T
        strange = (first[:count] @ second[count:].T).clamp(min=0).pow(2).mean()
        loss = F.cross_entropy(alike * WARM_SCALE, torch.arange(count)) + WARM_APART * strange
        for group in optimizer.param_groups:
            group["lr"] = WARM_RATE * min(1, step / WARM_RISE) * (1 - WARM_FALL * step / steps)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    log.info("texts warmed up: loss %.3f", loss.item())


def build_tower(work: Path, seed: int) -> tuple[Tower, Texts]:
    """The untrained tower and the texts that it is trained with."""
    torch.manual_seed(seed)
    tokenizer = train_tokenizer(labels(), work / "tokenizer")
    return Tower(len(tokenizer)), Texts(tokenizer, labels(), unknown_words(labels()))


def _is_matrix(name: str) -> bool:
    """Whether Muon trains this weight of the tower."""
    return "vision_model.encoder.layers" in name


def train_tower(plan: Plan, size: int = 16) -> None:
    """Train the shared tower with both models' losses, from nothing or from the shipped one."""
    tower, texts = build_tower(plan.work, plan.seed)
    if plan.shipped:
        tower.load_state_dict(shipped_tower(texts.tokens))
    elif not (plan.work / "tower.ckpt").exists():
        warm_texts(tower, texts, len(labels()))
    tower.detector.owlv2.vision_model.embeddings.patch_embedding.to(memory_format=torch.channels_last)
    pools, shares = training_pools(plan.work)

    def step(rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        batch = pools[rng.choice(len(pools), p=shares)].draw(rng, size, zoom=TOWER_ZOOM)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = tower(batch.images, texts.draw(rng))
        boxes, parts = detection_loss(out, batch)
        tags = tag_loss(out, batch)
        return boxes + TAG_WEIGHT * tags, {"loss": boxes.item(), "tags": tags.item(), **parts}

    def factor(name: str) -> float:
        return SCALE_FACTOR if name in ("tag_scale", "tag_bias") else 1.0

    def evaluate() -> dict[str, float]:
        return held_out_figures(tower, texts, plan.work, len(labels()))

    scales = ("class_head.logit", "tag_")
    clip = [weight for name, weight in tower.named_parameters() if not any(part in name for part in scales)]
    rate = TOWER.shipped if plan.shipped else TOWER.nothing
    optimizer = Optimizer(tower, rate, TOWER.matrices * rate, _is_matrix, factor)
    plan.run(Job(tower, optimizer, step, evaluate, clip, TOWER.clip, TOWER.average), "tower")


def train_tagger(plan: Plan, size: int = 16) -> None:
    """Train the tagger on alone, from the shared tower.

    Batches are ordinary scenes and enlarged windows: one to a few objects, as the tagger is asked about them.
    """
    tower, texts = build_tower(plan.work, plan.seed)
    start = load_checkpoint(plan.work / "tower.ckpt")
    if start is None:
        raise SystemExit(f"{plan.work / 'tower.ckpt'} does not exist; train the tower first")
    tower.load_state_dict(start["average"])
    pools, _ = training_pools(plan.work)

    def step(rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        at = int(rng.integers(len(pools)))
        batch = pools[at].draw(rng, size, zoom=1.0 if at < WINDOW_POOLS else TAGGER_ZOOM)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = tower(batch.images, texts.draw(rng))
        patches, accuracy = dense_loss(out, batch)
        tags = tag_loss(out, batch)
        return tags + PATCH_WEIGHT * patches, {"tags": tags.item(), "patch": accuracy}

    def factor(name: str) -> float:
        return HEAD_FACTOR if name.startswith(("pool.", "head.", "tag_")) else 1.0

    def evaluate() -> dict[str, float]:
        return held_out_figures(tower, texts, plan.work, len(labels()))

    rate = TAGGER.shipped
    optimizer = Optimizer(tower, rate, TAGGER.matrices * rate, _is_matrix, factor)
    plan.run(Job(tower, optimizer, step, evaluate, list(tower.parameters()), TAGGER.clip, TAGGER.average), "tagger")


EXAMPLES = ("noto", "fluent-emoji-flat", "noto-v1", "emojione", "fluent-emoji", "noto", HELD_OUT_STYLE, HELD_OUT_STYLE)
"""The styles of the eight example scenes."""


def export(work: Path, packages: Path) -> None:
    """Write the files that ship: models, example scenes and their digests in the manifest."""
    own = work / "tagger.ckpt"
    export_tower(work / "tower.ckpt", own if own.exists() else None)
    export_segmenter(work / "segmenter.ckpt")
    write_examples(
        {f"{style}#{at}": load_style(style, packages) for at, style in enumerate(EXAMPLES)}, seed=EXAMPLE_SEED
    )
    pin(HOME.parent / "manifest.toml")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__)
    parser.add_argument("stage", choices=["pools", "segmenter", "tower", "tagger", "export"])
    parser.add_argument("--work", type=Path, required=True, help="folder for pools and checkpoints (about 10 GB)")
    parser.add_argument("--drawings", type=Path, default=Path("node_modules/@iconify-json"), help="the style packages")
    parser.add_argument("--steps", type=int, default=9000)
    parser.add_argument("--minutes", type=float, default=math.inf, help="end after so long, whatever the step")
    parser.add_argument("--scenes", type=int, default=9000, help="scenes in each of the five parts of the pool")
    parser.add_argument("--shipped", action="store_true", help="start from the shipped weights where no checkpoint is")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(chosen.threads)
    chosen.work.mkdir(parents=True, exist_ok=True)
    plan = Plan(chosen.work, chosen.steps, chosen.minutes, chosen.seed, chosen.shipped)
    if chosen.stage == "pools":
        make_pools(chosen.work, chosen.drawings, chosen.scenes)
    elif chosen.stage == "export":
        export(chosen.work, chosen.drawings)
    else:
        {"segmenter": train_segmenter, "tower": train_tower, "tagger": train_tagger}[chosen.stage](plan)


if __name__ == "__main__":
    main()
