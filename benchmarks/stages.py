"""Each stage and the whole chain against the upstream library used as its README says, on the same random weights.

python -m benchmarks.stages [--threads 1] [--runs 5] [--only NAME] [--models FOLDER]

Weights have the published sizes. Both sides run in processes of their own, one at a time, in turns; figures are medians
of the turns after a first one that is not counted, and each process's peak of resident memory.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import Cell, add_out, report

LABELS = ["dog", "truck", "car", "fruit", "person", "chair", "tree", "bottle", "bird", "boat"]
HEIGHT, WIDTH = 800, 1066
"""The image: what Grounding DINO is resized to, so that all stages see a photograph of ordinary shape."""

Work = Callable[[], object]


def image() -> Any:
    """A (800, 1066, 3) uint8 image of soft random blobs."""
    import torch

    torch.manual_seed(0)
    coarse = torch.rand(1, 3, 25, 33)
    fine = torch.nn.functional.interpolate(coarse, (HEIGHT, WIDTH), mode="bicubic").clamp(0, 1)
    return (fine[0].permute(1, 2, 0) * 255).to(torch.uint8).contiguous().numpy()


def boxes(count: int) -> Any:
    """(count, 4) float32 boxes spread over the image."""
    rng = np.random.default_rng(1)
    low = rng.uniform([0, 0], [WIDTH - 210, HEIGHT - 210], (count, 2))
    return np.concatenate([low, low + rng.uniform(60, 200, (count, 2))], 1).astype(np.float32)


# --- the upstream libraries, as their READMEs say


def clip_upstream(models: Path) -> Work:
    import open_clip
    import torch
    from PIL import Image

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{models / 'clip'}")
    model.eval()
    tokens = open_clip.get_tokenizer("ViT-B-32")([f"a photo of a {label}" for label in LABELS])
    shown = Image.fromarray(image())

    def work() -> object:
        with torch.no_grad():
            embedding = model.encode_image(preprocess(shown).unsqueeze(0))
            text = model.encode_text(tokens)
            embedding /= embedding.norm(dim=-1, keepdim=True)
            text /= text.norm(dim=-1, keepdim=True)
            return (100.0 * embedding @ text.T).softmax(dim=-1)

    return work


def clip_upstream_tower(models: Path, count: int) -> Work:
    import open_clip
    import torch

    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{models / 'clip'}")
    model.eval()
    pixels = torch.randn(count, 3, 224, 224)

    def work() -> object:
        with torch.no_grad():
            return [model.encode_image(one[None]) for one in pixels]

    return work


def _predictor(models: Path) -> Any:
    from segment_anything import SamPredictor, sam_model_registry

    return SamPredictor(sam_model_registry["vit_b"](checkpoint=str(models / "sam" / "sam_vit_b.pth")))


def sam_upstream_encoder(models: Path) -> Work:
    predictor, shown = _predictor(models), image()
    return lambda: predictor.set_image(shown)


def sam_upstream_decoder(models: Path, count: int) -> Work:
    predictor, asked = _predictor(models), boxes(count)
    predictor.set_image(image())
    return lambda: [predictor.predict(box=box, multimask_output=False) for box in asked]


def sam2_upstream(models: Path, count: int) -> Work:
    """Return the encoder's work for no box, else the decoder's."""
    import torch
    from PIL import Image
    from transformers import Sam2Model, Sam2Processor

    processor: Any = Sam2Processor.from_pretrained(models / "sam2")
    model: Any = Sam2Model.from_pretrained(models / "sam2")
    model.eval()
    asked: dict[str, Any] = {"images": Image.fromarray(image()), "return_tensors": "pt"}
    asked |= {"input_boxes": [boxes(count).tolist()]} if count else {}
    given = processor(**asked)
    with torch.no_grad():
        maps = model.get_image_embeddings(given["pixel_values"])

    def work() -> object:
        with torch.no_grad():
            if not count:
                return model.get_image_embeddings(processor(**asked)["pixel_values"])
            found = model(image_embeddings=maps, input_boxes=given["input_boxes"], multimask_output=False)
        return processor.post_process_masks(found.pred_masks, given["original_sizes"])

    return work


def owlv2_upstream(models: Path) -> Work:
    import torch
    from PIL import Image
    from transformers import Owlv2ForObjectDetection, Owlv2Processor

    processor: Any = Owlv2Processor.from_pretrained(models / "owlv2")
    model: Any = Owlv2ForObjectDetection.from_pretrained(models / "owlv2")
    model.eval()
    shown, texts = Image.fromarray(image()), [[f"a photo of a {label}" for label in LABELS]]

    def work() -> Any:
        inputs = processor(text=texts, images=shown, return_tensors="pt")
        with torch.no_grad():
            outputs = model(**inputs)
        sizes = torch.tensor([(HEIGHT, WIDTH)])
        return processor.post_process_grounded_object_detection(outputs, 0.0, target_sizes=sizes)[0]

    return work


def grounding_dino_upstream(models: Path) -> Work:
    import torch
    from PIL import Image
    from transformers import AutoProcessor, GroundingDinoForObjectDetection

    library: Any = AutoProcessor
    processor = library.from_pretrained(models / "grounding_dino")
    model: Any = GroundingDinoForObjectDetection.from_pretrained(models / "grounding_dino")
    model.eval()
    shown = Image.fromarray(image())

    def work() -> object:
        inputs = processor(images=shown, text=[LABELS], return_tensors="pt")
        with torch.no_grad():
            outputs = model(**inputs)
        return processor.post_process_grounded_object_detection(
            outputs, inputs.input_ids, threshold=0.3, text_threshold=0.25, target_sizes=[(HEIGHT, WIDTH)]
        )

    return work


def chain_upstream(models: Path, count: int = 10) -> Work:
    tag, detect, predictor, shown = clip_upstream(models), owlv2_upstream(models), _predictor(models), image()

    def work() -> object:
        tag()
        found: Any = detect()
        best = found["scores"].argsort(descending=True)[:count]
        predictor.set_image(shown)
        return [predictor.predict(box=box.numpy(), multimask_output=False) for box in found["boxes"][best]]

    return work


# --- the same with openvocab


def _tagger(models: Path) -> Any:
    import openvocab

    return openvocab.load_tagger(f"open_clip:local-dir:{models / 'clip'}", "cpu")


def _segmenter(models: Path) -> Any:
    import openvocab

    return openvocab.load_segmenter(f"sam:vit_b@{models / 'sam' / 'sam_vit_b.pth'}", "cpu")


def clip_ours(models: Path) -> Work:
    tagger, shown = _tagger(models), image()
    vocabulary = tagger.encode_labels(LABELS)
    return lambda: tagger.score([shown], vocabulary)


def clip_ours_tower(models: Path, count: int) -> Work:
    import torch

    tagger = _tagger(models)
    pixels = torch.randn(count, 3, 224, 224).to(next(tagger.model.parameters()).dtype)

    def work() -> object:
        with torch.inference_mode():
            return tagger.model.encode_image(pixels)

    return work


def sam_ours_encoder(models: Path) -> Work:
    segmenter, shown = _segmenter(models), image()
    return lambda: segmenter.encode(shown)


def sam_ours_decoder(models: Path, count: int) -> Work:
    segmenter, asked = _segmenter(models), boxes(count)
    encoded = segmenter.encode(image())
    return lambda: segmenter.masks(encoded, asked)


def sam2_ours(models: Path, count: int) -> Work:
    import openvocab

    segmenter, shown, asked = openvocab.load_segmenter(f"sam2:{models / 'sam2'}", "cpu"), image(), boxes(count)
    encoded = segmenter.encode(shown)
    return (lambda: segmenter.masks(encoded, asked)) if count else lambda: segmenter.encode(shown)


def _detector(spec: str) -> Work:
    import openvocab

    detector, shown = openvocab.load_detector(spec, "cpu"), image()
    queries = detector.encode_labels(LABELS)
    return lambda: detector.detect([shown], queries, 0.0)


def chain_ours(models: Path, count: int = 10) -> Work:
    import openvocab

    pipe = openvocab.load(
        tagger=f"open_clip:local-dir:{models / 'clip'}",
        detector=f"owlv2:{models / 'owlv2'}",
        segmenter=f"sam:vit_b@{models / 'sam' / 'sam_vit_b.pth'}",
        device="cpu",
        tag_threshold=0.0,
        box_threshold=0.0,
        max_boxes=count,
    )
    vocabulary, shown = pipe.vocabulary(LABELS), image()
    return lambda: pipe(shown, vocabulary)


@dataclass(frozen=True, slots=True)
class Race:
    """One row: what is timed, upstream's way and ours; each builds its work from the folder of models."""

    name: str
    theirs: Callable[[Path], Work]
    ours: Callable[[Path], Work]


