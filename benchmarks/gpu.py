"""Every stage and the chain on a CUDA device, checked and timed against the upstream libraries in float32.

    python -m benchmarks.gpu [--compile] [--batch 32]

Weights are random and have the published sizes. Upstream runs as its README says, on the device, in batches where it
takes them. openvocab runs in float32, bfloat16 and float16; its batches go through pinned memory with non_blocking
copies. "agreement" compares the answers with upstream's: the lowest cosine of image embeddings, the share of boxes'
scores within 0.02, or the mean IoU of masks. Without a CUDA device nothing is measured; --device cpu --tiny runs the
same code on tiny models.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import openvocab
from benchmarks.report import Cell, add_out, report
from openvocab import Pipeline, Settings

LABELS = ["cat", "red dog", "a thing", "bird"]
DTYPES = ("float32", "bfloat16", "float16")
COLUMNS = ["what", "how", "images/s", "x upstream", "agreement"]

Work = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Setup:
    """What is measured.

    Attributes:
        device: Of torch.
        batch: Images at once.
        runs: Timed runs, of which the median counts; one before them is not timed.
        compiled: Whether the tagger's tower is measured with torch.compile too.
        specs: Stage -> SPEC without its family, which is also what the upstream library loads.
        images: (H, W, 3) uint8, as many as batch.
    """

    device: str
    batch: int
    runs: int
    compiled: bool
    specs: dict[str, str]
    images: Sequence[np.ndarray[Any, Any]]

    def seconds(self, work: Work) -> float:
        """Return the median of the timed runs, the device's queue empty before and after each."""
        work()
        return statistics.median(self._once(work) for _ in range(self.runs))

    def _once(self, work: Work) -> float:
        self._wait()
        began = time.perf_counter()
        work()
        self._wait()
        return time.perf_counter() - began

    def _wait(self) -> None:
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()


@dataclass(frozen=True, slots=True)
class Way:
    """One way of doing a stage's work.

    Attributes:
        name: Of the way.
        work: Does it for all images and returns the answer.
    """

    name: str
    work: Work


# --- the tagger


def _cosine(ours: np.ndarray[Any, Any], theirs: Tensor) -> float:
    rows = torch.nn.functional.normalize(theirs.float().cpu(), dim=-1)
    return float((torch.from_numpy(ours) * rows).sum(-1).min())


def tagger_ways(setup: Setup) -> Iterator[Way]:
    """Yield upstream's way first: open_clip's model over preprocessed images in one batch."""
    import open_clip

    model, preprocess = open_clip.create_model_from_pretrained(setup.specs["tagger"], device=setup.device)
    model.eval()
    pixels = torch.stack([torch.as_tensor(preprocess(Image.fromarray(image))) for image in setup.images])

    def upstream() -> Any:
        with torch.no_grad():
            return model.encode_image(pixels.to(setup.device))

    yield Way("open_clip, float32", upstream)
    for dtype in DTYPES:
        tagger: Any = openvocab.load_tagger(f"open_clip:{setup.specs['tagger']}", setup.device, dtype)
        tagger = replace(tagger, batch=setup.batch)
        ready = [tagger.prepare(image) for image in setup.images]
        yield Way(dtype, partial(tagger.encode_images, ready))
        if setup.compiled:
            tagger.model.visual = torch.compile(tagger.model.visual)
            yield Way(f"{dtype}, compiled", partial(tagger.encode_images, ready))


# --- the detector


def _alike(ours: list[Any], theirs: list[Any]) -> float:
    """Return the share of scores, best first, that lie within 0.02 of upstream's."""
    pairs = zip(ours, theirs, strict=True)
    found = (
        [np.sort(one.scores)[::-1] for one, _ in pairs],
        [np.sort(each["scores"].float().cpu().numpy())[::-1] for each in theirs],
    )
    counts = [min(len(one), len(other)) for one, other in zip(*found, strict=True)]
    near = [np.abs(a[:n] - b[:n]) < 0.02 for a, b, n in zip(*found, counts, strict=True)]
    return float(np.mean(np.concatenate(near))) if near else 1.0


def detector_ways(setup: Setup) -> Iterator[Way]:
    """Yield upstream's way first: transformers' OWLv2 over the batch, with its own processor."""
    from transformers import Owlv2ForObjectDetection, Owlv2Processor

    processor: Any = Owlv2Processor.from_pretrained(setup.specs["detector"])
    model: Any = Owlv2ForObjectDetection.from_pretrained(setup.specs["detector"])
    model.to(setup.device).eval()
    texts, sizes = [f"a photo of a {label}" for label in LABELS], [image.shape[:2] for image in setup.images]

    def upstream() -> Any:
        shown = [Image.fromarray(image) for image in setup.images]
        given = processor(text=[texts] * len(shown), images=shown, return_tensors="pt").to(setup.device)
        with torch.no_grad():
            answer = model(**given)
        return processor.post_process_grounded_object_detection(answer, 0.0, target_sizes=torch.tensor(sizes))

    yield Way("transformers, float32", upstream)
    for dtype in DTYPES:
        detector: Any = openvocab.load_detector(f"owlv2:{setup.specs['detector']}", setup.device, dtype)
        detector = replace(detector, batch=setup.batch)
        queries = detector.encode_labels(LABELS)
        yield Way(dtype, partial(detector.detect, setup.images, queries, 0.0))


# --- the segmenter


