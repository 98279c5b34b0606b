"""The ways that benchmarks/batch.py compares: each is built once, and then does so many images of a folder."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["LABELS", "WAYS", "Job", "Way", "bf16_matrices", "flop_of_an_image"]

LABELS = [f"thing number {number}" for number in range(100)]
MATRIX = 4096
"""Rows and columns of the matrices whose product tells the machine's rate."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a way has to do.

    models    the folder that holds clip/, as benchmarks/random_checkpoints.py writes it.
    images  a folder of classes (here one) with JPEG files, as torchvision's ImageFolder takes it.
    cores     how many there are.
    """

    models: Path
    images: Path
    cores: int

    @property
    def files(self) -> list[Path]:
        """The images in order."""
        return sorted(self.images.glob("*/*.jpg"))


Work = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class Way:
    """One row of the table.

    name    what it is called.
    build   loads the model, encodes the labels and returns what tags the first N images.
    small   images of 640 x 480 a run on one core.
    large   images of 12 megapixels a run; 0 leaves the row out.
    """

    name: str
    build: Callable[[Job], Work]
    small: int
    large: int


def _open_clip(job: Job) -> tuple[Any, Any, Any]:
    """Return model, preprocessing and tokenizer as open_clip's README loads them."""
    import open_clip

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{job.models / 'clip'}")
    return model.eval(), preprocess, open_clip.get_tokenizer("ViT-B-32")


def readme_loop(job: Job) -> Work:
    """open_clip's README: one image at a time, float32; the text features once."""
    import torch
    from PIL import Image

    model, preprocess, tokenizer = _open_clip(job)
    files = job.files
    with torch.no_grad():
        text = model.encode_text(tokenizer([f"a photo of a {label}" for label in LABELS]))
        text /= text.norm(dim=-1, keepdim=True)

    def work(count: int) -> object:
        made = []
        with torch.no_grad():
            for path in files[:count]:
                image = model.encode_image(preprocess(Image.open(path)).unsqueeze(0))
                image /= image.norm(dim=-1, keepdim=True)
                made.append((100.0 * image @ text.T).softmax(dim=-1))
        return made

    return work


def transformers_pipeline(job: Job) -> Work:
    """transformers' zero-shot-image-classification on a model of the same size."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, pipeline

    from benchmarks.random_checkpoints import _clip_tokenizer

    model: Any = CLIPModel(CLIPConfig())
    model.eval()
    classify = pipeline(
        "zero-shot-image-classification",
        model=model,
        tokenizer=_clip_tokenizer(),
        image_processor=CLIPImageProcessor(),
        device="cpu",
    )
    files = [str(path) for path in job.files]
    return lambda count: [classify(path, candidate_labels=LABELS) for path in files[:count]]


class First:
    """The first images of a data set, as a DataLoader's sampler; how many may change."""

    count = 0

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.count))

    def __len__(self) -> int:
        return self.count


def clip_benchmark(job: Job) -> Work:
    """CLIP_benchmark's loop: its own functions, a DataLoader of batches of 64, bfloat16 autocast.

    The workers stay from turn to turn, so that their start, seconds in which they import torch, is in no figure.
    """
    from clip_benchmark.metrics.zeroshot_classification import run_classification, zero_shot_classifier
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder

    model, preprocess, tokenizer = _open_clip(job)
    classifier = zero_shot_classifier(model, tokenizer, LABELS, ["a photo of a {c}"], "cpu", amp=True)
    images = ImageFolder(str(job.images), transform=preprocess)

    first = First()
    loader = DataLoader(images, 64, sampler=first, num_workers=job.cores, persistent_workers=True)

    def work(count: int) -> object:
        first.count = count
        return run_classification(model, classifier, loader, "cpu", amp=True)

    return work


def openvocab_tag(job: Job, decode_size: int | None = None) -> Work:
    """openvocab tag IMAGES --labels ... --out RUN, with its defaults, into a new folder each time."""
    import openvocab

    tagger = openvocab.load_tagger(f"open_clip:local-dir:{job.models / 'clip'}", "cpu")
    pipe = openvocab.Pipeline(tagger, None, None, openvocab.Settings())
    vocabulary, files = pipe.vocabulary(LABELS), [str(path) for path in job.files]

    def work(count: int) -> object:
        with tempfile.TemporaryDirectory() as place:
            summary = pipe.run_to(Path(place, "run"), files[:count], vocabulary, decode_size=decode_size)
        if summary.ok != count:
            raise SystemExit(f"{count - summary.ok} of {count} images were not tagged")
        return summary

    return work


def openvocab_tag_scaled(job: Job) -> Work:
    """The same with JPEGs decoded at half, a quarter or an eighth of their size, never under the model's 224."""
    return openvocab_tag(job, 224)


def bf16_matrices(job: Job) -> Work:
    """So many products of two large bfloat16 matrices; ignores the images."""
    import torch

    first, second = (torch.randn(MATRIX, MATRIX).bfloat16() for _ in range(2))

    def work(count: int) -> object:
        with torch.inference_mode():
            return [first @ second for _ in range(count)][-1].shape

    return work


def flop_of_an_image(models: Path) -> int:
    """Return twice the multiplications of the image tower for one image, from the shapes in its configuration.

    Patch projection, the four linear layers of each block for every token, queries times keys and weights times values,
    the last projection. Norms, softmax and GELU are left out, as in the rate of a matrix product.
    """
    import json

    config = json.loads((models / "clip" / "open_clip_config.json").read_text("utf-8"))["model_cfg"]
    vision = config["vision_cfg"]
    width, layers, patch = vision["width"], vision["layers"], vision["patch_size"]
    patches = (vision["image_size"] // patch) ** 2
    tokens = patches + 1
    linear = tokens * width * (3 * width + width + 4 * width + 4 * width)
    attention = 2 * tokens * tokens * width
    return int(2 * (patches * 3 * patch * patch * width + layers * (linear + attention) + width * config["embed_dim"]))


WAYS = (
    Way("open_clip README loop, batch 1, float32", readme_loop, 32, 12),
    Way("transformers zero-shot-image-classification", transformers_pipeline, 2, 0),
    Way("CLIP_benchmark, DataLoader, batch 64, bfloat16 autocast", clip_benchmark, 256, 128),
    Way("openvocab tag, exact", openvocab_tag, 256, 64),
    Way("openvocab tag, scaled decoding", openvocab_tag_scaled, 256, 128),
)