def owlv2_ours(models: Path) -> Work:
    return _detector(f"owlv2:{models / 'owlv2'}")


def grounding_dino_ours(models: Path) -> Work:
    return _detector(f"grounding_dino:{models / 'grounding_dino'}")


RACES = [
    Race("ViT-B/32, tags of one image", clip_upstream, clip_ours),
    Race("ViT-B/32 tower, 16 images", lambda at: clip_upstream_tower(at, 16), lambda at: clip_ours_tower(at, 16)),
    Race("SAM vit_b encoder", sam_upstream_encoder, sam_ours_encoder),
    Race("SAM vit_b decoder, 1 box", lambda at: sam_upstream_decoder(at, 1), lambda at: sam_ours_decoder(at, 1)),
    Race("SAM vit_b decoder, 10 boxes", lambda at: sam_upstream_decoder(at, 10), lambda at: sam_ours_decoder(at, 10)),
    Race("SAM vit_b decoder, 50 boxes", lambda at: sam_upstream_decoder(at, 50), lambda at: sam_ours_decoder(at, 50)),
    Race("SAM 2 tiny encoder", lambda at: sam2_upstream(at, 0), lambda at: sam2_ours(at, 0)),
    Race("SAM 2 tiny decoder, 10 boxes", lambda at: sam2_upstream(at, 10), lambda at: sam2_ours(at, 10)),
    Race("OWLv2 base/16, 10 labels", owlv2_upstream, owlv2_ours),
    Race("Grounding DINO tiny, 10 labels", grounding_dino_upstream, grounding_dino_ours),
    Race("chain: ViT-B/32, OWLv2, SAM, 10 boxes", chain_upstream, chain_ours),
]