def _boxes(image: np.ndarray[Any, Any], count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    height, width = image.shape[:2]
    low = np.random.default_rng(1).uniform(0, 0.5, (count, 2))
    boxes: np.ndarray[Any, np.dtype[np.float32]] = np.concatenate([low, low + 0.4], 1).astype(np.float32)
    return boxes * np.array([width, height, width, height], np.float32)


def _iou(ours: list[Any], theirs: list[Any]) -> float:
    pairs = [(np.asarray(one), np.asarray(other)) for one, other in zip(ours, theirs, strict=True)]
    unions = [((one & other).sum((-2, -1)), (one | other).sum((-2, -1))) for one, other in pairs]
    shared = [np.where(every > 0, both / np.maximum(1, every), 1.0) for both, every in unions]  # 1 for two empty masks
    return float(np.mean(np.concatenate(shared)))


def segmenter_ways(setup: Setup, count: int = 10) -> Iterator[Way]:
    """Yield upstream's way first: SamPredictor, image by image, the boxes of one in a batch."""
    from segment_anything import SamPredictor

    from openvocab.models.segmenters.sam_checkpoint import load_sam

    kind, _, path = setup.specs["segmenter"].partition("@")
    predictor = SamPredictor(load_sam(kind, Path(path)).to(setup.device).eval())
    asked = [_boxes(image, count) for image in setup.images]

    def upstream() -> Any:
        found = []
        for image, boxes in zip(setup.images, asked, strict=True):
            predictor.set_image(image)
            given = predictor.transform.apply_boxes_torch(torch.from_numpy(boxes), image.shape[:2]).to(setup.device)
            masks, _, _ = predictor.predict_torch(None, None, boxes=given, multimask_output=False)
            found.append(masks[:, 0].cpu().numpy())
        return found

    yield Way("segment_anything, float32", upstream)
    for dtype in DTYPES:
        segmenter: Any = openvocab.load_segmenter(f"sam:{setup.specs['segmenter']}", setup.device, dtype)
        segmenter = replace(segmenter, batch=min(setup.batch, 8))

        def ours(segmenter: Any = segmenter) -> Any:
            encoded = segmenter.encode_batch(setup.images)
            return [segmenter.masks(one, boxes)[0] for one, boxes in zip(encoded, asked, strict=True)]

        yield Way(dtype, ours)


# --- the chain


def chain_ways(setup: Setup) -> Iterator[Way]:
    """Yield the chain in each precision; upstream's is the sum of the stages and is not timed again."""
    for dtype in DTYPES:
        pipe: Pipeline = openvocab.load(
            tagger=f"open_clip:{setup.specs['tagger']}",
            detector=f"owlv2:{setup.specs['detector']}",
            segmenter=f"sam:{setup.specs['segmenter']}",
            device=setup.device,
            dtype=dtype,
        )
        sizes: dict[str, Any] = {
            "batch_size": setup.batch,
            "detector_batch_size": setup.batch,
            "segmenter_batch_size": 8,
        }
        pipe = replace(pipe, settings=Settings(tag_threshold=0.0, box_threshold=0.0, max_boxes=10, **sizes))
        vocabulary = pipe.vocabulary(LABELS)
        yield Way(dtype, partial(_results, pipe, list(setup.images), vocabulary))


def _results(pipe: Pipeline, images: list[Any], vocabulary: Any) -> Any:
    return list(pipe.run(images, vocabulary))


def rows_of(setup: Setup) -> Iterator[list[Cell]]:
    """Yield the rows of the table."""
    stages: list[tuple[str, Callable[[Setup], Iterator[Way]], Callable[[Any, Any], float]]] = [
        ("tagger", tagger_ways, _cosine),
        ("detector", detector_ways, _alike),
        ("segmenter, 10 boxes", segmenter_ways, _iou),
    ]
    for name, ways, agreement in stages:
        theirs, first = None, 0.0
        for way in ways(setup):
            answer, taken = way.work(), setup.seconds(way.work)
            if theirs is None:
                theirs, first = answer, taken
                yield [name, way.name, round(setup.batch / taken, 2), 1.0, None]
            else:
                near = round(agreement(answer, theirs), 4)
                yield [name, way.name, round(setup.batch / taken, 2), round(first / taken, 2), near]
    for way in chain_ways(setup):
        yield ["chain", way.name, round(setup.batch / setup.seconds(way.work), 2), None, None]


def _specs(folder: Path, tiny: bool) -> dict[str, str]:
    """Write the checkpoints, and return the SPECs."""
    if tiny:
        from tests.tiny import open_clip, owlv2, sam

        clip = open_clip.write_kind(folder / "clip", "clip")
        return {"tagger": clip, "detector": str(owlv2.write(folder / "owlv2")), "segmenter": sam.write(folder / "sam")}
    from benchmarks import random_checkpoints as random

    return {
        "tagger": f"local-dir:{random.write_clip(folder / 'clip')}",
        "detector": str(random.write_owlv2(folder / "owlv2")),
        "segmenter": f"vit_b@{random.write_sam(folder / 'sam')}",
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="also measure the tagger with torch.compile")
    parser.add_argument("--tiny", action="store_true", help="tiny models, which show that the code runs")
    add_out(parser)
    args = parser.parse_args()
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        print("there is no CUDA device here, so nothing is measured; --device cpu --tiny runs the code on tiny models")
        return 0
    side = 64 if args.tiny else 768
    images = np.random.default_rng(0).integers(0, 256, (args.batch, side, side + side // 3, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        specs = _specs(Path(folder), args.tiny)
        setup = Setup(args.device, args.batch, args.runs, args.compile, specs, list(images))
        rows = list(rows_of(setup))
    name = torch.cuda.get_device_name() if args.device.startswith("cuda") else args.device
    command = "python -m benchmarks.gpu"
    report(args.out, f"{name}, batches of {args.batch}", command, COLUMNS, rows, plot="x upstream")
    return 0


if __name__ == "__main__":
    sys.exit(main())