def _serve(link: Connection, number: int, side: str, models: Path, threads: int) -> None:
    """Build one side of a race, then run it once for every message but the last."""
    import torch

    torch.set_num_threads(threads)
    work: Work = getattr(RACES[number], side)(models)
    link.send("ready")
    while link.recv():
        start = time.perf_counter()
        work()
        link.send(time.perf_counter() - start)
    link.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


@contextmanager
def _side(number: int, side: str, models: Path, threads: int) -> Iterator[Connection]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, number, side, models, threads))
    process.start()
    there.close()
    here.recv()
    try:
        yield here
    finally:
        process.join()


def race(number: int, models: Path, runs: int, threads: int) -> tuple[float, float, float, float]:
    """Return the medians (theirs, ours) in seconds and the peaks of memory (theirs, ours) in MiB."""
    taken: dict[str, list[float]] = {"theirs": [], "ours": []}
    peaks = {}
    with _side(number, "theirs", models, threads) as first, _side(number, "ours", models, threads) as second:
        for _ in range(runs + 1):
            for side, link in (("theirs", first), ("ours", second)):
                link.send(True)
                taken[side].append(link.recv())
        for side, link in (("theirs", first), ("ours", second)):
            link.send(False)
            peaks[side] = link.recv()
    theirs, ours = (statistics.median(taken[side][1:]) for side in ("theirs", "ours"))
    return theirs, ours, peaks["theirs"], peaks["ours"]


def write_models(folder: Path) -> None:
    """Write what is not there yet."""
    from benchmarks import random_checkpoints as random

    words = ["a", "photo", "of", *LABELS]
    writers: dict[str, Callable[[Path], Path]] = {
        "clip": random.write_clip,
        "sam": random.write_sam,
        "sam2": random.write_sam2,
        "owlv2": random.write_owlv2,
        "grounding_dino": lambda where: random.write_grounding_dino(where, words),
    }
    for name, write in writers.items():
        if not (folder / name).exists():
            write(folder / name)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default="", metavar="NAME", help="only the rows whose name holds this")
    parser.add_argument("--models", type=Path, help="where the random checkpoints lie or are written (2 GB)")
    add_out(parser)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        models = chosen.models or Path(scratch)
        write_models(models)
        rows = list[list[Cell]]()
        for number, one in enumerate(RACES):
            if chosen.only in one.name:
                theirs, ours, most, least = race(number, models, chosen.runs, chosen.threads)
                seconds = [round(each, 3) for each in (theirs, ours, theirs / ours)]
                rows.append([one.name, *seconds, int(most), int(least)])
                print(*rows[-1], flush=True)
    columns = ["what", "upstream s", "openvocab s", "ratio", "upstream MiB", "openvocab MiB"]
    report(chosen.out, "Each stage and the chain", "python -m benchmarks.stages", columns, rows, plot="ratio")


if __name__ == "__main__":
    main()
